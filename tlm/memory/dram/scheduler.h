#pragma once

#include "memory/dram/bank_queues.h"
#include "memory/dram/timing.h"

namespace npuvp::memory::dram {

/// What a scheduler found for one command class of one pseudo-channel.
struct Pick {
    int bank = -1;              ///< -1: nothing is ready
    std::uint32_t order = 0;    ///< of the request behind the pick
    std::uint32_t arrival = 0;  ///< the same request's, where that is looked at
    bool more = false;          ///< others are ready too
    Tick next = kNeverTick;     ///< first tick at which one that was not ready may be
};

/// When a command class of one pseudo-channel has to be looked at, and what the last look found. A
/// pick that did not issue stays the best until `pick.next`: what issues elsewhere can only take
/// other candidates away.
struct Watch {
    Tick look = 0;  ///< no command of the class is ready before
    Pick pick;
    std::uint64_t ready = 0;  ///< banks whose own timing is known to be met; `precharge` uses it

    bool holds(Tick now) const { return pick.bank >= 0 && now < pick.next; }
    void found(Tick now) { look = pick.bank >= 0 ? now + 1 : pick.next; }
    /// The pick has issued.
    void take(Tick now) {
        look = pick.more ? now + 1 : pick.next;
        forget(pick.bank);
    }
    void add(Tick at) {
        look = std::min(look, at);
        pick.next = std::min(pick.next, at);
    }
    void forget(int bank) {
        ready &= ~(std::uint64_t{1} << bank);
        if (pick.bank == bank) pick.bank = -1;
    }
    void forget_all(std::uint64_t banks) {
        ready &= ~banks;
        if (pick.bank >= 0 && (banks >> pick.bank & 1) != 0) pick.bank = -1;
    }
    void reset(Tick from) {
        look = pick.next = from;
        pick.bank = -1;
        ready = 0;
    }
};

/// First ready, first come: of the requests whose next command may issue now, the oldest.
/// Row hits come first because they use the column bus, which nobody else wants; a row that an
/// older request hits is protected from being closed.
class FrFcfs {
  public:
    FrFcfs(const BankQueues& queues, const TimingChecker& timing, bool protect_row_hits)
        : queues_(queues), timing_(timing), protect_row_hits_(protect_row_hits) {}

    /// A column command for a request that has activated its row: before all others.
    Pick active_column(int pc, Tick now) const {
        return queues_.masks(pc).active == 0 ? Pick{} : oldest_active(pc, now);
    }
    /// The oldest ready request that hits its row; where there is one, `more` is always set.
    Pick oldest_hit(int pc, Kind kind, Tick now) const;
    /// No column command for a request that has activated its row is ready earlier.
    Tick active_ready(int pc) const;
    Pick activate(int pc, Kind kind, Tick now) const;
    /// Brings `watch` up to date. A bank that may be closed stays so until it gets a command, which
    /// its owner reports with `forget`; so times are compared once and then only orders.
    void precharge(int pc, Kind kind, Tick now, Watch& watch) const;

    /// Banks whose row the oldest request of `kind` wants closed, and may.
    std::uint64_t precharge_banks(int pc, Kind kind) const {
        const BankQueues::Masks& m = queues_.masks(pc);
        const std::uint64_t wanted = m.miss[kind] & m.open & ~m.active;
        return protect_row_hits_ ? wanted & ~m.hit_first[kind] : wanted;
    }

  private:
    Pick oldest_active(int pc, Tick now) const;

    const BankQueues& queues_;
    const TimingChecker& timing_;
    bool protect_row_hits_;
};

}  // namespace npuvp::memory::dram
