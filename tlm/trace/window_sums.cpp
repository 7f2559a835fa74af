#include "trace/window_sums.h"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace npuvp::trace {

std::uint64_t scaled(std::uint64_t a, std::uint64_t b, std::uint64_t c) {
    __extension__ using Wide = unsigned __int128;
    return static_cast<std::uint64_t>(static_cast<Wide>(a) * b / c);
}

void WindowSums::spread(std::size_t column, Time begin, Time end, std::uint64_t amount) {
    if (begin < this->begin())
        throw std::logic_error("an event at " + std::to_string(begin) +
                               " ps arrived after the window up to " +
                               std::to_string(this->begin()) + " ps was complete");
    begin -= origin_;
    end = std::max(begin, end - std::min(end, origin_));
    const std::uint64_t first = begin / window_;
    const std::uint64_t last = end > begin ? (end - 1) / window_ : first;
    std::uint64_t spent = 0;
    for (std::uint64_t window = first; window < last; ++window) {
        const std::uint64_t until = scaled(amount, (window + 1) * window_ - begin, end - begin);
        add(window, column, until - spent);
        spent = until;
    }
    add(last, column, amount - spent);
}

void WindowSums::add(std::uint64_t window, std::size_t column, std::uint64_t amount) {
    const std::size_t at = at_ + (window - first_) * columns_;
    if (at >= pending_.size()) pending_.resize(at + columns_, 0);
    pending_[at + column] += amount;
}

void WindowSums::fold() {
    for (std::size_t at = at_ + columns_; at < pending_.size(); ++at)
        pending_[at_ + (at - at_) % columns_] += pending_[at];
    pending_.resize(std::min(pending_.size(), at_ + columns_));
}

void WindowSums::pop(std::vector<std::uint64_t>& sums) {
    constexpr std::size_t most_dead_windows = 4096;
    ++first_;
    if (at_ >= pending_.size()) return;
    for (std::size_t i = 0; i < columns_; ++i) sums[i] += pending_[at_ + i];
    at_ += columns_;
    if (at_ < pending_.size() && at_ < most_dead_windows * columns_) return;
    pending_.erase(pending_.begin(), pending_.begin() + static_cast<std::ptrdiff_t>(at_));
    at_ = 0;
}

}  // namespace npuvp::trace
