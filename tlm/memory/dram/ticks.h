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
        return static_cast<std::uint64_t>(tick) * numerator_ / denominator_;
    }
    /// The last tick at or before `time`.
    Tick tick_at(Picoseconds time) const;
    double seconds(double ticks) const;

  private:
    std::uint64_t numerator_;
    std::uint64_t denominator_;
};

}  // namespace npuvp::memory::dram
