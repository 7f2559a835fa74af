// Row policy `capped`, command by command.
#include <memory>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "configs.h"
#include "memory/backend.h"
#include "memory/dram/ticks.h"

using namespace npuvp::memory;
using dram::Tick;
using tests::address;
using tests::hbm2;
using tests::hbm3;

namespace {

Config capped(Config config, std::uint32_t cap) {
    config.controller.row_policy = RowPolicy::capped;
    config.controller.row_cap = cap;
    return config;
}

/// A built-in memory driven in ticks, and its commands as text.
class Recorder {
  public:
    explicit Recorder(const Config& c)
        : config_(c),
          clock_(c.clock_khz, c.bus.ticks_per_clock),
          memory_(make_backend("builtin", c)) {
        memory_->record_commands(&commands_);
    }
    void to(Tick tick) {
        std::vector<Completion> done;
        memory_->advance(clock_.time(tick), done);
    }
    /// To row 1 of a bank of pseudo-channel 0.
    void read(std::uint64_t group, std::uint64_t bank, std::uint64_t column = 0) {
        send(group, bank, column, false);
    }
    void write(std::uint64_t group, std::uint64_t bank, std::uint64_t column = 0) {
        send(group, bank, column, true);
    }
    /// "tick command bank, ..." from `first` to `last`, banks numbered over the channel.
    std::string between(Tick first, Tick last) {
        to(last);
        static const char* const names[] = {"ACT", "PRE", "PREA", "RD",  "WR",
                                            "RDA", "WRA", "REFA", "REFB"};
        std::string text;
        for (const IssuedCommand& c : commands_) {
            const Tick tick = clock_.tick_at(c.time);
            if (tick < first) continue;
            if (!text.empty()) text += ", ";
            text += std::to_string(tick) + " " + names[static_cast<int>(c.command)] + " " +
                    std::to_string(c.bank);
        }
        return text;
    }

  private:
    void send(std::uint64_t group, std::uint64_t bank, std::uint64_t column, bool write) {
        REQUIRE(memory_->send({address(config_, 0, group, bank, 1, column), 32, write, 0}));
    }

    Config config_;
    dram::TickClock clock_;
    std::unique_ptr<Backend> memory_;
    std::vector<IssuedCommand> commands_;
};

}  // namespace

TEST_CASE("A row that has had its accesses is closed as soon as its timing allows") {
    Recorder r(capped(hbm2(), 1));
    r.read(0, 0);
    CHECK(r.between(0, 400) == "1 ACT 0, 19 RD 0, 42 PRE 0");
}

TEST_CASE("A PRE is not owed while the row bus is busy: an access may still close the row") {
    Recorder r(capped(hbm2(), 1));
    r.read(0, 0);
    r.to(40);
    r.read(1, 0);  // its ACT holds the row bus at 41 and 42
    r.to(41);
    r.read(0, 0, 1);
    CHECK(r.between(20, 100) == "41 ACT 4, 42 RDA 0, 59 RD 4, 82 PRE 4");
}

TEST_CASE("Accesses to a row that another request has opened and not used do not close it") {
    Recorder r(capped(hbm2(), 1));
    r.read(0, 0);
    r.to(1);
    for (std::uint64_t column = 1; column < 4; ++column) r.write(0, 0, column);
    // WR may follow the ACT 15 ticks later, RD 18, and then the writes have turned the bus.
    CHECK(r.between(0, 200) == "1 ACT 0, 16 WR 0, 20 WR 0, 24 WR 0, 42 RDA 0");
}

TEST_CASE("A PRE is owed while the request that opened the row waits, and nothing new is picked") {
    Recorder r(capped(hbm2(), 1));
    r.read(0, 0);
    r.to(1);
    r.write(0, 0, 1);
    // Writes to banks of their own, which hold the read up.
    for (std::uint64_t i = 1; i < 12; ++i) r.write(i % 4, i / 4);
    // The PRE could issue at 43, were it not for the read, which then closes the row itself; the
    // PRE goes with it, and those of the other rows follow, one per tick. ACT 6 waits for all of
    // them.
    CHECK(r.between(36, 90) ==
          "36 WR 1, 36 ACT 13, 41 WR 5, 41 ACT 2, 46 WR 9, 51 WR 13, 56 WR 2, 74 RDA 0, 74 PRE 0, "
          "75 PRE 4, 76 PRE 8, 77 PRE 12, 78 PRE 1, 79 PRE 5, 80 PRE 9, 81 PRE 13, 82 ACT 6, "
          "84 PRE 2, 87 ACT 10");
}

TEST_CASE("An owed PRE is issued even if the row has been closed before") {
    Recorder two(capped(hbm2(Refresh::all_bank), 1));
    two.to(4659);
    two.read(0, 0);
    // Owed behind both refreshes, at the tick at which PREA has become possible too.
    CHECK(two.between(4660, 4800) ==
          "4660 ACT 0, 4678 RD 0, 4701 PREA 0, 4718 REFA 0, 4719 REFA 16, 4720 PRE 0");

    // HBM3: at the half clock after a refresh of all banks no PRE goes to its pseudo-channel.
    Config one = hbm3(Refresh::all_bank);
    one.organization.pseudo_channels = 1;
    one.mapping = stream_mapping(one.organization, 32);
    Recorder r(capped(one, 1));
    r.to(12430);
    r.read(0, 0);
    CHECK(r.between(12430, 12700) ==
          "12431 ACT 0, 12495 RD 0, 12523 PREA 0, 12577 REFA 0, 12579 PRE 0");
}

TEST_CASE("HBM3: a PRE may come between the refreshes of a bank in both pseudo-channels") {
    Recorder r(capped(hbm3(Refresh::per_bank), 2));
    r.to(296);
    r.read(1, 0);
    r.to(370);
    r.read(1, 0, 1);
    // The first refresh is owed at 390, where the row may be closed too, the second at 391.
    CHECK(r.between(371, 400) == "371 RD 4, 391 REFB 0, 392 PRE 4, 393 REFB 32");
}
