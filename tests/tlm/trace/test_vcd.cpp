#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include "trace/session.h"

using namespace npuvp::trace;

namespace {

/// A platform of one source, whose changes (what follows $enddefinitions) are returned.
struct Bench {
    explicit Bench(const char* type) : source(hub.add_source("x", type)) {
        path = std::filesystem::temp_directory_path() /
               ("npuvp_vcd_" + std::to_string(::getpid()) + ".vcd");
        names.operations = {"NOP", "ADD", "MUL"};
    }
    ~Bench() { std::filesystem::remove(path); }

    VcdSink& open(const std::vector<std::string>& wanted, VcdOptions options = {}) {
        options.path = path;
        std::vector<Signal> signals;
        for (const Signal& signal : signal_catalog(hub, names, {}))
            for (const std::string& name : wanted)
                if (signal.path == name) signals.push_back(signal);
        REQUIRE(signals.size() == wanted.size());
        session = std::make_unique<Session>(hub);
        return session->add_vcd(options, names, signals);
    }
    void emit(Kind kind, Time begin, Time end, std::uint32_t a = 0, std::uint64_t b = 0,
              std::uint64_t c = 0) {
        hub.emit({begin, end, b, c, a, source, kind});
    }
    std::string body() const {
        std::ifstream file(path);
        std::stringstream text;
        text << file.rdbuf();
        const std::string marker = "$enddefinitions $end\n";
        return text.str().substr(text.str().find(marker) + marker.size());
    }

    Hub hub;
    std::uint16_t source;
    Names names;
    std::filesystem::path path;
    std::unique_ptr<Session> session;
};

}  // namespace

TEST_CASE("busy holds from begin to end, through overlaps and back-to-back intervals") {
    Bench bench("unit");
    VcdSink& vcd = bench.open({"x.busy", "x.active"});
    bench.emit(Kind::unit_busy, 10, 20);
    bench.emit(Kind::unit_busy, 15, 30);
    bench.emit(Kind::unit_busy, 30, 40);
    bench.emit(Kind::unit_busy, 41, 42);
    bench.emit(Kind::unit_busy, 50, 50);
    bench.hub.finish(60);
    CHECK(bench.body() ==
          "#0\n$dumpvars\n0!\nb0 \"\n$end\n"
          "#10\n1!\nb1 \"\n#15\nb10 \"\n#20\nb1 \"\n"
          "#40\n0!\nb0 \"\n#41\n1!\nb1 \"\n#42\n0!\nb0 \"\n#60\n");
    CHECK(vcd.changes() == 10);
    CHECK(vcd.bytes() == std::filesystem::file_size(bench.path));
}

TEST_CASE("with only the bit shown, no empty time stamps") {
    Bench bench("unit");
    bench.open({"x.busy"});
    bench.emit(Kind::unit_busy, 10, 20);
    bench.emit(Kind::unit_busy, 15, 30);
    bench.hub.finish(30);
    CHECK(bench.body() == "#0\n$dumpvars\n0!\n$end\n#10\n1!\n#30\n0!\n");
}

TEST_CASE("a string signal changes together with its vector, and not when it stays") {
    Bench bench("core");
    bench.open({"x.pc", "x.op", "x.mnemonic"});
    bench.emit(Kind::instruction, 0, 5, 0, 1);
    bench.emit(Kind::instruction, 5, 6, 1, 1);
    bench.emit(Kind::instruction, 6, 9, 0x12345, 2);
    bench.hub.finish(7);
    CHECK(bench.body() ==
          "#0\n$dumpvars\nb0 !\nb1 \"\nsADD #\n$end\n"
          "#5\nb1 !\n"
          "#6\nb10010001101000101 !\nb10 \"\nsMUL #\n#7\n");
}

TEST_CASE("a stall that begins where another ends shows the new cause") {
    Bench bench("core");
    bench.open({"x.stall", "x.stall_cause"});
    bench.emit(Kind::stall, 1, 3, 0, static_cast<std::uint64_t>(StallCause::unit));
    bench.emit(Kind::stall, 3, 4, 0, static_cast<std::uint64_t>(StallCause::dma));
    bench.hub.finish(4);
    CHECK(bench.body() ==
          "#0\n$dumpvars\nb0 !\nsnone \"\n$end\n"
          "#1\nb10 !\nsunit \"\n#3\nb11 !\nsdma \"\n#4\nb0 !\nsnone \"\n");
}

TEST_CASE("the window's first values are the state at its start, both ends included") {
    const auto cut = [](Time start, Time stop) {
        Bench bench("core");
        VcdOptions options;
        options.start = start;
        options.stop = stop;
        bench.open({"x.pc"}, options);
        for (std::uint32_t i = 1; i <= 4; ++i) bench.emit(Kind::instruction, 10 * i, 10 * i, i, 0);
        bench.hub.advance(100);
        bench.hub.finish(50);
        return bench.body();
    };
    CHECK(cut(19, 30) == "#19\n$dumpvars\nb1 !\n$end\n#20\nb10 !\n#30\nb11 !\n");
    CHECK(cut(20, 29) == "#20\n$dumpvars\nb10 !\n$end\n#29\n");
    CHECK(cut(21, 45) == "#21\n$dumpvars\nb10 !\n$end\n#30\nb11 !\n#40\nb100 !\n#45\n");
    CHECK(cut(45, 90) == "#45\n$dumpvars\nb100 !\n$end\n#50\n");
    CHECK(cut(51, 90) ==
          "$comment the run ended before this window began $end\n#50\n$dumpvars\nb100 !\n$end\n");
}

TEST_CASE("the order in which sources report does not show") {
    const auto bytes = [](bool swapped) {
        Bench bench("core");
        const auto unit = bench.hub.add_source("x.vector", "unit");
        bench.open({"x.pc", "x.vector.busy"});
        const auto core = [&] {
            for (Time t = 0; t < 5; ++t)
                bench.emit(Kind::instruction, t, t, static_cast<std::uint32_t>(t));
        };
        const auto vector = [&] {
            for (Time t = 0; t < 5; t += 2)
                bench.hub.emit({t, t + 1, 0, 0, 0, unit, Kind::unit_busy});
        };
        if (swapped) {
            vector();
            core();
        } else {
            core();
            vector();
        }
        bench.hub.finish(5);
        return bench.body();
    };
    CHECK(bytes(false) == bytes(true));
    CHECK(bytes(false) ==
          "#0\n$dumpvars\nb0 !\n1\"\n$end\n#1\nb1 !\n0\"\n#2\nb10 !\n1\"\n#3\nb11 !\n0\"\n"
          "#4\nb100 !\n1\"\n#5\n0\"\n");
}

TEST_CASE("nothing that may still change is written, and late events are refused") {
    Bench bench("unit");
    bench.open({"x.busy"});
    for (Time t = 0; t < 200'000; t += 2) bench.emit(Kind::unit_busy, t, t + 1);
    bench.hub.advance(100'000);
    const std::string body = bench.body();
    CHECK(body.substr(body.size() - 20) == "#99998\n1!\n#99999\n0!\n");
    CHECK_THROWS_AS(bench.emit(Kind::unit_busy, 99'999, 100'000), std::logic_error);
    CHECK_NOTHROW(bench.emit(Kind::unit_busy, 100'000, 100'001));
}

TEST_CASE("the size limit holds and leaves a remark") {
    Bench bench("core");
    VcdOptions options;
    options.limit_bytes = 2000;
    VcdSink& vcd = bench.open({"x.pc"}, options);
    for (std::uint32_t i = 0; i < 1000; ++i) bench.emit(Kind::instruction, i, i, i);
    bench.hub.finish(1000);
    CHECK(vcd.limit_reached());
    CHECK(std::filesystem::file_size(bench.path) <= 2000);
    CHECK(std::filesystem::file_size(bench.path) > 1700);
    CHECK(bench.body().find("$comment the size limit of 2000 bytes was reached at ") !=
          std::string::npos);
}

TEST_CASE("times and values that the file cannot hold are errors") {
    CHECK(coarsest_tick({1000, 2000}) == 1000);
    CHECK(coarsest_tick({1000, 833}) == 1);
    CHECK(coarsest_tick({500}) == 100);
    CHECK(coarsest_tick({}) == 1);
    Bench bench("core");
    VcdOptions options;
    options.tick = 1000;
    bench.open({"x.pc", "x.mnemonic"}, options);
    bench.emit(Kind::instruction, 1000, 2000, 1, 0);
    CHECK_NOTHROW(bench.hub.finish(1500));
    CHECK(bench.body().find("#1\nb1 !\nsNOP \"\n") != std::string::npos);
    bench.open({"x.pc"}, options);
    bench.emit(Kind::instruction, 1001, 2000, 1, 0);
    CHECK_THROWS_AS(bench.hub.finish(2000), std::logic_error);
    bench.open({"x.mnemonic"}, options);
    bench.emit(Kind::instruction, 1000, 2000, 1, 3);
    CHECK_NOTHROW(bench.hub.finish(2000));  // what has no name shows its number
    CHECK(bench.body().find("#1\ns3 !\n") != std::string::npos);
    options.tick = 20;
    CHECK_THROWS_AS(bench.open({"x.pc"}, options), std::invalid_argument);
    bench.names.operations = {"two words"};
    options.tick = 1;
    CHECK_THROWS_AS(bench.open({"x.mnemonic"}, options), std::invalid_argument);
}

TEST_CASE("the host's bits: doorbell until launch, interrupt until the next doorbell") {
    Bench bench("host");
    bench.open({"x.doorbell", "x.running", "x.irq", "x.word", "x.words"});
    bench.emit(Kind::host, 1, 1, 0);
    bench.emit(Kind::host, 2, 2, 2);
    bench.emit(Kind::host, 3, 3, 1, 7);
    bench.emit(Kind::host, 4, 4, 1, 7);
    bench.emit(Kind::host, 5, 5, 3);
    bench.emit(Kind::host, 6, 6, 0);
    bench.hub.finish(6);
    CHECK(bench.body() ==
          "#0\n$dumpvars\n0!\n0\"\n0#\nbx $\nb0 %\n$end\n"
          "#1\n1!\n#2\n0!\n1\"\n#3\nb111 $\nb1 %\n#4\nb10 %\n#5\n0\"\n1#\n#6\n1!\n0#\n");
}

TEST_CASE("memory and DMA: counts, bytes and direction") {
    Bench dma("dma");
    dma.open({"x.busy", "x.outstanding", "x.bytes", "x.write", "x.bursts"});
    dma.emit(Kind::dma, 1, 5, 0, 64, 0);
    dma.emit(Kind::dma, 2, 4, 1, 32, 1);
    dma.emit(Kind::burst, 2, 3, 0, 16, 1);
    dma.hub.finish(5);
    CHECK(dma.body() ==
          "#0\n$dumpvars\n0!\nb0 \"\nb0 #\n0$\nb0 %\n$end\n"
          "#1\n1!\nb1 \"\nb1000000 #\n#2\nb10 \"\nb1100000 #\n1$\nb1 %\n#3\nb0 %\n"
          "#4\nb1 \"\nb1000000 #\n#5\n0!\nb0 \"\nb0 #\n");
    Bench memory("memory");
    memory.names.commands = {"ACT", "RD"};
    memory.open({"x.busy", "x.write", "x.command", "x.command_name", "x.bank", "x.row"});
    memory.emit(Kind::command, 1, 1, 2, 0, 9);
    memory.emit(Kind::command, 3, 3, 2, 1, 9);
    memory.emit(Kind::memory, 4, 6, 0, 64, 1);
    memory.hub.finish(6);
    CHECK(memory.body() ==
          "#0\n$dumpvars\n0!\n0\"\nbx #\ns- $\nbx %\nbx &\n$end\n"
          "#1\nb0 #\nsACT $\nb10 %\nb1001 &\n#3\nb1 #\nsRD $\n#4\n1!\n1\"\n#6\n0!\n");
}
