#pragma once

#include <cstdint>
#include <limits>

#include "memory/config.h"

namespace npuvp::memory::dram {

/// When a row is closed without another row being wanted.
///  open    never
///  closed  with the access after which no waiting request hits it
///  capped  with the first access after `cap` others, or as soon as it may be once `cap` are done
class RowPolicyRule {
  public:
    explicit RowPolicyRule(const Controller& controller)
        : close_unwanted_(controller.row_policy == RowPolicy::closed),
          cap_(controller.row_policy == RowPolicy::capped
                   ? controller.row_cap
                   : std::numeric_limits<std::uint32_t>::max()) {}

    /// The access closes the row (auto-precharge). `columns_before`: accesses that the row has had;
    /// `wanted`: a waiting request hits the row after this one.
    bool auto_precharge(std::uint32_t columns_before, bool wanted) const {
        return columns_before >= cap_ || (close_unwanted_ && !wanted);
    }
    /// The row is to be closed as soon as timing permits.
    bool close_now(std::uint32_t columns) const { return columns >= cap_; }
    /// No access closes a row.
    bool leaves_open() const { return !close_unwanted_ && !closes_by_itself(); }
    bool closes_by_itself() const { return cap_ != std::numeric_limits<std::uint32_t>::max(); }

  private:
    bool close_unwanted_;
    std::uint32_t cap_;
};

}  // namespace npuvp::memory::dram
