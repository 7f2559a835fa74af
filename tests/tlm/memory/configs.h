#pragma once

#include "memory/config.h"
#include "memory/stream.h"

namespace npuvp::memory::tests {

/// HBM2 at 2400 Mb/s and HBM3 at 6400 Mb/s as read off Ramulator 2.1 (main of 2026-06-29), one
/// channel; the same figures as platform/hbm/HBM2_2400.yaml and HBM3_6400.yaml.
inline Config hbm2(Refresh refresh = Refresh::none) {
    Config c;
    c.name = "HBM2_2400";
    c.family = "HBM2";
    c.organization = {1, 2, 1, 4, 4, 65536, 32, 32};
    c.clock_khz = 1'200'000;
    Timing& t = c.timing;
    t.cl = 17, t.cwl = 6, t.burst = 2, t.rcd_rd = 17, t.rcd_wr = 14, t.rp = 17, t.ras = 40;
    t.rc = 57, t.ccd_s = 2, t.ccd_l = 4, t.ccd_r = 2, t.rrd_s = 5, t.rrd_l = 5, t.faw = 19;
    t.wr = 19, t.rtp = 6, t.wtr_s = 8, t.wtr_l = 10, t.rtw = 15, t.rfc = 421, t.rfc_pb = 193;
    t.rrefd = 10, t.refi = 4682, t.ppd = 0;
    c.bus = {1, 2, 1, 1, 1};
    c.controller.queue_depth = 32;
    c.controller.write_drain_start = 0.8;
    c.controller.write_drain_stop = 0.2;
    c.controller.row_cap = 4;
    c.controller.refresh = refresh;
    c.mapping = stream_mapping(c.organization, 32);
    c.ideal = {100, 38.4e9};
    return c;
}

inline Config hbm3(Refresh refresh = Refresh::none) {
    Config c = hbm2(refresh);
    c.name = "HBM3_6400";
    c.family = "HBM3";
    c.organization = {1, 2, 2, 4, 4, 16384, 32, 32};
    c.clock_khz = 1'600'000;
    Timing& t = c.timing;
    t.cl = 20, t.cwl = 10, t.burst = 2, t.rcd_rd = 31, t.rcd_wr = 15, t.rp = 26, t.ras = 45;
    t.rc = 72, t.ccd_s = 2, t.ccd_l = 4, t.ccd_r = 3, t.rrd_s = 4, t.rrd_l = 5, t.faw = 24;
    t.wr = 33, t.rtp = 9, t.wtr_s = 7, t.wtr_l = 10, t.rtw = 20, t.rfc = 560, t.rfc_pb = 320;
    t.rrefd = 8, t.refi = 6240, t.ppd = 2;
    c.bus = {2, 3, 1, 1, 2};
    c.controller.bank_refresh_order = BankRefreshOrder::pseudo_channels_together;
    c.mapping = stream_mapping(c.organization, 32);
    return c;
}

/// Byte address in the stream mapping (32-byte requests, one channel).
inline std::uint64_t address(const Config& c, std::uint64_t pc, std::uint64_t group,
                             std::uint64_t bank, std::uint64_t row, std::uint64_t column,
                             std::uint64_t stack = 0) {
    const Organization& o = c.organization;
    std::uint64_t unit = row * o.stack_ids + stack;
    unit = unit * o.banks + bank;
    unit = unit * o.columns + column;
    unit = unit * o.bank_groups + group;
    return (unit * o.pseudo_channels + pc) * o.access_bytes;
}

}  // namespace npuvp::memory::tests
