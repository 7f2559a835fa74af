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

const Region* AddressMap::of_target(unsigned target) const {
    for (const Region& region : regions_)
        if (target >= region.target && target - region.target < region.nodes) return &region;
    return nullptr;
}

std::string not_answered(const std::string& target, std::size_t requests,
                         const std::string& initiator) {
    return target + " has not answered " + std::to_string(requests) +
           (requests == 1 ? " request of " : " requests of ") + initiator;
}

}  // namespace npuvp::noc
