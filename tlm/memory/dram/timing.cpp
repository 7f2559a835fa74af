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
      banks_(static_cast<int>(o.stack_ids * o.bank_groups * o.banks)),
      stacks_(static_cast<int>(o.stack_ids)) {
    for (std::uint32_t bank = 0; bank < o.stack_ids * o.bank_groups * o.banks; ++bank) {
        group_of_[bank] = static_cast<std::uint8_t>(bank / o.banks);
        stack_of_[bank] = static_cast<std::uint8_t>(bank / (o.banks * o.bank_groups));
    }
}

void TimingChecker::activate(int pc, int bank, Tick t) {
    PseudoChannel& p = pcs_[pc];
    p.bank_rd[bank] = t + table_.act_rd;
    p.bank_wr[bank] = t + table_.act_wr;
    p.bank_act[bank] = t + table_.act_act_bank;
    raise(p.bank_pre[bank], t + table_.act_pre);
    raise(p.bank_ref[bank], t + table_.act_ref);
    p.group_act[group_of_[bank]] = t + table_.act_act_long;
    p.window[p.window_at] = t + table_.act_window;
    p.window_at = (p.window_at + 1) % 4;
    raise(p.act, std::max(t + table_.act_act_short, p.window[p.window_at]));
    raise(p.pre_all, t + table_.act_pre);
    raise(p.ref_all, t + table_.act_ref);
    raise(p.ref_bank, t + table_.act_ref_other);
}

void TimingChecker::precharge(int pc, int bank, Tick t) {
    PseudoChannel& p = pcs_[pc];
    raise(p.bank_act[bank], t + table_.pre_act);
    raise(p.bank_ref[bank], t + table_.pre_ref);
    p.pre = t + table_.pre_pre;
    raise(p.ref_all, t + table_.pre_ref);
}

void TimingChecker::precharge_all(int pc, Tick t) {
    PseudoChannel& p = pcs_[pc];
    for (int bank = 0; bank < banks_; ++bank) {
        raise(p.bank_act[bank], t + table_.pre_act);
        raise(p.bank_ref[bank], t + table_.pre_ref);
    }
    p.pre = t + table_.pre_pre;
    raise(p.ref_all, t + table_.pre_ref);
}

void TimingChecker::read_and_close(int pc, int bank, Tick t) {
    PseudoChannel& p = pcs_[pc];
    raise(p.pre_all, precharge_all_ready(pc));
    occupy_for_read(p, bank, t);
    p.last_closing_read = t;
    raise(p.bank_act[bank], t + table_.rd_act);
    raise(p.bank_ref[bank], t + table_.rd_ref);
    raise(p.ref_all, t + table_.rd_ref);
}

void TimingChecker::write(int pc, int bank, Tick t, bool auto_precharge) {
    PseudoChannel& p = pcs_[pc];
    raise(p.group_wr[group_of_[bank]], t + table_.wr_wr_long);
    raise(p.group_rd[group_of_[bank]], t + table_.wr_rd_long);
    for (int s = 0; s < stacks_; ++s) {
        raise(p.stack_wr[s], t + table_.wr_wr_short);
        raise(p.stack_rd[s], t + table_.wr_rd_short);
    }
    if (auto_precharge) {
        raise(p.bank_act[bank], t + table_.wr_act);
        raise(p.bank_ref[bank], t + table_.wr_ref);
        raise(p.ref_all, t + table_.wr_ref);
    } else {
        raise(p.bank_pre[bank], t + table_.wr_pre);
        raise(p.pre_all, t + table_.wr_pre);
    }
}

void TimingChecker::refresh_all(int pc, Tick t) {
    PseudoChannel& p = pcs_[pc];
    raise(p.act, t + table_.ref_act);
    raise(p.pre, t + table_.clock);
    raise(p.pre_all, t + table_.ref_pre);
    raise(p.ref_all, t + table_.ref_pre);
}

void TimingChecker::refresh_bank(int pc, int bank, Tick t) {
    PseudoChannel& p = pcs_[pc];
    raise(p.bank_act[bank], t + table_.ref_bank_act);
    raise(p.bank_pre[bank], t + table_.clock);
    raise(p.bank_ref[bank], t + table_.ref_bank_act);
    raise(p.act, t + table_.ref_bank_other_act);
    raise(p.ref_bank, t + table_.ref_bank_ref);
}

void TimingChecker::save(Writer& writer) const {
    writer.put(pcs_);
}

void TimingChecker::restore(Reader& reader) {
    reader.get(pcs_);
}

}  // namespace npuvp::memory::dram
