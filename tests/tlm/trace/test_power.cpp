#include <doctest/doctest.h>

#include <numeric>
#include <random>
#include <stdexcept>

#include "trace/session.h"

using namespace npuvp::trace;

namespace {

struct Windows : PowerListener {
    std::vector<Time> begins;
    std::vector<std::vector<std::uint64_t>> rows;
    void on_window(Time begin, const std::vector<std::uint64_t>& units) override {
        begins.push_back(begin);
        rows.push_back(units);
    }
};

}  // namespace

TEST_CASE("an event is spread over its windows, both ends to the picosecond") {
    Hub hub;
    const auto source = hub.add_source("core0", "core");
    PowerSink power(hub, {"", 100, 0}, {{"core0", {source}}});
    Windows windows;
    power.listen(windows);
    // 10 fJ a picosecond over [90, 210): 10, 100 and 10 picoseconds of three windows.
    power.on_event({90, 210, 1200, 0, 0, source, Kind::energy});
    // Ends exactly with the second window: the third gets nothing.
    power.on_event({150, 200, 7, 0, 0, source, Kind::energy});
    // No length: all of it where it stands.
    power.on_event({200, 200, 5, 0, 0, source, Kind::energy});
    power.finish(300);
    REQUIRE(windows.begins == std::vector<Time>{0, 100, 200});
    // 1 fJ in 100 ps is 10^-5 W, and five decimals are printed.
    CHECK(power.decimals() == 5);
    CHECK(windows.rows[0] == std::vector<std::uint64_t>{100, 100});
    CHECK(windows.rows[1] == std::vector<std::uint64_t>{1007, 1007});
    CHECK(windows.rows[2] == std::vector<std::uint64_t>{105, 105});
    CHECK(power.dynamic_fj(0) == 1212);
}

TEST_CASE("what does not divide evenly is not lost") {
    Hub hub;
    const auto source = hub.add_source("core0", "core");
    PowerSink power(hub, {"", 100, 0}, {{"core0", {source}}});
    Windows windows;
    power.listen(windows);
    power.on_event({0, 300, 1000, 0, 0, source, Kind::energy});
    power.finish(300);
    REQUIRE(windows.rows.size() == 3);
    CHECK(windows.rows[0][0] == 333);
    CHECK(windows.rows[1][0] == 333);
    CHECK(windows.rows[2][0] == 334);
}

TEST_CASE("a window is handed out when nothing can be added to it any more") {
    Hub hub;
    const auto source = hub.add_source("core0", "core");
    PowerSink power(hub, {"", 100, 0}, {{"core0", {source}}});
    power.advance(100);
    CHECK(power.complete_until() == 0);
    power.advance(101);
    CHECK(power.complete_until() == 100);
    CHECK_THROWS_AS(power.on_event({99, 120, 1, 0, 0, source, Kind::energy}), std::logic_error);
    CHECK_NOTHROW(power.on_event({100, 120, 1, 0, 0, source, Kind::energy}));
}

TEST_CASE("energy under way at the end counts in the last window") {
    Hub hub;
    const auto source = hub.add_source("core0", "core");
    PowerSink power(hub, {"", 100, 0}, {{"core0", {source}}});
    Windows windows;
    power.listen(windows);
    power.on_event({150, 450, 300, 0, 0, source, Kind::energy});
    power.advance(200);
    power.finish(200);
    REQUIRE(windows.begins == std::vector<Time>{0, 100});
    CHECK(windows.rows[0][0] == 0);
    CHECK(windows.rows[1][0] == 300);
}

TEST_CASE("static power runs from the origin to the end and adds up exactly") {
    Hub hub;
    const auto a = hub.add_source("a", "core", 0.123456789);
    const auto b = hub.add_source("b", "core", 1e-9);
    PowerSink power(hub, {"", 1000, 500}, {{"a", {a}}, {"b", {b}}});
    Windows windows;
    power.listen(windows);
    power.finish(500 + 10'000'300);
    CHECK(power.windows() == 10'001);
    CHECK(windows.begins.front() == 500);
    CHECK(power.static_fj(0) == static_femtojoules(0.123456789, 10'000'300));
    CHECK(power.static_fj(0) == 1'234'604'927);
    CHECK(power.static_fj(1) == 10);
    CHECK_THROWS_AS(static_femtojoules(-1.0, 1), std::invalid_argument);
}

TEST_CASE("random energy: every window and column adds up to what was spent") {
    std::mt19937_64 random(7);
    for (const Time window : {Time{100'000}, Time{2'500}, Time{333}}) {
        Hub hub;
        std::vector<PowerColumn> columns;
        for (int i = 0; i < 3; ++i) {
            const auto path = "core" + std::to_string(i);
            columns.push_back({path, {hub.add_source(path, "core", 0.1 * i)}});
        }
        Session session(hub);
        PowerSink& power = session.add_power({"", window, 0}, columns);
        Windows windows;
        power.listen(windows);
        Time now = 0;
        for (int i = 0; i < 2000; ++i) {
            now += random() % 700;
            hub.energy(static_cast<std::uint16_t>(random() % 3), now, now + random() % 5000,
                       random() % 1'000'000);
            if (i % 10 == 0) hub.advance(now);
        }
        hub.finish(now);
        std::uint64_t all = 0;
        for (std::size_t i = 0; i < 3; ++i) {
            CHECK(power.dynamic_fj(i) == hub.sources()[i].dynamic_fj);
            CHECK(power.dynamic_fj(i) > 0);
            CHECK(power.static_fj(i) == static_femtojoules(hub.sources()[i].static_watts, now));
            all += power.dynamic_fj(i) + power.static_fj(i);
        }
        CHECK(power.total_fj() == all);
        for (std::size_t i = 0; i < 3; ++i) {
            std::uint64_t units = 0;
            for (const auto& row : windows.rows) {
                units += row[i];
                REQUIRE(row[3] == row[0] + row[1] + row[2]);
            }
            // Units are 10^-decimals W over a window of `window` ps; 1 W over 1 ps is 1000 fJ.
            std::uint64_t scale = 1;
            for (int d = 3; d < power.decimals(); ++d) scale *= 10;
            __extension__ using Wide = unsigned __int128;
            const Wide printed = Wide{units} * window;
            const Wide spent = Wide{power.dynamic_fj(i) + power.static_fj(i)} * scale;
            CHECK(bool(printed <= spent));
            CHECK(bool(window == 333 || printed == spent));
            CHECK(bool(spent - printed < window));
        }
    }
}

TEST_CASE("decimals carry no needless zeros") {
    const auto text = [](std::uint64_t units, int decimals) {
        std::string out;
        append_decimal(out, units, decimals);
        return out;
    };
    CHECK(text(0, 8) == "0");
    CHECK(text(100'000'000, 8) == "1");
    CHECK(text(1, 8) == "0.00000001");
    CHECK(text(123'456'700, 8) == "1.234567");
    CHECK(text(12'300, 3) == "12.3");
}

TEST_CASE("impossible power traces are refused by name") {
    Hub hub;
    const auto source = hub.add_source("core0", "core");
    using Columns = std::vector<PowerColumn>;
    CHECK_THROWS_AS(PowerSink(hub, {"", 0, 0}, Columns{{"a", {source}}}), std::invalid_argument);
    CHECK_THROWS_AS(PowerSink(hub, {"", 1, 0}, Columns{}), std::invalid_argument);
    CHECK_THROWS_WITH(PowerSink(hub, {"", 1, 0}, Columns{{"a", {source}}, {"b", {source}}}),
                      "source 'core0' is in two power columns, 'a' and 'b'");
    CHECK_THROWS_WITH(PowerSink(hub, {"", 1, 0}, Columns{{"a", {}}, {"a", {}}}),
                      "power column 'a' exists twice");
    CHECK_THROWS_AS(PowerSink(hub, {"", 1, 0}, Columns{{"a,b", {}}}), std::invalid_argument);
}
