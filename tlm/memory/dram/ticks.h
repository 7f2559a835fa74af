#pragma once

#include <cstdint>

#include "memory/backend.h"

namespace npuvp::memory::dram {

/// Time in command-bus ticks: whole clocks, or half clocks where commands use both edges.
using Tick = std::int64_t;
inline constexpr Tick kNeverTick = std::int64_t{1} << 60;

/// Ticks to picoseconds without accumulating a rounding error: the tick is a fraction of integers
/// (1/1.2 GHz is 2500/3 ps).
class TickClock {
  public:
    TickClock(std::uint64_t clock_khz, std::uint32_t ticks_per_clock);

    /// Rounded down.
    Picoseconds time(Tick tick) const {
        const std::uint64_t product = static_cast<std::uint64_t>(tick) * numerator_;
        if (denominator_ == 1) return product;
        // By the reciprocal, because every read asks; it is at most one too large.
        __extension__ using Wide = unsigned __int128;
        const auto quotient =
            static_cast<std::uint64_t>((static_cast<Wide>(product) * reciprocal_) >> 64);
        return quotient - (quotient * denominator_ > product);
    }
    /// The last tick at or before `time`.
    Tick tick_at(Picoseconds time) const;
    double seconds(double ticks) const;

  private:
    std::uint64_t numerator_;
    std::uint64_t denominator_;
    std::uint64_t reciprocal_ = 0;  ///< of the denominator, 2^64 / d rounded up
};

}  // namespace npuvp::memory::dram
