#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace npuvp::numerics {

/// Which lanes of a row take part: lane i does where bit i / hlen of heads is set. Lanes from
/// 32 * hlen on have no bit and do not. hlen is at least 1.
struct LaneMask {
    std::uint32_t heads;
    std::uint32_t hlen;

    bool enabled(std::size_t lane) const {
        const std::size_t head = lane / hlen;
        return head < 32 && ((heads >> head) & 1u) != 0;
    }
};

/// Walks over a row's n lanes as the longest runs of lanes that are all enabled or all disabled.
/// No mask (nullptr) is one enabled run.
class LaneRuns {
  public:
    LaneRuns(const LaneMask* mask, std::size_t n) : mask_(mask), n_(n) {}

    bool next() {
        begin_ += length_;
        if (begin_ >= n_) return false;
        if (mask_ == nullptr) {
            enabled_ = true;
            length_ = n_;
            return true;
        }
        enabled_ = mask_->enabled(begin_);
        std::size_t end = begin_;
        do {
            end = (end / mask_->hlen + 1) * mask_->hlen;
        } while (end < n_ && mask_->enabled(end) == enabled_);
        length_ = std::min(end, n_) - begin_;
        return true;
    }

    bool enabled() const { return enabled_; }
    std::size_t begin() const { return begin_; }
    std::size_t length() const { return length_; }

  private:
    const LaneMask* mask_;
    std::size_t n_;
    std::size_t begin_ = 0;
    std::size_t length_ = 0;
    bool enabled_ = false;
};

}  // namespace npuvp::numerics
