#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "memory/config.h"
#include "memory/dram/limits.h"
#include "memory/dram/ticks.h"
#include "memory/serial.h"

namespace npuvp::memory::dram {

/// Least distances in ticks between the first ticks of two commands. A JEDEC delay counts from the
/// end of one command to the end of the next, so commands of unequal length shift it.
struct TickTable {
    explicit TickTable(const Config& config);

    Tick act_rd, act_wr, act_pre, act_act_bank, act_act_short, act_act_long, act_window, act_ref;
    Tick act_ref_other;  ///< to a per-bank refresh of another bank
    Tick pre_act, pre_ref, pre_pre;
    Tick rd_rd_short, rd_rd_long, rd_rd_stack, rd_wr, rd_pre, rd_act;  ///< rd_act: auto-precharge
    Tick wr_wr_short, wr_wr_long, wr_rd_short, wr_rd_long, wr_pre, wr_act;
    Tick rd_ref, wr_ref;  ///< after auto-precharge
    Tick ref_act, ref_pre, ref_bank_act, ref_bank_other_act, ref_bank_ref;
    Tick refresh_interval, bank_refresh_interval, bank_refresh_time;
    Tick read_latency;                                 ///< RD to the end of its data
    Tick burst;                                        ///< data-bus time of an access
    Tick clock;                                        ///< ticks per clock
    Tick activate_busy, precharge_busy, refresh_busy;  ///< occupancy of the row bus
    Tick column_busy;                                  ///< occupancy of the column bus
    Tick column_gap;  ///< no two column commands to one pseudo-channel are closer
};

/// When each command is next allowed in one channel. Says nothing about which row is open.
/// Banks are numbered within their pseudo-channel: (stack id, bank group, bank).
class TimingChecker {
  public:
    TimingChecker(const TickTable& table, const Organization& organization);
    TimingChecker(const TimingChecker&) = delete;
    TimingChecker& operator=(const TimingChecker&) = delete;

    /// When a column command, an ACT or a PRE is allowed to each bank of one pseudo-channel: for a
    /// look at many banks. Valid until the next command.
    struct ColumnTimes {
        const Tick *bank, *group, *stack;
        const std::uint8_t *group_of, *stack_of;
        Tick floor;  ///< no bank is ready earlier
        Tick operator()(int b) const {
            return std::max(std::max(bank[b], group[group_of[b]]),
                            std::max(stack[stack_of[b]], floor));
        }
    };
    struct ActivateTimes {
        const Tick *bank, *group;
        const std::uint8_t* group_of;
        Tick floor;
        Tick operator()(int b) const {
            return std::max(std::max(bank[b], group[group_of[b]]), floor);
        }
    };
    struct PrechargeTimes {
        const Tick* bank;
        Tick floor;
        Tick operator()(int b) const { return std::max(bank[b], floor); }
    };
    ColumnTimes reads(int pc) const {
        const PseudoChannel& p = pcs_[pc];
        return {p.bank_rd.data(), p.group_rd.data(), p.stack_rd.data(),
                group_of_.data(), stack_of_.data(),  0};
    }
    ColumnTimes writes(int pc) const {
        const PseudoChannel& p = pcs_[pc];
        return {p.bank_wr.data(), p.group_wr.data(), p.stack_wr.data(),
                group_of_.data(), stack_of_.data(),  p.last_read + table_.rd_wr};
    }
    ActivateTimes activates(int pc) const {
        const PseudoChannel& p = pcs_[pc];
        return {p.bank_act.data(), p.group_act.data(), group_of_.data(), p.act};
    }
    PrechargeTimes precharges(int pc) const { return {pcs_[pc].bank_pre.data(), pcs_[pc].pre}; }

    Tick read_ready(int pc, int bank) const {
        const PseudoChannel& p = pcs_[pc];
        const Tick group = p.group_rd[group_of_[bank]];
        const Tick stack = p.stack_rd[stack_of_[bank]];
        return std::max(std::max(p.bank_rd[bank], group), stack);
    }
    Tick write_ready(int pc, int bank) const { return writes(pc)(bank); }
    Tick activate_ready(int pc, int bank) const { return activates(pc)(bank); }
    Tick precharge_ready(int pc, int bank) const { return precharges(pc)(bank); }
    Tick precharge_all_ready(int pc) const {
        const PseudoChannel& p = pcs_[pc];
        const Tick read = p.last_read == p.last_closing_read ? 0 : p.last_read + table_.rd_pre;
        return std::max({p.pre_all, p.pre, read});
    }
    Tick refresh_all_ready(int pc) const { return pcs_[pc].ref_all; }
    Tick refresh_bank_ready(int pc, int bank) const {
        return std::max(pcs_[pc].bank_ref[bank], pcs_[pc].ref_bank);
    }

    void activate(int pc, int bank, Tick t);
    void precharge(int pc, int bank, Tick t);
    void precharge_all(int pc, Tick t);
    void read(int pc, int bank, Tick t) {
        PseudoChannel& p = pcs_[pc];
        occupy_for_read(p, bank, t);
        raise(p.bank_pre[bank], t + table_.rd_pre);
    }
    /// A read that closes its row: a PRE has nothing to wait for.
    void read_and_close(int pc, int bank, Tick t);
    void write(int pc, int bank, Tick t, bool auto_precharge);
    void refresh_all(int pc, Tick t);
    void refresh_bank(int pc, int bank, Tick t);

    void save(Writer& writer) const;
    void restore(Reader& reader);

  private:
    template <class T>
    using PerBank = std::array<T, kMaxBanks>;
    struct PseudoChannel {
        Tick act = 0, pre = 0, pre_all = 0, ref_all = 0, ref_bank = 0;
        Tick last_read = -kNeverTick;  ///< what follows from it is added where it is asked for
        Tick last_closing_read = -kNeverTick;
        Tick window[4] = {};  ///< end of the four-activate window that each of the last ACTs began
        std::uint32_t window_at = 0;
        // One array per command: a decision reads one of them for many banks.
        PerBank<Tick> bank_act = {}, bank_rd = {}, bank_wr = {}, bank_pre = {}, bank_ref = {};
        PerBank<Tick> group_act = {}, group_rd = {}, group_wr = {};
        std::array<Tick, kMaxStackIds> stack_rd = {}, stack_wr = {};
    };

    static void raise(Tick& time, Tick least) { time = std::max(time, least); }
    void occupy_for_read(PseudoChannel& p, int bank, Tick t) {
        p.last_read = t;
        p.group_rd[group_of_[bank]] = t + table_.rd_rd_long;
        p.stack_rd[stack_of_[bank]] = t + table_.rd_rd_short;
        for (int s = 0; stacks_ > 1 && s < stacks_; ++s) {
            if (s != stack_of_[bank]) raise(p.stack_rd[s], t + table_.rd_rd_stack);
        }
    }
    TickTable table_;
    int banks_;   ///< of a pseudo-channel
    int stacks_;  ///< stack ids
    PerBank<std::uint8_t> group_of_ = {}, stack_of_ = {};
    // In place, not behind a pointer: every command looks at them.
    std::array<PseudoChannel, kMaxPseudoChannels> pcs_;
};

}  // namespace npuvp::memory::dram
