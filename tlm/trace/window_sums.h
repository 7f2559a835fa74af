#pragma once

#include <cstdint>
#include <vector>

#include "trace/event.h"

namespace npuvp::trace {

/// a * b / c rounded down, without overflow in between.
std::uint64_t scaled(std::uint64_t a, std::uint64_t b, std::uint64_t c);

/// Integer amounts per column and window of time, from windows that are handed out in order.
/// Spreading loses nothing: shares are differences of a running sum that is rounded down.
class WindowSums {
  public:
    WindowSums(std::size_t columns, Time window, Time origin)
        : columns_(columns), window_(window), origin_(origin) {}

    /// Spreads `amount` evenly over [begin, end), or puts it where `begin` stands.
    /// Before begin(): std::logic_error.
    void spread(std::size_t column, Time begin, Time end, std::uint64_t amount);
    /// Adds everything behind the first window to it.
    void fold();
    /// Adds the first window to `sums` and takes it away.
    void pop(std::vector<std::uint64_t>& sums);

    /// First window.
    std::uint64_t index() const { return first_; }
    Time begin() const { return origin_ + first_ * window_; }
    Time end() const { return begin() + window_; }

  private:
    void add(std::uint64_t window, std::size_t column, std::uint64_t amount);

    std::size_t columns_;
    Time window_;
    Time origin_;
    std::uint64_t first_ = 0;
    std::vector<std::uint64_t> pending_;  ///< windows from first_ on, columns_ each
    std::size_t at_ = 0;                  ///< where first_ stands in pending_
};

}  // namespace npuvp::trace
