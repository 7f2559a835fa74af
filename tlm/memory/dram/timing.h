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

    Tick read_ready(int pc, int bank) const {
        const Bank& b = bank_at(pc, bank);
        return std::max({b.rd, groups_[b.group].rd, stacks_[b.stack].rd});
    }
    Tick write_ready(int pc, int bank) const {
        const Bank& b = bank_at(pc, bank);
        return std::max({b.wr, groups_[b.group].wr, stacks_[b.stack].wr});
    }
    Tick activate_ready(int pc, int bank) const {
        const Bank& b = bank_at(pc, bank);
        return std::max({b.act, groups_[b.group].act, pcs_[pc].act});
    }
    /// No bank of the pseudo-channel is ready for ACT earlier.
    Tick activate_floor(int pc) const { return pcs_[pc].act; }
    Tick precharge_ready(int pc, int bank) const {
        return std::max(bank_at(pc, bank).pre, pcs_[pc].pre);
    }
    Tick precharge_all_ready(int pc) const { return std::max(pcs_[pc].pre_all, pcs_[pc].pre); }
    Tick refresh_all_ready(int pc) const { return pcs_[pc].ref_all; }
    Tick refresh_bank_ready(int pc, int bank) const {
        return std::max(bank_at(pc, bank).ref, pcs_[pc].ref_bank);
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
    struct Bank {
        Tick act = 0, rd = 0, wr = 0, pre = 0, ref = 0;
        std::uint32_t group = 0, stack = 0;  ///< indices into the channel's groups and stacks
    };
    struct Group {
        Tick act = 0, rd = 0, wr = 0;
    };
    struct Stack {
        Tick rd = 0, wr = 0;
    };
    struct PseudoChannel {
        Tick act = 0, pre = 0, pre_all = 0, ref_all = 0, ref_bank = 0;
        Tick window[4] = {};  ///< end of the four-activate window that each of the last ACTs began
        std::uint32_t window_at = 0;
    };

    static void raise(Tick& time, Tick least) { time = std::max(time, least); }
    const Bank& bank_at(int pc, int bank) const { return banks_[pc * banks_per_pc_ + bank]; }
    Bank& bank_at(int pc, int bank) { return banks_[pc * banks_per_pc_ + bank]; }

    TickTable table_;
    int banks_per_pc_;
    int stacks_per_pc_;
    std::vector<Bank> banks_;
    std::vector<Group> groups_;
    std::vector<Stack> stacks_;
    std::vector<PseudoChannel> pcs_;
};

}  // namespace npuvp::memory::dram
