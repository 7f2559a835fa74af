#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "memory/backend.h"
#include "memory/dram/address_mapping.h"
#include "memory/dram/ticks.h"
#include "memory/dram/timing.h"

namespace Ramulator {
class IFrontEnd;
class IMemorySystem;
struct Request;
}  // namespace Ramulator

namespace npuvp::memory::ramulator {

/// Ramulator 2.1, linked from the user's own tree, as a memory. It knows only ticks, so time costs
/// one call each while anything is outstanding and over every pause (refresh goes on).
///
/// What it does not count is derived: an ACT per row miss and conflict, a PRE per conflict, and
/// refreshes from the time that has passed. `data_busy` follows from the accesses, `rows_open` is
/// not known and stays 0.
class RamulatorBackend final : public Backend {
  public:
    /// @throws std::invalid_argument for what Ramulator 2.1 cannot model.
    explicit RamulatorBackend(const Config& config);
    ~RamulatorBackend() override;

    bool send(const Request& request) override;
    Picoseconds next_event() const override;
    /// @throws std::runtime_error if Ramulator has stopped serving what it accepted.
    void advance(Picoseconds until, std::vector<Completion>& completions) override;
    Picoseconds now() const override { return now_; }
    bool idle() const override;
    Statistics statistics() const override;
    void reset_statistics() override;
    std::vector<std::uint8_t> save() const override;
    void restore(const std::vector<std::uint8_t>& state) override;
    std::uint32_t channels() const override { return organization_.channels; }
    std::uint32_t channel_of(std::uint64_t address) const override {
        return mapping_.channel(address / organization_.access_bytes);
    }
    std::uint32_t access_bytes() const override { return organization_.access_bytes; }
    std::uint64_t capacity_bytes() const override;
    double peak_bandwidth() const override;
    Picoseconds lookahead() const override { return 0; }

  private:
    void create(const Config& config);
    void destroy();
    Statistics counts() const;

    Organization organization_;
    Refresh refresh_;
    bool has_stack_ids_;
    dram::TickTable table_;
    dram::TickClock clock_;
    dram::AddressMapping mapping_;
    Ramulator::IFrontEnd* frontend_ = nullptr;
    Ramulator::IMemorySystem* memory_ = nullptr;

    Picoseconds now_ = 0;
    dram::Tick tick_ = 0;
    dram::Tick last_progress_ = 0;
    std::uint64_t reads_outstanding_ = 0;
    std::uint64_t writes_outstanding_ = 0;
    std::uint64_t reads_done_ = 0;
    std::uint64_t writes_done_ = 0;
    std::uint64_t refused_ = 0;
    std::vector<Completion> done_;
    Picoseconds counted_since_ = 0;
    Statistics counted_before_;
};

}  // namespace npuvp::memory::ramulator
