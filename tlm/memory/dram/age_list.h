#pragma once

#include <array>
#include <cstdint>

#include "memory/dram/limits.h"

namespace npuvp::memory::dram {

/// Whether `a` comes before `b`: orders and arrivals wrap, and never span half their range.
inline bool earlier(std::uint32_t a, std::uint32_t b) {
    return static_cast<std::int32_t>(a - b) < 0;
}

/// Banks of one pseudo-channel by the age of what waits for them, so that the oldest is found
/// without a look at the others. The ages stand elsewhere, by bank.
class AgeList {
  public:
    static constexpr int kEnd = kMaxBanks;

    AgeList() { links_[kEnd] = {kEnd, kEnd}; }

    /// kEnd: there is none.
    int oldest() const { return links_[kEnd].younger; }
    int younger(int bank) const { return links_[bank].younger; }

    void remove(int bank) {
        const Link link = links_[bank];
        links_[link.older].younger = link.younger;
        links_[link.younger].older = link.older;
    }
    /// Usually the bank becomes the youngest, or nearly so.
    void insert(int bank, const std::uint32_t* ages) {
        int older = links_[kEnd].older;
        while (older != kEnd && earlier(ages[bank], ages[older])) older = links_[older].older;
        const std::uint8_t younger = links_[older].younger;
        links_[bank] = {static_cast<std::uint8_t>(older), younger};
        links_[older].younger = links_[younger].older = static_cast<std::uint8_t>(bank);
    }

  private:
    struct Link {
        std::uint8_t older = 0, younger = 0;
    };
    std::array<Link, kMaxBanks + 1> links_;  ///< a ring, closed by kEnd
};

}  // namespace npuvp::memory::dram
