#include <doctest/doctest.h>

#include "core/matrix_timing.h"

using namespace npuvp::core;

namespace {
constexpr MatrixTiming::Entry nothing{0, 0};
}

TEST_CASE("matrix timing: multiply-accumulates of an instruction") {
    const MatrixShape shape{64, 64, 4, 2};
    CHECK(shape.tile_rows() == 8);
    CHECK(shape.macs(Accumulator::mm) == 8 * 4 * 64);
    CHECK(shape.macs(Accumulator::bmm) == 64 * 64 * 64);
    CHECK(shape.macs(Accumulator::mv) == 4 * 64);
    CHECK(shape.macs(Accumulator::bmv) == 64 * 64);
}

TEST_CASE("matrix timing: a square array takes the closed form for a whole product") {
    for (const std::uint64_t s : {1, 2, 8, 64})
        for (const std::uint64_t deep : {1, 2, 5})
            for (const std::uint64_t tiles : {1, 2, 7}) {
                MatrixTiming timing({s, s, s, 1}, true);
                for (std::uint64_t tile = 0; tile < tiles; ++tile) {
                    MatrixTiming::Span span{};
                    for (std::uint64_t k = 0; k < deep; ++k)
                        span = timing.product(Accumulator::mm, timing.product_from(Accumulator::mm),
                                              nothing);
                    CHECK(span.done == (tile + 1) * (deep * s + 2 * s - 2));
                    timing.writeout(Accumulator::mm, timing.writeout_from(), nothing, s);
                }
                CHECK(timing.busy_cycles() == tiles * (deep * s + 2 * s - 2) - 1);
            }
}

TEST_CASE("matrix timing: products of one tile follow each other, those of another wait") {
    MatrixTiming timing({16, 16, 4, 1}, true);
    CHECK(timing.product_from(Accumulator::mm) == 0);
    const auto first = timing.product(Accumulator::mm, 3, nothing);
    CHECK(first.free == 7);
    CHECK(first.done == 13);
    CHECK(timing.product_from(Accumulator::mm) == 7);
    CHECK(timing.product_from(Accumulator::mv) == 13);
}

TEST_CASE(
    "matrix timing: the write-out waits for the sums, adds the tree and writes a row per cycle") {
    MatrixTiming timing({16, 16, 4, 1}, true);
    timing.product(Accumulator::mm, 0, nothing);
    const auto out = timing.writeout(Accumulator::mm, 1, {1, 0}, 4);
    CHECK(out.begin == 10);
    CHECK(out.free == 14);
    CHECK(out.done == 10 + 2 + 4);
    CHECK(timing.writeout_from() == 10);
    CHECK(timing.product_from(Accumulator::mm) == 10);
    // The port takes 4 cycles for its rows: the next write-out begins no earlier than that.
    timing.product(Accumulator::mv, 10, nothing);
    CHECK(timing.writeout(Accumulator::mv, 11, {1, 0}, 4).begin == 17);
    MatrixTiming idle({16, 16, 4, 1}, true);
    idle.writeout(Accumulator::mm, 0, {1, 0}, 4);
    CHECK(idle.writeout(Accumulator::mv, 1, {1, 0}, 4).begin == 4);
}

TEST_CASE("matrix timing: with two sets of accumulators tiles follow each other") {
    MatrixTiming timing({16, 16, 4, 1, 2}, true);
    CHECK(timing.product(Accumulator::mm, 0, nothing).done == 10);
    CHECK(timing.product_from(Accumulator::mm) == 4);   // the same tile
    CHECK(timing.product_from(Accumulator::mv) == 10);  // no write-out has claimed the sums
    CHECK(timing.writeout(Accumulator::mm, 1, nothing, 4).begin == 10);
    CHECK(timing.product_from(Accumulator::mm) == 4);
    CHECK(timing.product_from(Accumulator::mv) == 4);
    CHECK(timing.product(Accumulator::mm, 4, nothing).done == 14);
    CHECK(timing.product_from(Accumulator::mm) == 8);  // goes on beside the write-out
    CHECK(timing.product(Accumulator::mm, 8, nothing).done == 18);
    CHECK(timing.writeout(Accumulator::mm, 10, nothing, 4).begin == 18);
    CHECK(timing.product_from(Accumulator::mm) == 12);
    timing.product(Accumulator::mm, 12, nothing);
    timing.writeout(Accumulator::mm, 13, nothing, 4);
    CHECK(timing.product_from(Accumulator::mm) == 18);  // until the set of the second tile is free
    CHECK(timing.product(Accumulator::mm, 18, nothing).done == 28);
    CHECK(timing.busy_cycles() == 27);
}

TEST_CASE("matrix timing: rows and tree of the write-outs") {
    const auto done = [](MatrixShape shape, Accumulator from, std::uint64_t head) {
        return MatrixTiming(shape, true).writeout(from, 0, nothing, head).done;
    };
    CHECK(done({16, 16, 16, 1}, Accumulator::mm, 16) == 16);     // one sub-array: no tree
    CHECK(done({16, 16, 4, 2}, Accumulator::mm, 16) == 2 + 8);   // two rows of the grid
    CHECK(done({8, 16, 16, 1}, Accumulator::mm, 16) == 16 * 2);  // two Vector SRAM rows each
    CHECK(done({16, 16, 4, 1}, Accumulator::bmm, 4) == 4 * 16);  // a head in one sub-array
    CHECK(done({16, 16, 4, 1}, Accumulator::bmm, 8) == 1 + 2 * 16);
    CHECK(done({16, 16, 4, 1}, Accumulator::mv, 16) == 2 + 1);
    CHECK(done({16, 16, 4, 1}, Accumulator::bmv, 8) == 1 + 2);
}

TEST_CASE("matrix timing: idle time ends a stretch") {
    MatrixTiming timing({8, 8, 8, 1}, true);
    CHECK(timing.busy_cycles() == 0);
    timing.product(Accumulator::mm, 0, nothing);  // 22 cycles
    CHECK(timing.busy_cycles() == 21);
    timing.product(Accumulator::mv, 22, nothing);  // 15 more, without a gap
    CHECK(timing.busy_cycles() == 36);
    timing.product(Accumulator::mm, 38, nothing);
    CHECK(timing.busy_cycles() == 36 + 21);
}

TEST_CASE("matrix timing: entries of the table, on top or alone") {
    MatrixTiming geometry({16, 16, 4, 1}, true);
    const auto slow = geometry.product(Accumulator::mm, 0, {5, 3});
    CHECK(slow.free == 9);
    CHECK(slow.done == 9 + 6 + 3);
    MatrixTiming table({64, 64, 4, 1}, false);
    const auto span = table.product(Accumulator::mm, 0, {64, 70});
    CHECK(span.free == 64);
    CHECK(span.done == 70);
    CHECK(table.product_from(Accumulator::mm) == 64);
    CHECK(table.writeout(Accumulator::mm, 0, {1, 2}, 16).done == 72);
    table.product(Accumulator::mm, 100, {64, 64});
    CHECK(table.busy_cycles() == 128);
}
