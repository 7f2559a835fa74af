#include <doctest/doctest.h>

#include <numeric>

#include "trace/profile.h"

using namespace npuvp::trace;

namespace {

struct Bench {
    Bench()
        : core(hub.add_source("core0", "core")),
          vector(hub.add_source("core0.vector", "unit")),
          dma(hub.add_source("core0.dma", "dma")),
          memory(hub.add_source("hbm", "memory")),
          sink(hub, {{0x1000, 0x1000}}) {
        hub.attach(sink, sink.kinds());
    }
    void emit(std::uint16_t source, Kind kind, Time begin, Time end, std::uint32_t a = 0,
              std::uint64_t b = 0, std::uint64_t c = 0) {
        hub.emit({begin, end, b, c, a, source, kind});
    }
    /// A program of three instructions that marks two steps, waits for memory, and halts at 90.
    void run() {
        emit(core, Kind::mark, 0, 0, static_cast<std::uint32_t>(MarkKind::step), 0);
        emit(core, Kind::instruction, 0, 10, 0);
        hub.energy(core, 0, 10, 5);
        emit(dma, Kind::descriptor, 0, 0, 1, 0);
        emit(core, Kind::stall, 10, 40, 1, static_cast<std::uint64_t>(StallCause::memory));
        emit(core, Kind::mark, 40, 40, static_cast<std::uint32_t>(MarkKind::step), 1);
        emit(core, Kind::instruction, 40, 60, 1);
        emit(vector, Kind::unit_busy, 40, 60, 1, 0, 16);
        emit(dma, Kind::burst, 5, 50, 1, 64, 2 * 0x1800);
        emit(dma, Kind::burst, 5, 50, 1, 32, 2 * 0x4000 + 1);  // not memory
        hub.energy(dma, 5, 50, 7, 1);
        emit(core, Kind::instruction, 60, 61, 2);
        emit(core, Kind::stall, 90, 90, 2, 0, 1);
        emit(memory, Kind::memory, 5, 50, 0, 64, 0);
        hub.finish(100);
    }
    std::uint64_t at(std::uint32_t pc, Sum what) const {
        for (const auto& row : sink.by_pc())
            if (row.pc == pc) return row.sums[static_cast<std::size_t>(what)];
        return ~0ull;
    }

    Hub hub;
    std::uint16_t core, vector, dma, memory;
    ProfileSink sink;
};

}  // namespace

TEST_CASE("a profile charges time, traffic and energy to instructions") {
    Bench bench;
    bench.run();
    CHECK(bench.at(0, Sum::own) == 10);
    CHECK(bench.at(1, Sum::memory) == 30);
    CHECK(bench.at(1, Sum::own) == 20);
    CHECK(bench.at(2, Sum::own) == 30);
    CHECK(bench.at(ProfileSink::no_pc, Sum::idle) == 10);
    CHECK(bench.at(1, Sum::vector_busy) == 20);
    CHECK(bench.at(1, Sum::lane_operations) == 16);
    CHECK(bench.at(0, Sum::instructions) == 1);
    // What a transfer moves belongs to the instruction that started it.
    CHECK(bench.at(0, Sum::bytes_read) == 64);
    CHECK(bench.at(0, Sum::bytes_written) == 0);
    CHECK(bench.at(0, Sum::energy) == 12);
}

TEST_CASE("a profile by marks and one by instructions add up to the same, and time to the run's") {
    Bench bench;
    bench.run();
    Sums by_pc{}, by_marks{};
    for (const auto& row : bench.sink.by_pc())
        for (std::size_t i = 0; i < sum_count; ++i) by_pc[i] += row.sums[i];
    for (const auto& row : bench.sink.by_marks())
        for (std::size_t i = 0; i < sum_count; ++i) by_marks[i] += row.sums[i];
    CHECK(by_pc == by_marks);
    constexpr auto times = static_cast<std::ptrdiff_t>(Sum::idle) + 1;
    CHECK(std::accumulate(by_pc.begin(), by_pc.begin() + times, std::uint64_t{0}) == 100);
    // A stall belongs to the marks that hold when it is reported.
    std::uint64_t first = 0, second = 0;
    for (const auto& row : bench.sink.by_marks()) {
        const auto step = row.marks[static_cast<std::size_t>(MarkKind::step)];
        if (step == 0) first += row.sums[static_cast<std::size_t>(Sum::memory)];
        if (step == 1) second += row.sums[static_cast<std::size_t>(Sum::own)];
    }
    CHECK(first == 30);
    CHECK(second == 50);
}

TEST_CASE("a series of any length keeps its sum in memory of a fixed size") {
    Series series(10);
    std::uint64_t sum = 0;
    for (Time t = 0; t < 100'000; t += 7) {
        series.spread(t, t + 20, t % 5);
        sum += t % 5;
    }
    CHECK(series.sums().size() <= Series::most_windows);
    CHECK(series.window() == 160);
    CHECK(std::accumulate(series.sums().begin(), series.sums().end(), std::uint64_t{0}) == sum);
    series.widen(1000);
    CHECK(series.window() == 1280);
    CHECK(std::accumulate(series.sums().begin(), series.sums().end(), std::uint64_t{0}) == sum);
}
