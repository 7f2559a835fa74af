#include "noc/interconnect.h"

#include <algorithm>
#include <iterator>

namespace npuvp::noc {

AddressMap::AddressMap(std::vector<Region> regions) : regions_(std::move(regions)) {
    std::sort(regions_.begin(), regions_.end(),
              [](const Region& a, const Region& b) { return a.base < b.base; });
}

const Region* AddressMap::find(std::uint64_t address, std::uint64_t bytes) const {
    auto after = std::upper_bound(regions_.begin(), regions_.end(), address,
                                  [](std::uint64_t a, const Region& r) { return a < r.base; });
    if (after == regions_.begin()) return nullptr;
    const Region& region = *std::prev(after);
    const std::uint64_t offset = address - region.base;
    return offset < region.bytes && bytes <= region.bytes - offset ? &region : nullptr;
}

}  // namespace npuvp::noc
