#include "memory/ramulator/config_nodes.h"

#include <algorithm>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace npuvp::memory::ramulator {
namespace {

using dram::Tick;
using dram::TickTable;
using Ramulator::ConfigNode;
using Names = std::vector<std::string>;

/// What Ramulator's description of a standard fixes: names in its order.
struct Standard {
    const char* name;
    const char* controller;
    std::uint32_t prefetch;
    Names levels;
    Names commands;
    Names timings;
};

const Standard& standard_of(const Config& config) {
    static const std::vector<Standard> standards = {
        {"HBM2",
         "HBM12",
         4,
         {"channel", "pseudo_channel", "bank_group", "bank"},
         {"ACT", "PREpb", "PREab", "RD", "WR", "RDA", "WRA", "REFab", "REFpb"},
         {"rate",  "nBL",   "nCL",  "nRCDRD", "nRCDWR", "nRP",   "nRAS",    "nRC",
          "nWR",   "nRTPL", "nCWL", "nCCDS",  "nCCDL",  "nRRDS", "nRRDL",   "nWTRS",
          "nWTRL", "nFAW",  "nRFC", "nRFCpb", "nRREFD", "nREFI", "nREFIpb", "tCK_ps"}},
        {"HBM3",
         "HBM34",
         8,
         {"channel", "pseudo_channel", "stack_id", "bank_group", "bank"},
         {"ACT", "PREpb", "PREab", "RD", "WR", "RDA", "WRA", "REFab", "REFpb", "RFMab", "RFMpb"},
         {"rate",   "nBL",    "nCL",   "nRCDRD",  "nRCDWR", "nRP",   "nRAS",   "nRC",
          "nWR",    "nRTP",   "nCWL",  "nCCDS",   "nCCDL",  "nCCDR", "nRRDS",  "nRRDL",
          "nWTRS",  "nWTRL",  "nRTW",  "nFAW",    "nPPD",   "nRFC",  "nRFCpb", "nRFMab",
          "nRFMpb", "nRREFD", "nREFI", "nREFIpb", "tCK_ps"}},
    };
    for (const Standard& standard : standards) {
        if (config.family == standard.name) return standard;
    }
    throw std::invalid_argument("memory " + config.name + ": family is '" + config.family +
                                "', the backend ramulator serves HBM2 and HBM3");
}

/// Timings in ticks under Ramulator's names. Its constraints are given in full below, so it reads
/// only the refresh intervals and the tick from here; the others make its reports right.
std::map<std::string, long> timing_values(const Config& config, const TickTable& table) {
    const Timing& t = config.timing;
    const long m = config.bus.ticks_per_clock;
    const long tick_ps = 1'000'000'000L / (static_cast<long>(config.clock_khz) * m);
    const long bits_per_clock =
        static_cast<long>(standard_of(config).prefetch) / static_cast<long>(t.burst);
    return {
        {"rate", static_cast<long>(config.clock_khz) / 1000 * bits_per_clock},
        {"nBL", t.burst * m},
        {"nCL", t.cl * m},
        {"nRCDRD", t.rcd_rd * m},
        {"nRCDWR", t.rcd_wr * m},
        {"nRP", t.rp * m},
        {"nRAS", t.ras * m},
        {"nRC", t.rc * m},
        {"nWR", t.wr * m},
        {"nRTP", t.rtp * m},
        {"nRTPL", t.rtp * m},
        {"nCWL", t.cwl * m},
        {"nCCDS", t.ccd_s * m},
        {"nCCDL", t.ccd_l * m},
        {"nCCDR", t.ccd_r * m},
        {"nRRDS", t.rrd_s * m},
        {"nRRDL", t.rrd_l * m},
        {"nWTRS", t.wtr_s * m},
        {"nWTRL", t.wtr_l * m},
        {"nRTW", t.rtw * m},
        {"nFAW", t.faw * m},
        {"nPPD", t.ppd * m},
        {"nRFC", t.rfc * m},
        {"nRFCpb", t.rfc_pb * m},
        {"nRFMab", t.rfc * m},
        {"nRFMpb", t.rfc_pb * m},
        {"nRREFD", t.rrefd * m},
        {"nREFI", table.refresh_interval},
        {"nREFIpb", table.bank_refresh_interval},
        {"tCK_ps", tick_ps},
    };
}

/// Collects constraints by name: at `level`, any of `before` to any of `after`, `ticks` apart.
class Constraints {
  public:
    explicit Constraints(const Standard& standard) : standard_(standard) {}

    void add(const char* level, const Names& before, const Names& after, Tick ticks, int window = 1,
             bool siblings = false) {
        ConfigNode::Seq entry = {
            ConfigNode(index(standard_.levels, level)), ids(before),        ids(after),
            ConfigNode(static_cast<long>(ticks)),       ConfigNode(window), ConfigNode(siblings)};
        entries_.push_back(ConfigNode(std::move(entry)));
    }
    ConfigNode take() { return ConfigNode(std::move(entries_)); }

  private:
    static int index(const Names& names, const std::string& name) {
        return static_cast<int>(std::find(names.begin(), names.end(), name) - names.begin());
    }
    ConfigNode ids(const Names& commands) const {
        ConfigNode::Seq seq;
        for (const std::string& c : commands) seq.emplace_back(index(standard_.commands, c));
        return ConfigNode(std::move(seq));
    }
    const Standard& standard_;
    ConfigNode::Seq entries_;
};

ConfigNode constraints(const Standard& standard, const TickTable& t) {
    const Names rd = {"RD", "RDA"};
    const Names wr = {"WR", "WRA"};
    const Names pre = {"PREpb", "PREab"};
    const Names columns = {"RD", "WR", "RDA", "WRA"};
    const Names rows = {"ACT", "PREpb", "PREab", "REFab", "REFpb"};
    const bool stacked = standard.levels[2] == "stack_id";
    Constraints c(standard);

    c.add("channel", {"ACT"}, rows, t.activate_busy);
    c.add("channel", pre, rows, t.precharge_busy);
    c.add("channel", {"REFab", "REFpb"}, rows, t.refresh_busy);
    c.add("channel", columns, columns, t.column_busy);

    const char* pc = "pseudo_channel";
    c.add(stacked ? "stack_id" : pc, rd, rd, t.rd_rd_short);
    c.add(stacked ? "stack_id" : pc, wr, wr, t.wr_wr_short);
    if (stacked) {
        c.add("stack_id", rd, rd, t.rd_rd_stack, 1, true);
        c.add(pc, wr, wr, t.burst);
    }
    c.add(pc, rd, wr, t.rd_wr);
    c.add(pc, wr, rd, t.wr_rd_short);
    c.add(pc, {"RD"}, {"PREab"}, t.rd_pre);
    c.add(pc, {"WR"}, {"PREab"}, t.wr_pre);
    c.add(pc, {"ACT"}, {"ACT"}, t.act_act_short);
    c.add(pc, {"ACT"}, {"ACT"}, t.act_window, 4);
    c.add(pc, {"ACT"}, {"PREab"}, t.act_pre);
    c.add(pc, {"PREab"}, {"ACT"}, t.pre_act);
    if (t.pre_pre > 0) c.add(pc, pre, pre, t.pre_pre);
    c.add(pc, {"ACT"}, {"REFab"}, t.act_ref);
    c.add(pc, pre, {"REFab"}, t.pre_ref);
    c.add(pc, {"RDA"}, {"REFab"}, t.rd_ref);
    c.add(pc, {"WRA"}, {"REFab"}, t.wr_ref);
    c.add(pc, {"REFab"}, {"ACT"}, t.ref_act);
    c.add(pc, {"REFab"}, {"PREab"}, t.ref_pre);
    c.add(pc, {"REFpb"}, {"ACT"}, t.ref_bank_other_act);
    c.add(pc, {"REFpb"}, {"REFpb"}, t.ref_bank_ref);
    c.add(pc, {"ACT"}, {"REFpb"}, t.act_ref_other);

    c.add("bank_group", rd, rd, t.rd_rd_long);
    c.add("bank_group", wr, wr, t.wr_wr_long);
    c.add("bank_group", wr, rd, t.wr_rd_long);
    c.add("bank_group", {"ACT"}, {"ACT"}, t.act_act_long);

    c.add("bank", {"ACT"}, {"ACT"}, t.act_act_bank);
    c.add("bank", {"ACT"}, rd, t.act_rd);
    c.add("bank", {"ACT"}, wr, t.act_wr);
    c.add("bank", {"ACT"}, {"PREpb"}, t.act_pre);
    c.add("bank", {"PREpb"}, {"ACT"}, t.pre_act);
    c.add("bank", {"RD"}, {"PREpb"}, t.rd_pre);
    c.add("bank", {"WR"}, {"PREpb"}, t.wr_pre);
    c.add("bank", {"RDA"}, {"ACT"}, t.rd_act);
    c.add("bank", {"WRA"}, {"ACT"}, t.wr_act);
    c.add("bank", {"REFpb"}, {"ACT"}, t.ref_bank_act);
    c.add("bank", {"ACT"}, {"REFpb"}, t.act_ref);
    c.add("bank", {"PREpb"}, {"REFpb"}, t.pre_ref);
    // Ramulator's own tables let a bank be refreshed while its auto-precharge goes on.
    c.add("bank", {"RDA"}, {"REFpb"}, t.rd_ref);
    c.add("bank", {"WRA"}, {"REFpb"}, t.wr_ref);
    return c.take();
}

ConfigNode dram_config(const Config& config, const TickTable& table) {
    const Standard& standard = standard_of(config);
    const Organization& o = config.organization;
    ConfigNode::Seq counts = {ConfigNode(1), ConfigNode(o.pseudo_channels)};
    if (standard.levels[2] == "stack_id") {
        counts.emplace_back(o.stack_ids);
    } else if (o.stack_ids != 1) {
        throw std::invalid_argument("memory " + config.name + ": stack_ids is " +
                                    std::to_string(o.stack_ids) +
                                    ", the backend ramulator knows only 1 for family HBM2");
    }
    counts.emplace_back(o.bank_groups);
    counts.emplace_back(o.banks);
    counts.emplace_back(o.rows);
    counts.emplace_back(o.columns * standard.prefetch);

    const auto values = timing_values(config, table);
    ConfigNode::Seq timing;
    for (const std::string& name : standard.timings) timing.emplace_back(values.at(name));

    const std::uint32_t width = o.access_bytes * 8 / standard.prefetch;
    ConfigNode dram;
    dram.set("impl", standard.name);
    dram.set("org", ConfigNode::Map{{"dq", ConfigNode(width)}, {"count", ConfigNode(counts)}});
    dram.set("channel_width", width);
    dram.set("timing", ConfigNode(std::move(timing)));
    dram.set("read_latency", static_cast<long>(table.read_latency));
    dram.set("timing_constraints", constraints(standard, table));
    return dram;
}

ConfigNode implementation(const char* name) {
    return ConfigNode::Map{{"impl", ConfigNode(name)}};
}

ConfigNode row_policy(const Config& config) {
    const Controller& controller = config.controller;
    if (controller.row_policy == RowPolicy::closed) {
        throw std::invalid_argument("memory " + config.name +
                                    ": row_policy is closed, the backend ramulator knows open "
                                    "and capped");
    }
    if (controller.row_policy == RowPolicy::open) return implementation("Open");
    ConfigNode node = implementation("ClosedCAP");
    node.set("cap", controller.row_cap);
    return node;
}

ConfigNode refresh_manager(const Controller& controller) {
    switch (controller.refresh) {
        case Refresh::all_bank:
            return implementation("AllBank");
        case Refresh::per_bank:
            return implementation(controller.bank_refresh_order ==
                                          BankRefreshOrder::pseudo_channels_together
                                      ? "HBM34PerBankRefresh"
                                      : "PerBank");
        case Refresh::none:
            break;
    }
    return implementation("NoRefresh");
}

}  // namespace

ConfigNode memory_system_config(const Config& config, const TickTable& table) {
    const Organization& o = config.organization;
    if ((o.channels & (o.channels - 1)) != 0) {
        throw std::invalid_argument("memory " + config.name + ": channels is " +
                                    std::to_string(o.channels) +
                                    ", the backend ramulator needs a power of two");
    }
    const Controller& c = config.controller;
    const std::uint32_t depth = c.queue_depth * o.pseudo_channels;
    ConfigNode controller = implementation(standard_of(config).controller);
    controller.set("read_buffer_size", depth);
    controller.set("write_buffer_size", depth);
    controller.set("wr_high_watermark", c.write_drain_start);
    controller.set("wr_low_watermark", c.write_drain_stop);
    controller.set("scheduler", implementation(c.protect_row_hits ? "FRFCFS-RowHit" : "FRFCFS"));
    controller.set("refresh_manager", refresh_manager(c));
    controller.set("row_policy", row_policy(config));
    controller.set("addr_mapper", implementation("PassThroughAddrMapper"));
    controller.set("dram", dram_config(config, table));
    ConfigNode::Seq controllers(o.channels, controller);

    ConfigNode memory = implementation("GenericDRAM");
    memory.set("clock_ratio", 1);
    memory.set("channel_mapper", implementation("PassThroughChannelMapper"));
    memory.set("controllers", ConfigNode(std::move(controllers)));
    return ConfigNode::Map{{"memory_system", memory}};
}

ConfigNode frontend_config() {
    ConfigNode frontend = implementation("External");
    frontend.set("clock_ratio", 1);
    return ConfigNode::Map{{"frontend", frontend}};
}

}  // namespace npuvp::memory::ramulator
