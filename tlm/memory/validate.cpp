#include "memory/validate.h"

#include <stdexcept>
#include <string>
#include <vector>

#include "memory/dram/address_mapping.h"
#include "memory/dram/limits.h"

namespace npuvp::memory {

std::uint64_t capacity_bytes(const Organization& o) {
    return std::uint64_t{o.channels} * o.pseudo_channels * o.stack_ids * o.bank_groups * o.banks *
           o.rows * o.columns * o.access_bytes;
}

void refuse_request(const Request& request, std::uint32_t access_bytes, std::uint64_t capacity) {
    if (request.address >= capacity) {
        throw std::invalid_argument("memory request at address " + std::to_string(request.address) +
                                    ": the memory has " + std::to_string(capacity) + " bytes");
    }
    throw std::invalid_argument("memory request of " + std::to_string(request.bytes) +
                                " bytes at address " + std::to_string(request.address) +
                                ": it must have 1 to " + std::to_string(access_bytes) +
                                " bytes inside one aligned access");
}

void check_time(Picoseconds now, Picoseconds until) {
    if (until < now) {
        throw std::invalid_argument("memory: cannot go back from " + std::to_string(now) +
                                    " ps to " + std::to_string(until) + " ps");
    }
}

void check_dram_config(const Config& config) {
    std::vector<std::string> faults;
    const auto check = [&faults](bool good, const std::string& name, auto value,
                                 const std::string& allowed) {
        if (!good)
            faults.push_back(name + " is " + std::to_string(value) + ", allowed: " + allowed);
    };
    const auto positive = [&check](const char* name, std::uint32_t value) {
        check(value > 0, name, value, "above 0");
    };
    const Organization& o = config.organization;
    positive("channels", o.channels);
    positive("bank_groups", o.bank_groups);
    positive("banks", o.banks);
    positive("rows", o.rows);
    positive("columns", o.columns);
    check(o.pseudo_channels >= 1 && o.pseudo_channels <= dram::kMaxPseudoChannels,
          "pseudo_channels", o.pseudo_channels, "1 to " + std::to_string(dram::kMaxPseudoChannels));
    check(o.stack_ids >= 1 && o.stack_ids <= dram::kMaxStackIds, "stack_ids", o.stack_ids,
          "1 to " + std::to_string(dram::kMaxStackIds));
    const std::uint64_t banks = std::uint64_t{o.stack_ids} * o.bank_groups * o.banks;
    check(banks <= dram::kMaxBanks, "banks of a pseudo-channel (stack_ids * bank_groups * banks)",
          banks, "up to " + std::to_string(dram::kMaxBanks));
    check(o.access_bytes >= 1 && o.access_bytes <= 4096 &&
              (o.access_bytes & (o.access_bytes - 1)) == 0,
          "access_bytes", o.access_bytes, "a power of two up to 4096");
    check(config.clock_khz >= 1 && config.clock_khz <= 100'000'000, "clock_khz", config.clock_khz,
          "1 to 100000000");

    const Timing& t = config.timing;
    for (const auto& [name, value] :
         {std::pair{"cl", t.cl}, {"cwl", t.cwl},     {"burst", t.burst}, {"rcd_rd", t.rcd_rd},
          {"rcd_wr", t.rcd_wr},  {"rp", t.rp},       {"ras", t.ras},     {"rc", t.rc},
          {"ccd_s", t.ccd_s},    {"ccd_l", t.ccd_l}, {"ccd_r", t.ccd_r}, {"rrd_s", t.rrd_s},
          {"rrd_l", t.rrd_l},    {"faw", t.faw},     {"wr", t.wr},       {"rtp", t.rtp},
          {"wtr_s", t.wtr_s},    {"wtr_l", t.wtr_l}, {"rtw", t.rtw},     {"rfc", t.rfc},
          {"rfc_pb", t.rfc_pb},  {"rrefd", t.rrefd}, {"refi", t.refi}}) {
        check(value > 0 && value <= 1'000'000, std::string("timing.") + name, value,
              "1 to 1000000 clocks");
    }
    check(t.rfc < t.refi, "timing.rfc", t.rfc,
          "below timing.refi = " + std::to_string(t.refi) + ", or refreshes leave no time");
    check(t.ppd <= 1'000'000, "timing.ppd", t.ppd, "0 to 1000000 clocks");

    const CommandBus& bus = config.bus;
    check(bus.ticks_per_clock == 1 || bus.ticks_per_clock == 2, "bus.ticks_per_clock",
          bus.ticks_per_clock, "1 or 2");
    for (const auto& [name, value] : {std::pair{"activate", bus.activate_ticks},
                                      {"precharge", bus.precharge_ticks},
                                      {"refresh", bus.refresh_ticks},
                                      {"column", bus.column_ticks}}) {
        check(value >= 1 && value <= 16, std::string("bus.") + name, value, "1 to 16 ticks");
    }

    const Controller& c = config.controller;
    check(c.queue_depth >= 1 && c.queue_depth <= dram::kMaxQueue, "queue_depth", c.queue_depth,
          "1 to " + std::to_string(dram::kMaxQueue));
    check(c.write_drain_start > 0 && c.write_drain_start < 1, "write_drain_start",
          c.write_drain_start, "between 0 and 1");
    check(c.write_drain_stop > 0 && c.write_drain_stop <= c.write_drain_start, "write_drain_stop",
          c.write_drain_stop, "above 0, up to write_drain_start");
    check(c.row_policy != RowPolicy::capped || c.row_cap > 0, "row_cap", c.row_cap, "above 0");
    for (const std::string& fault : dram::mapping_faults(o, config.mapping)) {
        faults.push_back(fault);
    }
    if (faults.empty()) return;
    std::string message = "memory " + config.name + ": ";
    for (std::size_t i = 0; i < faults.size(); ++i) message += (i ? "; " : "") + faults[i];
    throw std::invalid_argument(message);
}

}  // namespace npuvp::memory
