#include <doctest/doctest.h>

#include "configs.h"
#include "memory/dram/timing.h"

using namespace npuvp::memory;
using namespace npuvp::memory::dram;
using tests::hbm2;
using tests::hbm3;

namespace {

constexpr Tick kAt = 1001;  // odd: a rising edge where a tick is half a clock

/// One channel's checker, banks by (bank group, bank) of stack 0.
struct Checker {
    explicit Checker(const Config& config)
        : o(config.organization), table(config), timing(table, config.organization) {}
    int bank(int group, int bank, int stack = 0) const {
        return (stack * static_cast<int>(o.bank_groups) + group) * static_cast<int>(o.banks) + bank;
    }
    Organization o;
    TickTable table;
    TimingChecker timing;
};

/// The command is too early at `distance - 1` ticks after kAt and allowed at `distance`.
#define CHECK_DISTANCE(ready, distance)          \
    do {                                         \
        const Tick at = (ready);                 \
        CHECK_FALSE(at <= kAt + (distance) - 1); \
        CHECK(at <= kAt + (distance));           \
    } while (false)

}  // namespace

TEST_CASE("HBM2: delays after ACT count from the end of its two cycles") {
    Checker c(hbm2());
    const int bank = c.bank(0, 0);
    c.timing.activate(0, bank, kAt);
    CHECK_DISTANCE(c.timing.read_ready(0, bank), 18);       // tRCDRD 17 + 1
    CHECK_DISTANCE(c.timing.write_ready(0, bank), 15);      // tRCDWR 14 + 1
    CHECK_DISTANCE(c.timing.precharge_ready(0, bank), 41);  // tRAS 40 + 1
    CHECK_DISTANCE(c.timing.precharge_all_ready(0), 41);    // tRAS
    CHECK_DISTANCE(c.timing.activate_ready(0, bank), 57);   // tRC
    CHECK_DISTANCE(c.timing.refresh_all_ready(0), 58);      // tRC + 1
    CHECK_DISTANCE(c.timing.refresh_bank_ready(0, bank), 58);
    CHECK_DISTANCE(c.timing.activate_ready(0, c.bank(0, 1)), 5);      // tRRD_L
    CHECK_DISTANCE(c.timing.activate_ready(0, c.bank(1, 0)), 5);      // tRRD_S
    CHECK_DISTANCE(c.timing.refresh_bank_ready(0, c.bank(1, 0)), 6);  // tRRD_S + 1
    // The other pseudo-channel shares nothing but the command buses.
    CHECK(c.timing.activate_ready(1, bank) == 0);
    CHECK(c.timing.read_ready(1, bank) == 0);
    CHECK(c.timing.refresh_all_ready(1) == 0);
}

TEST_CASE("tRRD_S and tRRD_L are told apart") {
    Config config = hbm2();
    config.timing.rrd_l = 9;
    Checker c(config);
    c.timing.activate(0, c.bank(2, 0), kAt);
    CHECK_DISTANCE(c.timing.activate_ready(0, c.bank(2, 3)), 9);
    CHECK_DISTANCE(c.timing.activate_ready(0, c.bank(1, 3)), 5);
}

TEST_CASE("tFAW: the fifth ACT waits for the window of the first") {
    Config config = hbm2();
    config.timing.faw = 40;
    Checker c(config);
    for (int i = 0; i < 3; ++i) c.timing.activate(0, c.bank(i, 0), kAt + 5 * i);
    CHECK(c.timing.activate_ready(0, c.bank(3, 0)) == kAt + 15);  // the fourth: only tRRD
    c.timing.activate(0, c.bank(3, 0), kAt + 15);
    CHECK_DISTANCE(c.timing.activate_ready(0, c.bank(0, 1)), 40);
    c.timing.activate(0, c.bank(0, 1), kAt + 40);
    CHECK(c.timing.activate_ready(0, c.bank(1, 1)) == kAt + 45);  // the second's window ends there
    CHECK(c.timing.activate_ready(1, c.bank(0, 0)) == 0);
}

TEST_CASE("HBM2: after PRE") {
    Checker c(hbm2());
    const int bank = c.bank(0, 0);
    c.timing.precharge(0, bank, kAt);
    CHECK_DISTANCE(c.timing.activate_ready(0, bank), 16);  // tRP 17 - 1: the ACT ends later
    CHECK_DISTANCE(c.timing.refresh_all_ready(0), 17);     // tRP
    CHECK_DISTANCE(c.timing.refresh_bank_ready(0, bank), 17);
    CHECK(c.timing.activate_ready(0, c.bank(0, 1)) == 0);
    CHECK(c.timing.precharge_ready(0, c.bank(0, 1)) <= kAt);  // no tPPD

    Checker all(hbm2());
    all.timing.precharge_all(0, kAt);
    CHECK_DISTANCE(all.timing.activate_ready(0, all.bank(3, 3)), 16);
    CHECK_DISTANCE(all.timing.refresh_all_ready(0), 17);
}

TEST_CASE("HBM2: after RD") {
    Checker c(hbm2());
    const int bank = c.bank(0, 0);
    c.timing.read(0, bank, kAt);
    CHECK_DISTANCE(c.timing.read_ready(0, c.bank(0, 1)), 4);    // tCCD_L
    CHECK_DISTANCE(c.timing.read_ready(0, c.bank(1, 0)), 2);    // tCCD_S
    CHECK_DISTANCE(c.timing.write_ready(0, c.bank(0, 1)), 15);  // CL + burst + 2 - CWL
    CHECK_DISTANCE(c.timing.write_ready(0, c.bank(1, 0)), 15);
    CHECK_DISTANCE(c.timing.precharge_ready(0, bank), 6);  // tRTP
    CHECK_DISTANCE(c.timing.precharge_all_ready(0), 6);
    CHECK(c.timing.precharge_ready(0, c.bank(0, 1)) == 0);
    CHECK(c.timing.read_ready(1, bank) == 0);
    CHECK(c.table.read_latency == 19);  // CL + burst
}

TEST_CASE("HBM2: after WR") {
    Checker c(hbm2());
    const int bank = c.bank(0, 0);
    c.timing.write(0, bank, kAt, false);
    CHECK_DISTANCE(c.timing.write_ready(0, c.bank(0, 1)), 4);  // tCCD_L
    CHECK_DISTANCE(c.timing.write_ready(0, c.bank(1, 0)), 2);  // tCCD_S
    CHECK_DISTANCE(c.timing.read_ready(0, c.bank(0, 1)), 18);  // CWL 6 + burst 2 + tWTR_L 10
    CHECK_DISTANCE(c.timing.read_ready(0, c.bank(1, 0)), 16);  // CWL 6 + burst 2 + tWTR_S 8
    CHECK_DISTANCE(c.timing.precharge_ready(0, bank), 27);     // CWL 6 + burst 2 + tWR 19
    CHECK_DISTANCE(c.timing.precharge_all_ready(0), 27);
}

TEST_CASE("HBM2: auto-precharge adds tRP to what a PRE would have waited for") {
    Checker rd(hbm2());
    rd.timing.read_and_close(0, rd.bank(0, 0), kAt);
    CHECK_DISTANCE(rd.timing.activate_ready(0, rd.bank(0, 0)), 6 + 17 - 1);
    CHECK_DISTANCE(rd.timing.refresh_all_ready(0), 6 + 17);
    CHECK_DISTANCE(rd.timing.refresh_bank_ready(0, rd.bank(0, 0)), 6 + 17);
    CHECK_DISTANCE(rd.timing.read_ready(0, rd.bank(0, 1)), 4);
    CHECK_DISTANCE(rd.timing.write_ready(0, rd.bank(0, 1)), 15);
    Checker wr(hbm2());
    wr.timing.write(0, wr.bank(0, 0), kAt, true);
    CHECK_DISTANCE(wr.timing.activate_ready(0, wr.bank(0, 0)), 27 + 17 - 1);
    CHECK_DISTANCE(wr.timing.refresh_all_ready(0), 27 + 17);
    CHECK_DISTANCE(wr.timing.refresh_bank_ready(0, wr.bank(0, 0)), 27 + 17);
}

TEST_CASE("HBM2: a row that closes itself holds no PRE of other rows up, a read before it does") {
    Checker wr(hbm2());
    wr.timing.write(0, wr.bank(0, 0), kAt, true);
    CHECK(wr.timing.precharge_all_ready(0) <= kAt);
    CHECK(wr.timing.precharge_ready(0, wr.bank(0, 0)) <= kAt);
    Checker rd(hbm2());
    rd.timing.read_and_close(0, rd.bank(0, 0), kAt);
    CHECK(rd.timing.precharge_all_ready(0) <= kAt);
    CHECK(rd.timing.precharge_ready(0, rd.bank(0, 0)) <= kAt);
    Checker both(hbm2());
    both.timing.read(0, both.bank(1, 0), kAt);
    both.timing.read_and_close(0, both.bank(0, 0), kAt + 2);
    both.timing.read_and_close(0, both.bank(0, 1), kAt + 4);
    CHECK_DISTANCE(both.timing.precharge_all_ready(0), 6);
    both.timing.read(0, both.bank(1, 0), kAt + 8);
    CHECK_DISTANCE(both.timing.precharge_all_ready(0), 8 + 6);
}

TEST_CASE("HBM2: refreshes") {
    Checker all(hbm2());
    all.timing.refresh_all(0, kAt);
    CHECK_DISTANCE(all.timing.activate_ready(0, all.bank(3, 3)), 420);  // tRFC 421 - 1
    CHECK(all.timing.activate_ready(1, all.bank(3, 3)) == 0);

    Checker one(hbm2());
    one.timing.refresh_bank(0, one.bank(1, 1), kAt);
    CHECK_DISTANCE(one.timing.activate_ready(0, one.bank(1, 1)), 192);  // tRFCpb 193 - 1
    CHECK_DISTANCE(one.timing.activate_ready(0, one.bank(1, 2)), 9);    // tRREFD 10 - 1
    CHECK_DISTANCE(one.timing.refresh_bank_ready(0, one.bank(1, 2)), 10);
}

TEST_CASE("HBM3: half clocks, command lengths 1.5, 1 and 0.5 CK") {
    Checker c(hbm3());
    const int bank = c.bank(0, 0);
    c.timing.activate(0, bank, kAt);
    CHECK_DISTANCE(c.timing.read_ready(0, bank), 2 * 31 + 2 - 1);
    CHECK_DISTANCE(c.timing.write_ready(0, bank), 2 * 15 + 2 - 1);
    CHECK_DISTANCE(c.timing.precharge_ready(0, bank), 2 * 45 + 2);
    CHECK_DISTANCE(c.timing.activate_ready(0, c.bank(0, 1)), 2 * 5);
    CHECK_DISTANCE(c.timing.activate_ready(0, c.bank(1, 0)), 2 * 4);
    CHECK_DISTANCE(c.timing.activate_ready(0, c.bank(0, 0, 1)), 2 * 4);  // other stack id

    Checker p(hbm3());
    p.timing.precharge(0, bank, kAt);
    CHECK_DISTANCE(p.timing.activate_ready(0, bank), 2 * 26 - 2);
    CHECK_DISTANCE(p.timing.precharge_ready(0, p.bank(1, 0)), 2 * 2);  // tPPD
    CHECK_DISTANCE(p.timing.precharge_all_ready(0), 2 * 2);
    CHECK(p.timing.precharge_ready(1, p.bank(1, 0)) == 0);

    Checker r(hbm3());
    r.timing.read(0, bank, kAt);
    CHECK_DISTANCE(r.timing.read_ready(0, r.bank(0, 1)), 2 * 4);     // tCCD_L
    CHECK_DISTANCE(r.timing.read_ready(0, r.bank(1, 0)), 2 * 2);     // tCCD_S
    CHECK_DISTANCE(r.timing.read_ready(0, r.bank(0, 0, 1)), 2 * 3);  // tCCD_R
    CHECK_DISTANCE(r.timing.write_ready(0, r.bank(0, 0, 1)), 2 * 20);
    CHECK_DISTANCE(r.timing.precharge_ready(0, bank), 2 * 9 + 1);

    Checker w(hbm3());
    w.timing.write(0, bank, kAt, false);
    CHECK_DISTANCE(w.timing.read_ready(0, w.bank(0, 1)), 2 * (10 + 2 + 10));
    CHECK_DISTANCE(w.timing.read_ready(0, w.bank(0, 0, 1)), 2 * (10 + 2 + 7));
    CHECK_DISTANCE(w.timing.write_ready(0, w.bank(0, 0, 1)), 2 * 2);
    CHECK_DISTANCE(w.timing.precharge_ready(0, bank), 2 * (10 + 2 + 33) + 1);

    Checker f(hbm3());
    f.timing.refresh_all(0, kAt);
    CHECK_DISTANCE(f.timing.activate_ready(0, bank), 2 * 560 - 2);
    f.timing.refresh_bank(1, bank, kAt);
    CHECK_DISTANCE(f.timing.activate_ready(1, bank), 2 * 320 - 2);
    CHECK_DISTANCE(f.timing.activate_ready(1, f.bank(1, 0)), 2 * 8 - 2);
    CHECK_DISTANCE(f.timing.refresh_bank_ready(1, f.bank(1, 0)), 2 * 8);
}

TEST_CASE("Refresh intervals, shared out among the banks") {
    CHECK(TickTable(hbm2()).refresh_interval == 4682);
    CHECK(TickTable(hbm2()).bank_refresh_interval == 147);  // 4682 / 32 banks, rounded up
    CHECK(TickTable(hbm3()).bank_refresh_interval ==
          2 * 195);  // 6240 / 32 banks of a pseudo-channel
}

TEST_CASE("A tick is an exact fraction") {
    const TickClock hbm2_clock(1'200'000, 1);
    CHECK(hbm2_clock.time(0) == 0);
    CHECK(hbm2_clock.time(1) == 833);
    CHECK(hbm2_clock.time(3) == 2500);
    CHECK(hbm2_clock.time(3'000'000'000'001) == 2'500'000'000'000'833);
    const TickClock hbm3_clock(1'600'000, 2);
    CHECK(hbm3_clock.time(1) == 312);
    CHECK(hbm3_clock.time(2) == 625);
    for (const TickClock& clock : {hbm2_clock, hbm3_clock, TickClock(2'400'000, 2)}) {
        for (Tick tick : {Tick{0}, Tick{1}, Tick{2}, Tick{3}, Tick{7}, Tick{4681}, Tick{1'000'003},
                          Tick{1'000'000'000'000'001}}) {
            CHECK(clock.tick_at(clock.time(tick)) == tick);
            if (tick > 0) CHECK(clock.tick_at(clock.time(tick) - 1) == tick - 1);
        }
    }
}
