#include <doctest/doctest.h>

#include <algorithm>
#include <stdexcept>

#include "flow/flow.h"

using namespace npuvp;
using flow::Flow;
using flow::Machine;
using flow::Stretch;

namespace {

/// Two cores in the left column, two nodes of the memory in the right one.
Machine machine() {
    Machine m;
    m.shape.columns = 2;
    m.shape.rows = 2;
    m.cores = {{0, 0}, {0, 1}};
    m.nodes = {{1, 0}, {1, 1}};
    m.flit_bytes = 64;
    m.burst_bytes = 256;
    m.reads = 4;
    m.writes = 4;
    m.port_bytes = 64;
    m.interleave = 4096;
    m.access_bytes = 64;
    m.channels = 1;
    m.depth = 32;
    m.latency = 10;
    m.access = 2;
    return m;
}

/// The same with two banks of rows of 1024 bytes, a row of a bank behind one of the other.
Machine banked() {
    Machine m = machine();
    m.banked = true;
    m.banks.access = 2;
    m.banks.data = 10;
    m.banks.activate = 20;
    m.banks.precharge = 30;
    m.banks.read_to_close = 5;
    m.banks.row_cycle = 40;
    m.slices = {{flow::Part::column, 16}, {flow::Part::bank, 2}, {flow::Part::row, 1024}};
    return m;
}

double last(const std::vector<std::vector<double>>& ends) {
    double latest = 0;
    for (const auto& own : ends)
        for (const double end : own) latest = std::max(latest, end);
    return latest;
}

}  // namespace

TEST_CASE("a burst takes its way, the memory and its way back") {
    // There: (1 hop + 1) routers and a link, 3 cycles. 4 accesses of 2 cycles, and the latency.
    // Back: 3 cycles and 4 flits more behind the head.
    const auto ends = Flow(machine(), {{{0, 256, false}}, {}}, {0, 0}).run();
    REQUIRE(ends[0].size() == 1);
    CHECK(ends[0][0] == 3 + 8 + 10 + 3 + 4);
    CHECK(ends[1].empty());
    // A core begins when it is told to; the other node is one link farther.
    const auto later = Flow(machine(), {{{4096, 256, false}}, {}}, {100, 0}).run();
    CHECK(later[0][0] == 100 + ends[0][0] + 2 * 2);
    // The posted write carries its data there, and is answered when it is in the queue.
    const auto written = Flow(machine(), {{{0, 256, true}}, {}}, {0, 0}).run();
    CHECK(written[0][0] == 3 + 4 + 3);
}

TEST_CASE("cores that load from one node wait for each other") {
    const std::vector<Stretch> rows{{0, 4096, false}};
    const double alone = last(Flow(machine(), {rows, {}}, {0, 0}).run());
    const double both = last(Flow(machine(), {rows, rows}, {0, 0}).run());
    // 16 bursts of 8 cycles each way: the node gives 32 bytes per cycle, and is never idle long.
    CHECK(alone >= 128);
    CHECK(both >= 256);
    CHECK(both <= 256 + 40);
    // From nodes of their own they do not.
    const std::vector<Stretch> other{{4096, 4096, false}};
    CHECK(last(Flow(machine(), {rows, other}, {0, 0}).run()) < alone + 20);
}

TEST_CASE("rows of one bank take turns, those of two overlap") {
    const auto load = [](std::uint64_t second) {
        return last(Flow(banked(), {{{0, 256, false}, {second, 256, false}}, {}}, {0, 0}).run());
    };
    const double same = load(256);           // the row is open
    const double other = load(1024);         // another bank, activated meanwhile
    const double conflict = load(2 * 1024);  // the same bank, another row
    CHECK(same < other + 1);
    CHECK(other < conflict);
    // From the last read: close, precharge and activate.
    CHECK(conflict - same >= 5 + 30 + 20 - 8);
}

TEST_CASE("a refresh holds up what comes while it lasts, and closes rows") {
    Machine m = banked();
    const double quiet = last(Flow(m, {{{0, 256, false}}, {}}, {1000, 0}).run());
    m.banks.refresh = 350;
    m.banks.refresh_every = 1000;
    // Due at 1000, behind a precharge.
    const double due = last(Flow(m, {{{0, 256, false}}, {}}, {1000, 0}).run());
    CHECK(due - quiet ==
          doctest::Approx(1000 + 30 + 350 + 20 - (quiet - 10 - 8 - 3 - 4)).epsilon(0.01));
    // Before the first one there is none.
    CHECK(last(Flow(m, {{{0, 256, false}}, {}}, {100, 0}).run()) == quiet - 900);
}

TEST_CASE("the same twice, and no more under way than allowed") {
    std::vector<Stretch> many;
    for (std::uint64_t i = 0; i < 50; ++i) many.push_back({i * 12'288, 1000, i % 3 == 0});
    const auto first = Flow(banked(), {many, many}, {0, 7}).run();
    CHECK(first == Flow(banked(), {many, many}, {0, 7}).run());
    Machine narrow = banked();
    narrow.reads = narrow.writes = 1;
    CHECK(last(Flow(narrow, {many, many}, {0, 7}).run()) > 1.5 * last(first));
}

TEST_CASE("what does not fit together is refused") {
    CHECK_THROWS_WITH_AS(Flow(machine(), {{}}, {0, 0}),
                         "flow: 2 cores, but 1 lists of stretches and 2 times",
                         std::invalid_argument);
    CHECK_THROWS_WITH_AS(Flow(machine(), {{{0, 0, false}}, {}}, {0, 0}),
                         "flow: stretch 0 of core 0 has no bytes", std::invalid_argument);
    Machine none = machine();
    none.flit_bytes = 0;
    CHECK_THROWS_WITH_AS(Flow(none, {{}, {}}, {0, 0}),
                         "flow: a figure of the machine is 0, allowed: 1 or more",
                         std::invalid_argument);
}
