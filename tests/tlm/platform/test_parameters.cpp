#include <doctest/doctest.h>

#include "parameters.h"

namespace isa = npuvp::isa;
namespace platform = npuvp::platform;

TEST_CASE(
    "default parameters are those of the machine: nothing is left at a 0 that stands for more") {
    const platform::CoreParameters core;
    CHECK(core.vlen == 2048);
    CHECK(core.mlen == 2048);
    CHECK(core.blen == 128);
    CHECK(core.hlen == 128);
    CHECK(core.matrix_sram_bytes == 2 * 2048 * 2048 * 2);
    CHECK(core.issue == platform::Issue::scoreboard);
    CHECK(core.quantum == 1'000'000);
    CHECK(platform::PlatformParameters{}.clock == 1'000'000'000);
}

TEST_CASE("the timing table is indexed by class") {
    platform::Timing timing;
    CHECK(timing[isa::TimingClass::vector_sum].interval == 8);
    CHECK(timing[isa::TimingClass::vector_topk].interval == 0);
    CHECK(timing[isa::TimingClass::vector_topk].per_element == 1);
    timing[isa::TimingClass::dma].latency = 3;
    CHECK(timing.entries.back().latency == 3);
    CHECK(timing.entries.size() == isa::timing_class_count);
}

TEST_CASE("enumerators have the names of the platform file") {
    CHECK(std::string(platform::name_of(platform::Issue::blocking)) == "blocking");
    CHECK(std::string(platform::name_of(npuvp::numerics::MxFormat::plena_e4m3)) == "plena_e4m3");
    CHECK(std::string(platform::name_of(npuvp::numerics::Format::fp32)) == "fp32");
}
