#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "memory/dram/timing.h"

namespace npuvp::memory::dram {

/// A command that the controller owes to the memory rather than to a request. While one waits, no
/// new request is picked in its channel.
struct Maintenance {
    enum class Kind : std::uint8_t { refresh_all, refresh_bank, precharge };
    Kind kind = Kind::refresh_all;
    std::uint8_t pc = 0;
    std::uint8_t bank = 0;
};

/// Decides when a channel owes which refresh.
class RefreshSchedule {
  public:
    /// What a checkpoint needs.
    struct State {
        Tick due = kNeverTick;
        std::uint32_t turn = 0;
        std::uint32_t pc = 0;  ///< where the pseudo-channels of a turn follow each other
        Tick round_allowed[kMaxStackIds] =
            {};  ///< per stack id: when its next round of per-bank refreshes may begin
    };

    virtual ~RefreshSchedule() = default;
    Tick due() const { return state_.due; }
    /// Appends what has become due at `now == due()` and moves `due` on.
    virtual void collect(Tick now, std::vector<Maintenance>& owed) = 0;
    /// Skips whole refresh intervals before `until` of a channel that has nothing else to do.
    /// Returns how many refresh commands were skipped.
    virtual std::uint64_t skip(Tick until) = 0;

    const State& state() const { return state_; }
    void set_state(const State& state) { state_ = state; }

  protected:
    State state_;
};

std::unique_ptr<RefreshSchedule> make_refresh_schedule(const Config& config,
                                                       const TickTable& table);

}  // namespace npuvp::memory::dram
