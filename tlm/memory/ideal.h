#pragma once

#include "memory/backend.h"

namespace npuvp::memory {

/// A pipe of given latency and bandwidth: data leaves in the order of arrival, at most
/// `queue_depth` accesses per pseudo-channel wait. For comparisons and for platforms that want none
/// of a DRAM's details.
class IdealBackend final : public Backend {
  public:
    explicit IdealBackend(const Config& config);

    bool send(const Request& request) override;
    Picoseconds next_event() const override;
    void advance(Picoseconds until, std::vector<Completion>& completions) override;
    Picoseconds now() const override { return state_.now; }
    bool idle() const override;
    Statistics statistics() const override;
    void reset_statistics() override;
    std::vector<std::uint8_t> save() const override;
    void restore(const std::vector<std::uint8_t>& state) override;
    std::uint32_t access_bytes() const override { return access_bytes_; }
    bool partial_bursts() const override { return true; }
    std::uint64_t capacity_bytes() const override { return capacity_; }
    double peak_bandwidth() const override { return bandwidth_; }
    Picoseconds lookahead() const override { return latency_; }

  private:
    /// Of one access. Femtoseconds, so that rounding stays below one part in 10^4 per access.
    std::uint64_t service_fs(std::uint32_t bytes) const;

    struct State {
        Picoseconds now = 0;
        std::uint64_t free_fs = 0;  ///< when the pipe has taken in all that was accepted
        Picoseconds statistics_since = 0;
        Statistics statistics;
    };

    std::uint32_t access_bytes_;
    std::uint64_t capacity_;
    double bandwidth_;
    Picoseconds latency_;
    std::uint64_t backlog_fs_;  ///< service time of a full queue
    State state_;
    std::vector<Completion> decided_;
};

}  // namespace npuvp::memory
