#include "memory/dram/timing.h"

namespace npuvp::memory::dram {

TickTable::TickTable(const Config& config) {
    const Timing& t = config.timing;
    const CommandBus& bus = config.bus;
    clock = bus.ticks_per_clock;
    const Tick act_end = Tick{bus.activate_ticks} - 1;
    const Tick pre_end = Tick{bus.precharge_ticks} - 1;
    const Tick ref_end = Tick{bus.refresh_ticks} - 1;
    const Tick col_end = Tick{bus.column_ticks} - 1;
    const auto ticks = [this](std::uint64_t clocks) { return static_cast<Tick>(clocks) * clock; };

    act_rd = ticks(t.rcd_rd) + act_end - col_end;
    act_wr = ticks(t.rcd_wr) + act_end - col_end;
    act_pre = ticks(t.ras) + act_end - pre_end;
    act_act_bank = ticks(t.rc);
    act_act_short = ticks(t.rrd_s);
    act_act_long = ticks(t.rrd_l);
    act_window = ticks(t.faw);
    act_ref = ticks(t.rc) + act_end - ref_end;
    act_ref_other = ticks(t.rrd_s) + act_end - ref_end;
    pre_act = ticks(t.rp) + pre_end - act_end;
    pre_ref = ticks(t.rp) + pre_end - ref_end;
    pre_pre = ticks(t.ppd);
    rd_rd_short = ticks(std::max(t.burst, t.ccd_s));
    rd_rd_long = ticks(std::max(t.burst, t.ccd_l));
    rd_rd_stack = ticks(std::max(t.burst, t.ccd_r));
    rd_wr = ticks(t.rtw);
    rd_pre = ticks(t.rtp) + col_end - pre_end;
    rd_act = ticks(t.rtp + t.rp) + col_end - act_end;
    rd_ref = ticks(t.rtp + t.rp) + col_end - ref_end;
    wr_wr_short = ticks(std::max(t.burst, t.ccd_s));
    wr_wr_long = ticks(std::max(t.burst, t.ccd_l));
    wr_rd_short = ticks(t.cwl + t.burst + t.wtr_s);
    wr_rd_long = ticks(t.cwl + t.burst + t.wtr_l);
    wr_pre = ticks(t.cwl + t.burst + t.wr) + col_end - pre_end;
    wr_act = ticks(t.cwl + t.burst + t.wr + t.rp) + col_end - act_end;
    wr_ref = ticks(t.cwl + t.burst + t.wr + t.rp) + col_end - ref_end;
    ref_act = ticks(t.rfc) + ref_end - act_end;
    ref_pre = ticks(t.rfc) + ref_end - pre_end;
    ref_bank_act = ticks(t.rfc_pb) + ref_end - act_end;
    ref_bank_other_act = ticks(t.rrefd) + ref_end - act_end;
    ref_bank_ref = ticks(t.rrefd);

    const Organization& o = config.organization;
    const std::uint32_t banks = o.stack_ids * o.bank_groups * o.banks;
    const bool together =
        config.controller.bank_refresh_order == BankRefreshOrder::pseudo_channels_together;
    const std::uint32_t turns = together ? banks : banks * o.pseudo_channels;
    refresh_interval = ticks(t.refi);
    bank_refresh_interval = ticks((t.refi + turns - 1) / turns);
    bank_refresh_time = ticks(t.rfc_pb);
    read_latency = ticks(t.cl + t.burst);
    burst = ticks(t.burst);
    activate_busy = bus.activate_ticks;
    precharge_busy = bus.precharge_ticks;
    refresh_busy = bus.refresh_ticks;
    column_busy = bus.column_ticks;
    column_gap = std::min({rd_rd_short, rd_rd_long, rd_rd_stack, rd_wr, wr_wr_short, wr_rd_short});
}

TimingChecker::TimingChecker(const TickTable& table, const Organization& o)
    : table_(table),
      banks_per_pc_(static_cast<int>(o.stack_ids * o.bank_groups * o.banks)),
      stacks_per_pc_(static_cast<int>(o.stack_ids)),
      banks_(std::size_t{o.pseudo_channels} * o.stack_ids * o.bank_groups * o.banks),
      groups_(std::size_t{o.pseudo_channels} * o.stack_ids * o.bank_groups),
      stacks_(std::size_t{o.pseudo_channels} * o.stack_ids),
      pcs_(o.pseudo_channels) {
    for (std::size_t i = 0; i < banks_.size(); ++i) {
        banks_[i].group = static_cast<std::uint32_t>(i / o.banks);
        banks_[i].stack = static_cast<std::uint32_t>(i / (std::size_t{o.banks} * o.bank_groups));
    }
}

void TimingChecker::activate(int pc, int bank, Tick t) {
    Bank& b = bank_at(pc, bank);
    b.rd = t + table_.act_rd;
    b.wr = t + table_.act_wr;
    b.act = t + table_.act_act_bank;
    raise(b.pre, t + table_.act_pre);
    raise(b.ref, t + table_.act_ref);
    groups_[b.group].act = t + table_.act_act_long;
    PseudoChannel& p = pcs_[pc];
    p.window[p.window_at] = t + table_.act_window;
    p.window_at = (p.window_at + 1) % 4;
    raise(p.act, std::max(t + table_.act_act_short, p.window[p.window_at]));
    raise(p.pre_all, t + table_.act_pre);
    raise(p.ref_all, t + table_.act_ref);
    raise(p.ref_bank, t + table_.act_ref_other);
}

void TimingChecker::precharge(int pc, int bank, Tick t) {
    Bank& b = bank_at(pc, bank);
    raise(b.act, t + table_.pre_act);
    raise(b.ref, t + table_.pre_ref);
    PseudoChannel& p = pcs_[pc];
    p.pre = t + table_.pre_pre;
    raise(p.ref_all, t + table_.pre_ref);
}

void TimingChecker::precharge_all(int pc, Tick t) {
    for (int bank = 0; bank < banks_per_pc_; ++bank) {
        raise(bank_at(pc, bank).act, t + table_.pre_act);
        raise(bank_at(pc, bank).ref, t + table_.pre_ref);
    }
    PseudoChannel& p = pcs_[pc];
    p.pre = t + table_.pre_pre;
    raise(p.ref_all, t + table_.pre_ref);
}

void TimingChecker::read(int pc, int bank, Tick t, bool auto_precharge) {
    Bank& b = bank_at(pc, bank);
    groups_[b.group].rd = t + table_.rd_rd_long;
    const int first = pc * stacks_per_pc_;
    for (int s = first; s < first + stacks_per_pc_; ++s) {
        const bool same = static_cast<std::uint32_t>(s) == b.stack;
        raise(stacks_[s].rd, t + (same ? table_.rd_rd_short : table_.rd_rd_stack));
        raise(stacks_[s].wr, t + table_.rd_wr);
    }
    raise(b.pre, t + table_.rd_pre);
    PseudoChannel& p = pcs_[pc];
    raise(p.pre_all, t + table_.rd_pre);
    if (auto_precharge) {
        raise(b.act, t + table_.rd_act);
        raise(b.ref, t + table_.rd_ref);
        raise(p.ref_all, t + table_.rd_ref);
    }
}

void TimingChecker::write(int pc, int bank, Tick t, bool auto_precharge) {
    Bank& b = bank_at(pc, bank);
    raise(groups_[b.group].wr, t + table_.wr_wr_long);
    raise(groups_[b.group].rd, t + table_.wr_rd_long);
    const int first = pc * stacks_per_pc_;
    for (int s = first; s < first + stacks_per_pc_; ++s) {
        raise(stacks_[s].wr, t + table_.wr_wr_short);
        raise(stacks_[s].rd, t + table_.wr_rd_short);
    }
    raise(b.pre, t + table_.wr_pre);
    PseudoChannel& p = pcs_[pc];
    raise(p.pre_all, t + table_.wr_pre);
    if (auto_precharge) {
        raise(b.act, t + table_.wr_act);
        raise(b.ref, t + table_.wr_ref);
        raise(p.ref_all, t + table_.wr_ref);
    }
}

void TimingChecker::refresh_all(int pc, Tick t) {
    PseudoChannel& p = pcs_[pc];
    raise(p.act, t + table_.ref_act);
    raise(p.pre_all, t + table_.ref_pre);
    raise(p.ref_all, t + table_.ref_pre);
}

void TimingChecker::refresh_bank(int pc, int bank, Tick t) {
    Bank& b = bank_at(pc, bank);
    raise(b.act, t + table_.ref_bank_act);
    raise(b.ref, t + table_.ref_bank_act);
    PseudoChannel& p = pcs_[pc];
    raise(p.act, t + table_.ref_bank_other_act);
    raise(p.ref_bank, t + table_.ref_bank_ref);
}

void TimingChecker::save(Writer& writer) const {
    writer.put(banks_);
    writer.put(groups_);
    writer.put(stacks_);
    writer.put(pcs_);
}

void TimingChecker::restore(Reader& reader) {
    reader.get(banks_);
    reader.get(groups_);
    reader.get(stacks_);
    reader.get(pcs_);
}

}  // namespace npuvp::memory::dram
