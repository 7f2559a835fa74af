#include "estimate/memory.h"

#include <doctest/doctest.h>

#include <stdexcept>

using npuvp::estimate::Memory;
using npuvp::estimate::Pieces;

namespace {

/// 64 bytes per cycle behind ports twice as wide, 4 bursts of 4 KiB under way, 100 cycles away.
Memory some_memory() {
    Memory memory;
    memory.bytes_per_cycle = 64.0;
    memory.port_bytes = 128.0;
    memory.burst_bytes = 4096.0;
    memory.reads = 4.0;
    memory.queue = 2.0;
    memory.latency = 100.0;
    return memory;
}

}  // namespace

TEST_CASE("pieces that follow each other stream at the memory's rate") {
    const Memory memory = some_memory();
    CHECK(memory.streamed({{4.0, 4096.0, 0}}, 1.0, false, false) == 256.0);
    CHECK(memory.streamed({{4.0, 4096.0, 4096}}, 1.0, false, false) == 256.0);
}

TEST_CASE("pieces that are apart get their share") {
    const Memory memory = some_memory();
    CHECK(memory.streamed({{4.0, 4096.0, 4097, 0.5}}, 1.0, false, false) == 512.0);
}

TEST_CASE("short bursts wait for those under way") {
    const Memory memory = some_memory();
    // 8 pieces of 64 bytes, 4 at a time: a trip takes the latency and a burst.
    CHECK(memory.streamed({{8.0, 64.0, 128}}, 1.0, false, false) == 101.0 * (8 - 4) / 4);
    CHECK(memory.streamed({{8.0, 64.0, 128}}, 1.0, false, true) == 101.0 * 8 / 4);
    CHECK(memory.streamed({{4.0, 64.0, 128}}, 1.0, false, true) == 4.0);
    // Writes wait for nothing.
    CHECK(memory.streamed({{8.0, 64.0, 128}}, 1.0, true, false) == 8.0);
}

TEST_CASE("transfers wait for room in the queue") {
    const Memory memory = some_memory();
    CHECK(memory.streamed({{4.0, 640.0, 0}}, 2.0, false, false) == 40.0);
    CHECK(memory.streamed({{4.0, 640.0, 0}}, 4.0, false, false) == (100.0 + 10.0) * (4 - 2) / 2);
    CHECK(memory.streamed({{4.0, 640.0, 0}}, 4.0, false, true) == 40.0);
}

TEST_CASE("behind the memory are the ports, and a header flit per burst on a mesh") {
    Memory memory = some_memory();
    memory.port_bytes = 32.0;
    CHECK(memory.streamed({{1.0, 4096.0, 0}}, 1.0, false, false) == 128.0);
    memory.flit_bytes = 16.0;
    CHECK(memory.streamed({{1.0, 4096.0, 0}}, 1.0, false, false) == 257.0);
}

TEST_CASE("what has been read covers a part of a refresh") {
    Memory memory = some_memory();
    memory.port_bytes = 64.0;
    memory.refresh = 300.0;
    memory.refresh_every = 1000.0;
    // Four bursts are 256 cycles of the ports: 44 of 1000 are left.
    CHECK(memory.streamed({{1.0, 4096.0, 0}}, 1.0, false, false) ==
          doctest::Approx(64.0 / (1 - 0.044)));
}

TEST_CASE("nothing to move is an error") {
    CHECK_THROWS_AS(some_memory().streamed({}, 1.0, false, false), std::domain_error);
    CHECK_THROWS_AS(some_memory().streamed({{0.0, 64.0, 0}}, 1.0, false, false), std::domain_error);
}
