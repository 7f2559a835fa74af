#pragma once

#include <memory>
#include <vector>

#include "memory/backend.h"
#include "memory/dram/address_mapping.h"
#include "memory/dram/bank_queues.h"
#include "memory/dram/refresh.h"
#include "memory/dram/row_policy.h"
#include "memory/dram/scheduler.h"
#include "memory/dram/timing.h"

namespace npuvp::memory::dram {

/// The controller of one channel: its pseudo-channels share a row and a column command bus, one
/// command each per tick. Per tick: refresh falls due, then a column command, then a row command.
///  - Column bus: a request that has activated its row, else (no maintenance waits) the oldest
///    ready row hit.
///  - Row bus: maintenance, else the oldest ready request that needs an ACT or a PRE.
/// Requests are picked from the reads or the writes, whichever the drain rule has chosen.
///
/// Ticks at which nothing can issue are never visited: per pseudo-channel and command class the
/// channel keeps a lower bound of the tick at which something may be ready, lowered when a request
/// arrives or a row changes and raised when a look finds nothing.
class Channel {
  public:
    Channel(const Config& config, const TickTable& table, const TickClock& clock);
    Channel(const Channel&) = delete;
    Channel& operator=(const Channel&) = delete;

    enum class Accepted : std::uint8_t { no, queued, forwarded, posted };

    /// At `now`, after `run(now)`, with `taken` behind the last. `forwarded`: a read that a waiting
    /// write answers in the next tick.
    Accepted take(const Coordinates& where, const Access& access, Tick now) {
        const int pc = static_cast<int>(where.pc);
        const int bank = static_cast<int>(where.bank);
        if (queues_.write_waits(pc, bank, access.unit)) {
            ++(access.kind == kWrite ? counts_.writes_coalesced : counts_.reads_forwarded);
            return access.kind == kWrite ? Accepted::posted : Accepted::forwarded;
        }
        if (queues_.full(access.kind)) {
            ++counts_.refused;
            return Accepted::no;
        }
        const bool leads = queues_.push(pc, bank, where.row, access, now);
        if (leads && access.kind == mode_) lead(pc, bank, where.row, now);
        return access.kind == kWrite ? Accepted::posted : Accepted::queued;
    }
    /// Requests have been taken at `now`.
    void taken(Tick now) {
        if (owed_.empty() && mode_would_flip()) next_ = now + 1;
    }

    /// Counts a refusal if there is no way to take a request of the kind, wherever it goes.
    bool refuses(Kind kind) {
        if (!queues_.full(kind) || queues_.size(kWrite) != 0) return false;
        ++counts_.refused;
        return true;
    }

    /// Visits every tick up to and including `until` at which something may happen.
    void run(Tick until, std::vector<Completion>& completions);

    /// The next tick to visit, periodic refresh included.
    Tick next() const { return next_; }
    bool idle() const {
        return queues_.size(kRead) == 0 && queues_.size(kWrite) == 0 && queues_.actives() == 0;
    }

    /// Counts so far; the times are filled in for `now`.
    Statistics statistics(Tick now) const;

    /// See Backend::record_commands; `number` is this channel's.
    void record_commands(std::vector<IssuedCommand>* to, std::uint32_t number) {
        record_ = to;
        number_ = number;
    }

    void save(Writer& writer) const;
    void restore(Reader& reader);

  private:
    struct PseudoChannel {
        Tick column = 0;  ///< no column command is ready before
        Watch activation, precharging;
        Tick opened = 0;            ///< since when a row is open, if one is
        Tick active = 0;            ///< when a request that has activated its row is ready,
        bool active_known = false;  ///< if this has been looked up since the last command
        std::uint64_t capped = 0;   ///< banks whose row has had its share of accesses
    };

    bool rising(Tick t) const { return (t & edge_) == edge_; }
    /// First tick from `t` on at which a command that needs a rising edge may issue.
    Tick align(Tick t) const { return t | edge_; }

    /// A request of the kind that is served has arrived at the head of its bank's hits or misses.
    void lead(int pc, int bank, std::uint32_t row, Tick now);
    void record(Tick t, Command command, int pc, int bank, std::uint64_t row) const {
        if (record_)
            record_->push_back({clock_.time(t), number_,
                                static_cast<std::uint32_t>(pc * banks_ + bank), command, row});
    }
    void step(Tick t, std::vector<Completion>& completions);
    /// Serves reads that hit their rows, and the row commands between them, from `next_` on up to
    /// `until` or the first tick at which anything else may happen: what `step` would do, without a
    /// look at all the rest. False if `step` has to.
    bool stream(Tick until, std::vector<Completion>& completions);
    /// Serves such reads from `from` on up to `end` or `row`, the first tick at which a row command
    /// may issue, which they may lower. Returns the last tick visited, or -1.
    Tick read_hits(Tick from, Tick end, Tick& row, std::vector<Completion>& completions);
    /// The oldest read that hits its row and is ready, or null: none is before
    /// `state_[pc].column`.
    const HitQueue::Item* ready_hit(int pc, Tick t);
    template <int pc>
    void read_hit(const HitQueue::Item* hit, Tick t, Tick& row,
                  std::vector<Completion>& completions);
    /// The first tick at which a request of the pseudo-channel that has activated its row is ready.
    Tick active_ready(int pc);
    /// The same of all, exact up to `end`; beyond, none is ready earlier.
    Tick actives_ready(Tick end);
    /// No column command is ready earlier.
    Tick column_ready() const {
        Tick ready = kNeverTick;
        for (const PseudoChannel& state : state_) ready = std::min(ready, state.column);
        return ready;
    }
    /// No row command is ready earlier, while no maintenance waits.
    Tick row_ready() const;
    void column_slot(Tick t, std::vector<Completion>& completions);
    void row_slot(Tick t);
    void issue_column(int pc, int bank, bool active, Tick t, std::vector<Completion>& completions);
    void issue_activate(int pc, int bank, Tick t);
    void issue_precharge(int pc, int bank, Tick t);
    /// The command alone, to a bank whose row may be closed.
    void send_precharge(int pc, int bank, Tick t);
    void close_bank(int pc, int bank, Tick t);
    void serve_maintenance(Tick t);
    void finish_maintenance(Tick t);
    /// The first tick from `from` on at which the oldest maintenance can issue a command.
    Tick maintenance_ready(Tick from) const;
    /// Owes the PRE of rows that have had their accesses, where it might issue now.
    void collect_capped(Tick t);
    /// The first tick at which `collect_capped` finds one.
    Tick capped_ready() const;
    bool mode_would_flip() const {
        const int reads = queues_.size(kRead);
        const int writes = queues_.size(kWrite);
        if (mode_ == kRead) return writes > write_start_ || reads == 0;
        return writes < write_stop_ && reads != 0;
    }
    void choose_mode(Tick t);
    void wake(Tick t);
    void count_first_command(Entry& entry, std::uint64_t& counter);
    void schedule(Tick t);

    TickTable table_;
    TickClock clock_;
    Tick edge_;
    int pcs_;
    int banks_;  ///< of a pseudo-channel
    std::vector<IssuedCommand>* record_ = nullptr;
    std::uint32_t number_ = 0;
    int write_start_;  ///< drain when more writes wait
    int write_stop_;   ///< until fewer wait
    bool all_bank_;
    RowPolicyRule row_policy_;
    BankQueues queues_;
    TimingChecker timing_;
    FrFcfs scheduler_;
    std::unique_ptr<RefreshSchedule> refresh_;

    Kind mode_ = kRead;
    Tick next_ = 0;
    Tick row_free_ = 0;
    Tick column_free_ = 0;
    Tick active_ = kNeverTick;  ///< what `actives_ready` knows
    PseudoChannel state_[kMaxPseudoChannels];
    std::vector<Maintenance> owed_;
    Statistics counts_;
    Tick rows_open_ = 0;
};

}  // namespace npuvp::memory::dram
