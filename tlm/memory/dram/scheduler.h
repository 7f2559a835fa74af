#pragma once

#include "memory/dram/bank_queues.h"
#include "memory/dram/timing.h"

namespace npuvp::memory::dram {

/// What a scheduler found for one command class of one pseudo-channel.
struct Pick {
    int bank = -1;            ///< -1: nothing is ready
    std::uint32_t order = 0;  ///< of the request behind the pick
    Tick arrival = 0;
    Tick next = kNeverTick;  ///< first tick at which one of the others may be ready
};

/// First ready, first come: of the requests whose next command may issue now, the oldest.
/// Row hits come first because they use the column bus, which nobody else wants; a row that an
/// older request hits is protected from being closed.
class FrFcfs {
  public:
    FrFcfs(const BankQueues& queues, const TimingChecker& timing, bool protect_row_hits)
        : queues_(queues), timing_(timing), protect_row_hits_(protect_row_hits) {}

    /// A column command for a request that has activated its row: before all others.
    Pick active_column(int pc, Tick now) const;
    Pick hit_column(int pc, Kind kind, Tick now) const;
    Pick activate(int pc, Kind kind, Tick now) const;
    Pick precharge(int pc, Kind kind, Tick now) const;

    /// Banks whose row the oldest request of `kind` wants closed, and may.
    std::uint64_t precharge_banks(int pc, Kind kind) const {
        const BankQueues::Masks& m = queues_.masks(pc);
        const std::uint64_t wanted = m.miss[kind] & m.open & ~m.active;
        return protect_row_hits_ ? wanted & ~m.hit_first[kind] : wanted;
    }

  private:
    const BankQueues& queues_;
    const TimingChecker& timing_;
    bool protect_row_hits_;
};

}  // namespace npuvp::memory::dram
