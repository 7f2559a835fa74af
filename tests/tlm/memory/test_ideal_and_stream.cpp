#include <doctest/doctest.h>

#include <stdexcept>
#include <string>

#include "configs.h"

using namespace npuvp::memory;
using tests::hbm2;
using tests::hbm3;

namespace {

Stream stream(Pattern pattern, std::uint32_t reads = 1, std::uint32_t writes = 0) {
    Stream s;
    s.pattern = pattern;
    s.bytes = 32;
    s.reads = reads;
    s.writes = writes;
    s.streams = 1;
    s.load = 1;
    s.requests = 40'000;
    s.seed = 7;
    return s;
}

StreamResult run(Config config, const Stream& spec, const char* backend = "builtin") {
    config.mapping = stream_mapping(config.organization, spec.bytes);
    const auto memory = make_backend(backend, config);
    return run_stream(*memory, config, spec);
}

Config one_pseudo_channel(Config config) {
    config.organization.pseudo_channels = 1;
    return config;
}

}  // namespace

TEST_CASE("The ideal memory is a pipe of latency and bandwidth") {
    Config config = hbm2();
    config.ideal = {100, 32e9};  // 32 bytes a nanosecond
    const auto memory = make_backend("ideal", config);
    std::vector<Completion> done;
    REQUIRE(memory->send({0, 32, false, 1}));
    REQUIRE(memory->send({32, 32, true, 2}));
    REQUIRE(memory->send({64, 16, false, 3}));
    CHECK(memory->next_event() == 0);
    memory->advance(0, done);
    REQUIRE(done.size() == 2);
    CHECK(done[0].tag == 1);
    CHECK(done[0].time == 101'000);
    CHECK(done[1].tag == 3);
    CHECK(done[1].time == 102'500);
    CHECK(memory->statistics().bytes_read == 48);
    CHECK(memory->statistics().bytes_written == 32);
    CHECK(memory->peak_bandwidth() == 32e9);

    // A queue of 2 x 32 accesses, then a refusal until one has been taken in.
    memory->advance(1'000'000, done);
    for (int i = 0; i < 64; ++i) REQUIRE(memory->send({0, 32, true, 0}));
    CHECK_FALSE(memory->send({0, 32, true, 0}));
    CHECK(memory->next_event() == 1'001'000);
    memory->advance(1'000'999, done);
    CHECK_FALSE(memory->send({0, 32, true, 0}));
    memory->advance(1'001'000, done);
    CHECK(memory->send({0, 32, true, 0}));

    config.ideal.bandwidth = 0;
    CHECK_THROWS_AS(make_backend("ideal", config), std::invalid_argument);
}

TEST_CASE("Streams reach the saturated bandwidths of the reference") {
    // Ramulator 2.1, one channel of one pseudo-channel, without refresh; percent of the peak.
    const Config config = one_pseudo_channel(hbm2());
    const auto percent = [&](Stream s) { return 100 * run(config, s).fraction_of_peak; };
    CHECK(percent(stream(Pattern::sequential)) == doctest::Approx(100.0).epsilon(0.001));
    CHECK(percent(stream(Pattern::sequential, 0, 1)) == doctest::Approx(100.0).epsilon(0.001));
    CHECK(percent(stream(Pattern::sequential, 2, 1)) == doctest::Approx(80.6).epsilon(0.01));
    CHECK(percent(stream(Pattern::random)) == doctest::Approx(39.8).epsilon(0.01));
    CHECK(percent(stream(Pattern::row_conflict)) == doctest::Approx(40.0).epsilon(0.01));
    CHECK(percent(stream(Pattern::row_conflict_one_bank)) == doctest::Approx(3.51).epsilon(0.01));
    Stream three = stream(Pattern::sequential, 2, 1);
    three.streams = 3;
    CHECK(percent(three) == doctest::Approx(59.1).epsilon(0.01));
    Stream wide = stream(Pattern::random);
    wide.bytes = 64;
    CHECK(percent(wide) == doctest::Approx(71.3).epsilon(0.01));
}

TEST_CASE("At a vanishing load every read sees the idle latency") {
    Stream s = stream(Pattern::row_conflict_one_bank);
    s.load = 0.001;
    s.arrivals = Arrivals::periodic;
    s.requests = 200;
    const StreamResult r = run(one_pseudo_channel(hbm2()), s);
    CHECK(r.measured_reads == 200);
    CHECK(r.mean_latency_ns == doctest::Approx(45.0).epsilon(0.001));  // 54 ticks
    CHECK(r.max_latency_ns == doctest::Approx(45.0).epsilon(0.001));
}

TEST_CASE("A stream is the same every time, and another seed is another stream") {
    Stream s = stream(Pattern::random, 2, 1);
    s.load = 0.3;
    s.requests = 3000;
    const StreamResult a = run(hbm3(Refresh::all_bank), s);
    const StreamResult b = run(hbm3(Refresh::all_bank), s);
    CHECK(a.mean_latency_ns == b.mean_latency_ns);
    CHECK(a.statistics.activates == b.statistics.activates);
    CHECK(a.measured_reads == 2000);
    s.seed = 8;
    CHECK(run(hbm3(Refresh::all_bank), s).mean_latency_ns != a.mean_latency_ns);
}

TEST_CASE("The offered load is what arrives") {
    Stream s = stream(Pattern::sequential);
    s.requests = 100'000;
    for (double load : {0.1, 0.5}) {
        s.load = load;
        s.arrivals = Arrivals::bernoulli;
        CHECK(run(hbm2(), s).fraction_of_peak == doctest::Approx(load).epsilon(0.02));
        s.arrivals = Arrivals::periodic;
        CHECK(run(hbm2(), s).fraction_of_peak == doctest::Approx(load).epsilon(0.002));
    }
}

TEST_CASE("Channels are independent: four do four times the work of one") {
    Stream s = stream(Pattern::sequential);
    Config config = hbm2();
    config.organization.channels = 4;
    const StreamResult four = run(config, s);
    CHECK(four.fraction_of_peak == doctest::Approx(1.0).epsilon(0.002));
    CHECK(four.bandwidth == doctest::Approx(4 * 38.4e9).epsilon(0.002));
}

TEST_CASE("Faults of a stimulus are reported together") {
    Stream s = stream(Pattern::random, 0, 0);
    s.bytes = 48;
    s.load = 0;
    std::string message;
    try {
        run(hbm2(), s);
    } catch (const std::invalid_argument& error) {
        message = error.what();
    }
    CHECK(message.find("bytes is 48, allowed: powers of two from 32 to 1024") != std::string::npos);
    CHECK(message.find("reads and writes are both 0") != std::string::npos);
    CHECK(message.find("load is 0.000000") != std::string::npos);
}
