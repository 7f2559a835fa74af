#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "memory/config.h"
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

    /// When a column command, an ACT or a PRE is allowed to each bank of one pseudo-channel: for a
    /// look at many banks. Valid until the next command.
    struct ColumnTimes {
        const Tick *bank, *group, *stack;
        const std::uint8_t *group_of, *stack_of;
        Tick operator()(int b) const {
            return std::max(std::max(bank[b], group[group_of[b]]), stack[stack_of[b]]);
        }
    };
    struct ActivateTimes {
        const Tick *bank, *group;
        const std::uint8_t* group_of;
        Tick floor;  ///< no bank is ready earlier
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
        const int at = pc * banks_per_pc_;
        return {&rd_[at], group_rd_.data(), stack_rd_.data(), &group_of_[at], &stack_of_[at]};
    }
    ColumnTimes writes(int pc) const {
        const int at = pc * banks_per_pc_;
        return {&wr_[at], group_wr_.data(), stack_wr_.data(), &group_of_[at], &stack_of_[at]};
    }
    ActivateTimes activates(int pc) const {
        const int at = pc * banks_per_pc_;
        return {&act_[at], group_act_.data(), &group_of_[at], pcs_[pc].act};
    }
    PrechargeTimes precharges(int pc) const { return {&pre_[pc * banks_per_pc_], pcs_[pc].pre}; }

    /// What a run of reads of one pseudo-channel looks at and changes, for a loop that issues many.
    /// `end_reads` adds what only other commands look at.
    struct ReadRun {
        const Tick* bank;  ///< by bank: after its ACT
        Tick* group;       ///< by bank group
        Tick* stack;       ///< by stack id
        Tick* precharge;   ///< by bank
        const std::uint8_t *group_of, *stack_of;
        Tick gap_long, gap_short, gap_stack, to_precharge;
        int first_stack, stacks;

        Tick ready(int b) const {
            return std::max(std::max(bank[b], group[group_of[b]]), stack[stack_of[b]]);
        }
        void issue(int b, Tick t) {
            group[group_of[b]] = t + gap_long;
            if (stacks == 1) {
                stack[first_stack] = t + gap_short;
            } else {
                for (int s = first_stack; s < first_stack + stacks; ++s)
                    raise(stack[s], t + (s == stack_of[b] ? gap_short : gap_stack));
            }
            raise(precharge[b], t + to_precharge);
        }
    };
    ReadRun begin_reads(int pc);
    /// The run's last one was at `last`.
    void end_reads(int pc, Tick last);

    Tick read_ready(int pc, int bank) const { return reads(pc)(bank); }
    Tick write_ready(int pc, int bank) const { return writes(pc)(bank); }
    Tick activate_ready(int pc, int bank) const { return activates(pc)(bank); }
    Tick precharge_ready(int pc, int bank) const { return precharges(pc)(bank); }
    Tick precharge_all_ready(int pc) const { return std::max(pcs_[pc].pre_all, pcs_[pc].pre); }
    Tick refresh_all_ready(int pc) const { return pcs_[pc].ref_all; }
    Tick refresh_bank_ready(int pc, int bank) const {
        return std::max(ref_[pc * banks_per_pc_ + bank], pcs_[pc].ref_bank);
    }

    void activate(int pc, int bank, Tick t);
    void precharge(int pc, int bank, Tick t);
    void precharge_all(int pc, Tick t);
    void read(int pc, int bank, Tick t, bool auto_precharge);
    void write(int pc, int bank, Tick t, bool auto_precharge);
    void refresh_all(int pc, Tick t);
    void refresh_bank(int pc, int bank, Tick t);

    void save(Writer& writer) const;
    void restore(Reader& reader);

  private:
    struct PseudoChannel {
        Tick act = 0, pre = 0, pre_all = 0, ref_all = 0, ref_bank = 0;
        Tick window[4] = {};  ///< end of the four-activate window that each of the last ACTs began
        std::uint32_t window_at = 0;
    };

    static void raise(Tick& time, Tick least) { time = std::max(time, least); }
    TickTable table_;
    int banks_per_pc_;
    int stacks_per_pc_;
    // Of each bank of the channel, one array per command: a decision reads one of them for many
    // banks.
    std::vector<Tick> act_, rd_, wr_, pre_, ref_;
    std::vector<std::uint8_t> group_of_, stack_of_;  ///< indices into the following
    std::vector<Tick> group_act_, group_rd_, group_wr_, stack_rd_, stack_wr_;
    std::vector<PseudoChannel> pcs_;
};

}  // namespace npuvp::memory::dram
