// Every command of many streams, as digests: what makes the model faster must not move one of them.
// The figures were taken before channels learnt to stream; a change of the model on purpose takes
// them anew (the failing check prints them).
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "configs.h"
#include "memory/backend.h"

using namespace npuvp::memory;

namespace {

std::uint64_t digest(const Config& base, const Stream& stream) {
    Config config = base;
    config.mapping = stream_mapping(config.organization, stream.bytes);
    const auto backend = make_backend("builtin", config);
    std::vector<IssuedCommand> commands;
    backend->record_commands(&commands);
    run_stream(*backend, config, stream);
    std::uint64_t sum = 0xCBF29CE484222325;  // FNV-1a over whole words
    for (const IssuedCommand& c : commands) {
        for (const std::uint64_t word :
             {std::uint64_t{c.time}, std::uint64_t{c.channel}, std::uint64_t{c.bank},
              static_cast<std::uint64_t>(c.command), c.row}) {
            sum = (sum ^ word) * 0x100000001B3;
        }
    }
    return sum;
}

struct Pinned {
    const char* memory;
    Refresh refresh;
    Pattern pattern;
    std::uint32_t bytes, reads, writes, streams;
    double load;
    std::uint64_t digest;
};

}  // namespace

TEST_CASE("No command of the reference streams has moved") {
    const Pinned table[] = {
        {"hbm2", Refresh::none, Pattern::sequential, 32, 1, 0, 1, 1, 0xE5D40202C7F90051},
        {"hbm2", Refresh::all_bank, Pattern::sequential, 32, 1, 0, 1, 1, 0x7607669CA30C6F9B},
        {"hbm3", Refresh::all_bank, Pattern::sequential, 32, 1, 0, 1, 1, 0x19930003E0C32179},
        {"hbm3", Refresh::per_bank, Pattern::sequential, 64, 1, 0, 1, 1, 0x5C76C33B6B036651},
        {"hbm2", Refresh::per_bank, Pattern::sequential, 32, 2, 1, 3, 1, 0xE6D694E5C2385BD9},
        {"hbm2", Refresh::all_bank, Pattern::sequential, 32, 0, 1, 1, 1, 0xFA48B1EE646CF342},
        {"hbm2", Refresh::all_bank, Pattern::random, 32, 1, 0, 1, 1, 0x52919617A45B4B05},
        {"hbm3", Refresh::all_bank, Pattern::random, 64, 2, 1, 1, 1, 0x77E23C6BF301A155},
        {"hbm2", Refresh::all_bank, Pattern::sequential, 32, 1, 0, 1, 0.8, 0x0AA3B34190E00ECE},
        {"hbm3", Refresh::per_bank, Pattern::random, 32, 3, 1, 1, 0.25, 0x3969CA9EFBE98DC5},
        {"hbm3", Refresh::none, Pattern::row_conflict, 32, 1, 0, 1, 1, 0x4265EBCC915A5A0D},
        {"hbm2", Refresh::all_bank, Pattern::row_conflict, 32, 1, 1, 1, 1, 0x9490D2F5656867E8},
    };
    for (const Pinned& pinned : table) {
        const bool second = std::string(pinned.memory) == "hbm2";
        Config config = second ? tests::hbm2(pinned.refresh) : tests::hbm3(pinned.refresh);
        config.organization.channels = 2;
        Stream stream;
        stream.pattern = pinned.pattern;
        stream.bytes = pinned.bytes;
        stream.reads = pinned.reads;
        stream.writes = pinned.writes;
        stream.streams = pinned.streams;
        stream.load = pinned.load;
        stream.requests = 20'000;
        CAPTURE(pinned.memory);
        CAPTURE(static_cast<int>(pinned.refresh));
        CAPTURE(static_cast<int>(pinned.pattern));
        CHECK(digest(config, stream) == pinned.digest);
    }
}
