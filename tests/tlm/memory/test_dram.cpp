#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "configs.h"
#include "memory/dram/ticks.h"

using namespace npuvp::memory;
using dram::Tick;
using dram::TickClock;
using tests::address;
using tests::hbm2;
using tests::hbm3;

namespace {

/// A built-in memory driven in ticks. `done` holds (tag, tick) in the order of report.
struct Bench {
    explicit Bench(const Config& c)
        : config(c),
          clock(c.clock_khz, c.bus.ticks_per_clock),
          memory(make_backend("builtin", c)) {}

    bool read(std::uint64_t where, std::uint64_t tag = 0) {
        return memory->send({where, 32, false, tag});
    }
    bool write(std::uint64_t where) { return memory->send({where, 32, true, 0}); }
    void to(Tick tick) {
        std::vector<Completion> found;
        memory->advance(clock.time(tick), found);
        now = tick;
        for (const Completion& c : found) done.emplace_back(c.tag, clock.tick_at(c.time));
    }
    /// Runs until nothing is left and returns when the read of `tag` was complete.
    Tick finish(std::uint64_t tag = 0) {
        for (int guard = 0; !memory->idle() || memory->next_event() != kNever; ++guard) {
            REQUIRE(guard < 100'000);
            to(clock.tick_at(memory->next_event()));
        }
        for (const auto& [t, tick] : done) {
            if (t == tag) return tick;
        }
        FAIL("no completion");
        return -1;
    }
    Statistics counts() const { return memory->statistics(); }

    Config config;
    TickClock clock;
    std::unique_ptr<Backend> memory;
    Tick now = 0;
    std::vector<std::pair<std::uint64_t, Tick>> done;
};

}  // namespace

TEST_CASE("Idle read latencies to the tick: closed, hit, conflict, conflict right after the fill") {
    Bench b(hbm2());
    const auto at = [&](int row, int column) { return address(b.config, 0, 0, 0, row, column); };
    REQUIRE(b.read(at(1, 0), 1));
    CHECK(b.finish(1) == 38);
    CHECK(b.clock.time(38) == 31'666);  // 31.7 ns

    b.to(200);
    REQUIRE(b.read(at(1, 5), 2));
    CHECK(b.finish(2) == 200 + 20);

    b.to(400);
    REQUIRE(b.read(at(2, 0), 3));
    CHECK(b.finish(3) == 400 + 54);

    b.to(454);  // the fill's data is just complete: its tRAS is not
    REQUIRE(b.read(at(3, 0), 4));
    CHECK(b.finish(4) == 454 + 57);

    const Statistics s = b.counts();
    CHECK(s.reads == 4);
    CHECK(s.activates == 3);
    CHECK(s.precharges == 2);
    CHECK(s.row_hits == 1);
    CHECK(s.row_misses == 1);
    CHECK(s.row_conflicts == 2);
    CHECK(s.bytes_read == 128);
    CHECK(s.data_busy == b.clock.time(8));
}

TEST_CASE("HBM3: ACT and RD wait for the rising edge, PRE does not") {
    Bench b(hbm3());
    const auto at = [&](int row) { return address(b.config, 0, 0, 0, row, 0); };
    REQUIRE(b.read(at(1), 1));
    CHECK(b.finish(1) == 1 + 64 + 44);  // ACT at 1, RD 63 later, which is even, so 64
    b.to(1000);
    REQUIRE(b.read(at(2), 2));
    CHECK(b.finish(2) == 1001 + 50 + 64 + 44);  // PRE 1001, ACT 1051, RD 1115
    b.to(2001);
    REQUIRE(b.read(at(3), 3));
    CHECK(b.finish(3) == 2002 + 51 + 64 + 44);  // PRE at the falling edge 2002, ACT 2053
}

TEST_CASE("A row hit overtakes an older conflict, and an older hit protects its row") {
    Bench b(hbm2());
    const auto at = [&](int row, int column) { return address(b.config, 0, 0, 0, row, column); };
    REQUIRE(b.read(at(1, 0), 1));
    b.to(100);
    REQUIRE(b.read(at(2, 0), 2));  // wants the row closed
    REQUIRE(b.read(at(1, 1), 3));  // the same tick: hits
    b.finish(2);
    const auto tick = [&](std::uint64_t tag) {
        return std::find_if(b.done.begin(), b.done.end(), [&](auto& d) { return d.first == tag; })
            ->second;
    };
    CHECK(tick(3) == 100 + 20);
    CHECK(tick(2) == 100 + 1 + 6 + 16 + 18 + 19);  // PRE waits for tRTP after the hit

    // A hit that is younger than the conflict by a tick does not keep the row open.
    Bench late(hbm2());
    REQUIRE(late.read(at(1, 0), 1));
    late.to(100);
    REQUIRE(late.read(at(2, 0), 2));
    late.to(101);  // the PRE has issued
    REQUIRE(late.read(at(1, 1), 3));
    CHECK(late.finish(2) == 100 + 54);
    CHECK(late.finish(3) > 100 + 54);
}

TEST_CASE("Pseudo-channels share the command buses: one column command per tick") {
    Bench b(hbm2());
    for (int pc : {0, 1}) REQUIRE(b.read(address(b.config, pc, 0, 0, 1, 0), pc));
    b.finish(0);
    b.done.clear();
    b.to(200);
    for (int pc : {0, 1}) REQUIRE(b.read(address(b.config, pc, 0, 0, 1, 1), 2 + pc));
    CHECK(b.finish(2) == 220);
    CHECK(b.finish(3) == 221);
    // And an ACT occupies the row bus for two ticks.
    b.to(400);
    for (int pc : {0, 1}) REQUIRE(b.read(address(b.config, pc, 1, 0, 1, 0), 4 + pc));
    CHECK(b.finish(4) == 438);
    CHECK(b.finish(5) == 440);
}

TEST_CASE("Queues hold 32 reads and 32 writes per pseudo-channel and then refuse") {
    Bench b(hbm2());
    const auto at = [&](int i) { return address(b.config, 0, 0, 0, i, 0); };
    for (int i = 0; i < 64; ++i) REQUIRE(b.read(at(i), i));
    CHECK_FALSE(b.read(at(64)));
    b.to(1);  // the ACT of the first read frees its place
    CHECK(b.read(at(64), 64));
    CHECK_FALSE(b.read(at(65)));
    for (int i = 0; i < 64; ++i) REQUIRE(b.write(at(100 + i)));
    CHECK_FALSE(b.write(at(200)));
    CHECK(b.counts().refused == 3);
}

TEST_CASE("A waiting write answers a read and absorbs a write of the same access") {
    Config config = hbm2();
    Bench b(config);
    const std::uint64_t hot = address(config, 0, 0, 0, 1, 0);
    REQUIRE(b.read(address(config, 0, 0, 0, 2, 0), 9));  // keeps the reads first
    REQUIRE(b.write(hot));
    REQUIRE(b.write(hot));
    REQUIRE(b.read(hot, 7));
    b.finish(9);
    CHECK(b.done.front() == std::pair<std::uint64_t, Tick>{7, 1});
    const Statistics s = b.counts();
    CHECK(s.writes_coalesced == 1);
    CHECK(s.reads_forwarded == 1);
    CHECK(s.writes == 1);
    CHECK(s.reads == 1);
}

TEST_CASE("Write drain: above 0.8 of the queue, or without reads; back below 0.2 with reads") {
    // One pseudo-channel: 32 entries, so drain starts with the 26th write and ends below 7.
    Config config = hbm2();
    config.organization.pseudo_channels = 1;
    config.mapping = stream_mapping(config.organization, 32);
    const auto writes_after = [&](int writes) {
        Bench b(config);
        // Reads of many rows of one bank keep the read queue busy for long.
        for (int i = 0; i < 20; ++i) REQUIRE(b.read(address(config, 0, 0, 0, i, 0), i));
        for (int i = 0; i < writes; ++i) REQUIRE(b.write(address(config, 0, 1, 0, 0, i)));
        b.to(300);
        return b.counts().writes;
    };
    CHECK(writes_after(25) == 0);
    CHECK(writes_after(26) == 20);  // 26 - 20 = 6 are fewer than 6.4

    Bench idle(config);
    REQUIRE(idle.write(address(config, 0, 0, 0, 0, 0)));
    idle.to(100);
    CHECK(idle.counts().writes == 1);
    CHECK(idle.memory->idle());
    CHECK(idle.memory->next_event() == kNever);
}

TEST_CASE("All-bank refresh falls due every tREFI and closes all rows first") {
    Bench b(hbm2(Refresh::all_bank));
    b.to(4000);
    REQUIRE(b.read(address(b.config, 0, 0, 0, 1, 0), 1));
    b.finish(1);
    b.to(4681);
    CHECK(b.counts().precharges_all == 0);
    b.to(4682);
    CHECK(b.counts().precharges_all == 1);  // pseudo-channel 0 has a row open
    CHECK(b.counts().refreshes_all == 0);
    b.to(4682 + 16);
    CHECK(b.counts().refreshes_all == 0);
    b.to(4682 + 17);  // tRP
    CHECK(b.counts().refreshes_all == 1);
    b.to(4682 + 18);
    CHECK(b.counts().refreshes_all == 2);
    // A read meets the refreshed pseudo-channel: tRFC after the REF, less the longer ACT.
    REQUIRE(b.read(address(b.config, 0, 0, 0, 1, 1), 2));
    CHECK(b.finish(2) == 4699 + 420 + 18 + 19);
}

TEST_CASE("Nothing new is picked while a refresh waits, but an activated row is served") {
    Bench b(hbm2(Refresh::all_bank));
    b.to(4670);
    REQUIRE(b.read(address(b.config, 0, 0, 0, 1, 0), 1));  // ACT 4671, RD 4689: after it is due
    b.to(4680);
    REQUIRE(b.read(address(b.config, 1, 1, 0, 1, 0), 2));  // ACT 4681
    b.to(4681);
    REQUIRE(b.read(address(b.config, 1, 2, 0, 1, 0), 3));  // would activate at 4686
    b.finish(3);
    const auto tick = [&](std::uint64_t tag) {
        return std::find_if(b.done.begin(), b.done.end(), [&](auto& d) { return d.first == tag; })
            ->second;
    };
    CHECK(tick(1) == 4689 + 19);
    CHECK(tick(2) == 4699 + 19);
    CHECK(tick(3) > 4682 + 400);
    CHECK(b.counts().refreshes_all == 2);
}

TEST_CASE("Per-bank refresh takes one bank after the other, or a bank of every pseudo-channel") {
    Bench b(hbm2(Refresh::per_bank));
    b.to(146);
    CHECK(b.counts().refreshes_bank == 0);
    b.to(147);
    CHECK(b.counts().refreshes_bank == 1);
    REQUIRE(b.read(address(b.config, 0, 0, 0, 1, 0), 1));  // the bank under refresh
    REQUIRE(b.read(address(b.config, 0, 1, 0, 1, 0), 2));  // another: tRREFD only
    b.finish(1);
    const auto tick = [&](std::uint64_t tag) {
        return std::find_if(b.done.begin(), b.done.end(), [&](auto& d) { return d.first == tag; })
            ->second;
    };
    CHECK(tick(1) == 147 + 192 + 18 + 19);
    CHECK(tick(2) == 147 + 9 + 18 + 19);
    b.to(147 * 32);
    CHECK(b.counts().refreshes_bank == 32);

    Bench together(hbm3(Refresh::per_bank));
    together.to(389);
    CHECK(together.counts().refreshes_bank == 0);
    together.to(395);
    CHECK(together.counts().refreshes_bank == 2);
    together.to(390 * 32 + 5);
    CHECK(together.counts().refreshes_bank == 64);
}

TEST_CASE("A long rest costs nothing and loses no refresh") {
    for (Refresh refresh : {Refresh::all_bank, Refresh::per_bank}) {
        Bench jump(hbm2(refresh));
        Bench walk(hbm2(refresh));
        const Tick far = 4682 * 50 + 1000;
        jump.to(far);
        for (Tick t = 100; t < far; t += 977) walk.to(t);
        walk.to(far);
        CHECK(jump.counts().refreshes_all == walk.counts().refreshes_all);
        CHECK(jump.counts().refreshes_bank == walk.counts().refreshes_bank);
        CHECK(jump.counts().refreshes_all + jump.counts().refreshes_bank >= 100);
        for (Bench* b : {&jump, &walk}) REQUIRE(b->read(address(b->config, 0, 0, 0, 1, 0), 1));
        CHECK(jump.finish(1) == walk.finish(1));
    }
}

TEST_CASE("Row policies: who closes a row, and when") {
    const auto run = [](RowPolicy policy, int accesses) {
        Config config = hbm2();
        config.controller.row_policy = policy;
        config.controller.row_cap = 3;
        Bench b(config);
        for (int i = 0; i < accesses; ++i) REQUIRE(b.read(address(config, 0, 0, 0, 1, i), i));
        b.to(1000);
        return b.counts();
    };
    CHECK(run(RowPolicy::open, 6).precharges == 0);
    CHECK(run(RowPolicy::open, 6).rows_open > run(RowPolicy::closed, 6).rows_open);
    const Statistics closed = run(RowPolicy::closed, 6);
    CHECK(closed.precharges == 1);  // with the last of the six
    CHECK(closed.activates == 1);
    CHECK(run(RowPolicy::capped, 2).precharges == 0);
    CHECK(run(RowPolicy::capped, 3).precharges == 1);
    const Statistics capped = run(RowPolicy::capped, 6);  // four, then two
    CHECK(capped.activates == 2);
    CHECK(capped.precharges == 1);
}

TEST_CASE("Jumping from event to event gives what visiting every tick gives") {
    for (const Config& config : {hbm2(Refresh::all_bank), hbm2(Refresh::per_bank),
                                 hbm3(Refresh::all_bank), hbm3(Refresh::per_bank)}) {
        Bench jump(config);
        Bench walk(config);
        std::uint64_t random = 12345;
        Tick now = 0;
        for (int i = 0; i < 4000; ++i) {
            random = random * 6364136223846793005ULL + 1442695040888963407ULL;
            now += static_cast<Tick>(random >> 61);
            const std::uint64_t where = (random >> 20) % (1 << 14) * 32;
            const bool write = (random >> 50) % 3 == 0;
            jump.to(now);
            while (walk.now < now) walk.to(walk.now + 1);
            const bool a = jump.memory->send({where, 32, write, static_cast<std::uint64_t>(i)});
            const bool b = walk.memory->send({where, 32, write, static_cast<std::uint64_t>(i)});
            REQUIRE(a == b);
        }
        jump.to(now + 20'000);
        while (walk.now < now + 20'000) walk.to(walk.now + 1);
        std::sort(jump.done.begin(), jump.done.end());
        std::sort(walk.done.begin(), walk.done.end());
        CHECK(jump.done.size() > 500);
        CHECK(jump.done == walk.done);
        CHECK(jump.counts().activates == walk.counts().activates);
        CHECK(jump.memory->idle());
    }
}

TEST_CASE("next_event is never late: waking only then loses no time") {
    Config config = hbm2(Refresh::all_bank);
    Bench lazy(config);
    Bench eager(config);
    for (int i = 0; i < 40; ++i) {
        for (Bench* b : {&lazy, &eager}) {
            REQUIRE(b->read(address(config, i % 2, i % 4, i % 3, i % 5, i % 32), i));
        }
    }
    lazy.finish(0);
    while (!eager.memory->idle()) eager.to(eager.now + 1);
    std::sort(lazy.done.begin(), lazy.done.end());
    std::sort(eager.done.begin(), eager.done.end());
    CHECK(lazy.done == eager.done);
    CHECK(lazy.done.size() == 40);
}

TEST_CASE("Completions come no later than their time when the caller steps by the lookahead") {
    Config config = hbm3(Refresh::all_bank);
    Bench b(config);
    for (int i = 0; i < 60; ++i) REQUIRE(b.read(address(config, i % 2, i % 4, 0, i, 0), i));
    const Picoseconds step = b.memory->lookahead();
    CHECK(step == b.clock.time(44));
    std::vector<Completion> found;
    std::size_t count = 0;
    for (Picoseconds t = step; !b.memory->idle(); t += step) {
        found.clear();
        b.memory->advance(t, found);
        for (const Completion& c : found) CHECK(c.time >= t);
        count += found.size();
    }
    CHECK(count == 60);
}

TEST_CASE("A checkpoint continues where it was saved") {
    Config config = hbm3(Refresh::per_bank);
    Bench a(config);
    for (int i = 0; i < 60; ++i) {
        REQUIRE(a.read(address(config, i % 2, i % 4, i % 3, i, 0), i));
        if (i < 30) REQUIRE(a.write(address(config, i % 2, i % 4, i % 3, i + 100, 0)));
    }
    a.to(700);
    const auto state = a.memory->save();
    Bench b(config);
    b.memory->restore(state);
    b.now = a.now;
    const std::size_t before = a.done.size();
    CHECK(before > 0);
    a.finish(0);
    b.done.assign(a.done.begin(), a.done.begin() + static_cast<std::ptrdiff_t>(before));
    b.finish(0);
    CHECK(a.done == b.done);
    CHECK(a.done.size() == 60);
    CHECK(a.counts().activates == b.counts().activates);

    Bench other(hbm2());
    CHECK_THROWS_AS(other.memory->restore(state), std::runtime_error);
}

TEST_CASE("Statistics can start anew") {
    Bench b(hbm2());
    REQUIRE(b.read(address(b.config, 0, 0, 0, 1, 0), 1));
    b.finish(1);
    b.to(100);
    b.memory->reset_statistics();
    CHECK(b.counts().reads == 0);
    CHECK(b.counts().elapsed == 0);
    REQUIRE(b.read(address(b.config, 0, 0, 0, 1, 1), 2));
    b.to(200);
    CHECK(b.counts().reads == 1);
    CHECK(b.counts().activates == 0);
    CHECK(b.counts().elapsed == b.clock.time(200) - b.clock.time(100));
    CHECK(b.counts().rows_open == b.clock.time(200) - b.clock.time(100));
}

TEST_CASE("What a memory cannot do is refused with name, value and what is allowed") {
    const auto message = [](const Config& config) -> std::string {
        try {
            make_backend("builtin", config);
        } catch (const std::invalid_argument& error) {
            return error.what();
        }
        return "";
    };
    Config config = hbm2();
    config.controller.queue_depth = 0;
    config.timing.rcd_rd = 0;
    const std::string text = message(config);
    CHECK(text.find("queue_depth is 0, allowed: 1 to 4096") != std::string::npos);
    CHECK(text.find("timing.rcd_rd is 0, allowed: 1 to 1000000 clocks") != std::string::npos);

    Bench b(hbm2());
    CHECK_THROWS_AS(b.memory->send({0, 33, false, 0}), std::invalid_argument);
    CHECK_THROWS_AS(b.memory->send({16, 32, false, 0}), std::invalid_argument);
    CHECK_THROWS_AS(b.memory->send({0, 0, false, 0}), std::invalid_argument);
    CHECK_THROWS_AS(b.read(b.memory->capacity_bytes()), std::invalid_argument);
    CHECK(b.read(b.memory->capacity_bytes() - 32));
    b.to(10);
    std::vector<Completion> none;
    CHECK_THROWS_AS(b.memory->advance(0, none), std::invalid_argument);

    CHECK_THROWS_WITH_AS(make_backend("hmc", hbm2()),
                         "memory backend 'hmc' is unknown; allowed: builtin, ideal, ramulator",
                         std::invalid_argument);
    const std::string missing = backend_unavailable_reason("ramulator");
    if (!missing.empty()) {
        CHECK(missing.find("RAMULATOR_ROOT") != std::string::npos);
        CHECK_THROWS_WITH_AS(make_backend("ramulator", hbm2()), missing.c_str(),
                             std::invalid_argument);
    }
}
