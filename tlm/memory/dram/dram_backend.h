#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "memory/backend.h"
#include "memory/dram/channel.h"

namespace npuvp::memory::dram {

/// The built-in cycle-level memory: independent channels behind one address mapping.
/// Completions of one pseudo-channel are reported in order of time, those of several are not.
class DramBackend final : public Backend {
  public:
    /// @throws std::invalid_argument naming every fault of the configuration.
    explicit DramBackend(const Config& config);

    bool send(const Request& request) override;
    Sent send_run(const Request& first, std::uint64_t end, std::uint32_t most) override;
    Picoseconds next_event() const override;
    void advance(Picoseconds until, std::vector<Completion>& completions) override;
    Picoseconds now() const override { return now_; }
    bool idle() const override;
    Statistics statistics() const override;
    void reset_statistics() override;
    void record_commands(std::vector<IssuedCommand>* to) override;
    std::vector<std::uint8_t> save() const override;
    void restore(const std::vector<std::uint8_t>& state) override;
    std::uint32_t channels() const override { return static_cast<std::uint32_t>(channels_.size()); }
    std::uint32_t channel_of(std::uint64_t address) const override {
        return mapping_.channel(address >> access_shift_);
    }
    std::uint32_t access_bytes() const override { return access_bytes_; }
    std::uint64_t capacity_bytes() const override { return capacity_; }
    double peak_bandwidth() const override;
    Picoseconds lookahead() const override { return clock_.time(table_.read_latency); }
    /// At most until a fifth of a queue can have left.
    Picoseconds refill() const override {
        return std::min(lookahead() / 2, clock_.time(queue_depth_ * table_.burst) / 5);
    }

  private:
    Statistics counts() const;
    void note(std::size_t channel);
    template <Kind kind>
    Sent send_run_of(const Request& first, std::uint64_t end, std::uint32_t most);

    Organization organization_;
    std::uint32_t access_bytes_;
    std::uint32_t access_shift_;
    std::uint64_t capacity_;
    std::uint32_t pseudo_channels_;
    std::uint32_t queue_depth_;
    TickTable table_;
    TickClock clock_;
    AddressMapping mapping_;
    std::vector<std::unique_ptr<Channel>> channels_;
    Picoseconds now_ = 0;
    Tick tick_ = 0;
    std::vector<Tick> next_;  ///< of each channel, periodic refresh included
    std::vector<Tick> wake_;  ///< the same, never for a channel without requests
    std::vector<Completion> decided_;
    Picoseconds counted_since_ = 0;
    Statistics counted_before_;
};

}  // namespace npuvp::memory::dram
