#include "memory/dram/ticks.h"

#include <numeric>

namespace npuvp::memory::dram {

TickClock::TickClock(std::uint64_t clock_khz, std::uint32_t ticks_per_clock) {
    constexpr std::uint64_t kPsPerMs = 1'000'000'000;
    const std::uint64_t ticks_per_ms = clock_khz * ticks_per_clock;
    const std::uint64_t common = std::gcd(kPsPerMs, ticks_per_ms);
    numerator_ = kPsPerMs / common;
    denominator_ = ticks_per_ms / common;
    if (denominator_ > 1) reciprocal_ = ~std::uint64_t{0} / denominator_ + 1;
}

Tick TickClock::tick_at(Picoseconds time) const {
    // time(tick) rounds down, so the tick that begins inside this picosecond has been reached.
    if (time < (std::uint64_t{1} << 32) * 1000 && denominator_ < (1U << 16)) {
        return static_cast<Tick>(((time + 1) * denominator_ - 1) / numerator_);
    }
    __extension__ using Wide = unsigned __int128;
    const Wide limit = (static_cast<Wide>(time) + 1) * denominator_ - 1;
    const Wide tick = limit / numerator_;
    return tick >= static_cast<Wide>(kNeverTick) ? kNeverTick - 1 : static_cast<Tick>(tick);
}

double TickClock::seconds(double ticks) const {
    return ticks * static_cast<double>(numerator_) / static_cast<double>(denominator_) * 1e-12;
}

}  // namespace npuvp::memory::dram
