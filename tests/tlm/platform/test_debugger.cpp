#include <doctest/doctest.h>

#include <stdexcept>

#include "platform/debugger.h"
#include "support/machines.h"
#include "trace/session.h"

using namespace npuvp;
using namespace npuvp::support;
using isa::Field;
using isa::Op;
using platform::StopReason;

namespace {

/// gp1 counts from 1 to 5.
const std::vector<std::uint32_t> counting{
    set(1, 1), set(1, 2), set(1, 3), set(1, 4), set(1, 5), word(Op::c_halt, {{Field::rs1, 1}})};

platform::Until instructions(std::uint64_t count) {
    platform::Until until;
    until.instructions = {{0, count}};
    return until;
}

}  // namespace

TEST_CASE("debugger: breakpoints stop before their instruction, steps count") {
    platform::Machine machine(small(1), true);
    machine.core(0).load_text(counting, 0);
    platform::Debugger debugger(machine);
    debugger.set_breakpoints(0, {3});
    platform::Stop stop = debugger.resume({});
    CHECK(stop.reason == StopReason::breakpoint);
    CHECK(stop.pc == 3);
    CHECK(machine.core(0).gp(1) == 3);
    CHECK(machine.core(0).instructions() == 3);

    stop = debugger.resume(instructions(4));  // from a breakpoint it goes on
    CHECK(stop.reason == StopReason::step);
    CHECK(stop.pc == 4);
    CHECK(machine.core(0).gp(1) == 4);

    stop = debugger.resume({});
    CHECK(stop.reason == StopReason::ended);
    REQUIRE(stop.outcome);
    CHECK(*stop.outcome == platform::Outcome::finished);
    CHECK(machine.core(0).exit_code() == 5);
    CHECK_THROWS_AS(debugger.resume({}), std::logic_error);
}

TEST_CASE("debugger: a watch stops after what changes it, and says what it was") {
    platform::Machine machine(small(1), true);
    machine.core(0).load_text(counting, 0);
    platform::Debugger debugger(machine);
    platform::Watch watch;
    watch.id = 7;
    watch.kind = platform::Watch::Kind::gp;
    watch.core = 0;
    watch.address = 1;
    debugger.set_watches({watch});
    for (std::uint8_t value = 1; value <= 5; ++value) {
        const platform::Stop stop = debugger.resume({});
        REQUIRE(stop.reason == StopReason::watch);
        CHECK(stop.pc == value - 1u);
        REQUIRE(stop.changes.size() == 1);
        CHECK(stop.changes[0].watch == 7);
        CHECK(stop.changes[0].before[0] == value - 1u);
        CHECK(stop.changes[0].after[0] == value);
        CHECK_FALSE(stop.by_transfer);
    }
    CHECK(debugger.resume({}).reason == StopReason::ended);
}

TEST_CASE("debugger: a transfer that changes a watched range names its instruction") {
    platform::Machine machine(small(1), true);
    std::vector<std::uint16_t> ones(512, 0x3F80);
    machine.access(true, 0, reinterpret_cast<std::uint8_t*>(ones.data()), 1024);
    machine.core(0).load_text({set(2, 9), word(Op::h_prefetch_v), word(Op::c_halt)}, 0);
    platform::Debugger debugger(machine);
    platform::Watch watch;
    watch.kind = platform::Watch::Kind::range;
    watch.core = 0;
    watch.address = cores_at + window / 8;
    watch.bytes = 32;
    debugger.set_watches({watch});
    const platform::Stop stop = debugger.resume({});
    REQUIRE(stop.reason == StopReason::watch);
    CHECK(stop.by_transfer);
    CHECK(stop.pc == 1);
    REQUIRE(stop.changes.size() == 1);
    CHECK(stop.changes[0].before == std::vector<std::uint8_t>(32, 0));
    CHECK(stop.changes[0].after[1] == 0x3F);
    CHECK(debugger.resume({}).reason == StopReason::ended);
}

TEST_CASE("debugger: a position is the same instant in every run alike") {
    std::uint64_t position = 0;
    std::uint64_t cycle = 0;
    for (int run = 0; run < 3; ++run) {
        platform::Machine machine(small(1), true);
        machine.core(0).load_text(counting, 0);
        platform::Debugger debugger(machine);
        platform::Until until = instructions(3);
        if (run > 0) {
            until = {};
            until.position = position;
        }
        const platform::Stop stop = debugger.resume(until);
        CHECK(stop.reason == (run ? StopReason::position : StopReason::step));
        CHECK(stop.pc == 3);
        if (run == 0) {
            position = stop.position;
            cycle = machine.core(0).local_cycle();
        }
        CHECK(stop.position == position);
        CHECK(machine.core(0).local_cycle() == cycle);
    }
}

TEST_CASE("debugger: a run that stands still can be given up, and the machine read") {
    platform::Machine machine(small(1), true);
    machine.core(0).load_text(counting, 0);
    {
        platform::Debugger debugger(machine);
        debugger.resume(instructions(2));
    }
    CHECK(machine.core(0).gp(1) == 2);
    CHECK_FALSE(machine.core(0).halted());
    {
        platform::Debugger unused(machine);
    }
}

TEST_CASE("debugger: a trap is where the run ends") {
    platform::Machine machine(small(1), true);
    machine.core(0).load_text({set(1, 3), word(Op::c_trap, {{Field::rs1, 1}})}, 0);
    platform::Debugger debugger(machine);
    const platform::Stop stop = debugger.resume({});
    REQUIRE(stop.outcome);
    CHECK(*stop.outcome == platform::Outcome::trapped);
    CHECK(stop.pc == 1);
}
