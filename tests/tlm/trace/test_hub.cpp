#include <doctest/doctest.h>

#include "trace/hub.h"

using namespace npuvp::trace;

namespace {

struct Recorder : Sink {
    std::vector<Event> events;
    Time safe = 0, end = 0;
    void on_event(const Event& event) override { events.push_back(event); }
    void advance(Time t) override { safe = t; }
    void finish(Time t) override { end = t; }
};

}  // namespace

TEST_CASE("a sink receives the kinds and sources that it asked for, and no other") {
    Hub hub;
    const auto a = hub.add_source("a", "core"), b = hub.add_source("b", "core");
    Recorder recorder;
    hub.attach(recorder, {bit(Kind::stall), bit(Kind::trap)});
    CHECK(hub.wants(a, Kind::stall));
    CHECK_FALSE(hub.wants(a, Kind::trap));
    for (const auto source : {a, b})
        for (const Kind kind : {Kind::stall, Kind::trap, Kind::instruction})
            hub.emit({1, 2, 0, 0, 0, source, kind});
    REQUIRE(recorder.events.size() == 2);
    CHECK(recorder.events[0].kind == Kind::stall);
    CHECK(recorder.events[1].source == b);
}

TEST_CASE("detaching one sink leaves the others what they want") {
    Hub hub;
    const auto a = hub.add_source("a", "core");
    Recorder one, two;
    hub.attach(one, {bit(Kind::stall) | bit(Kind::trap)});
    hub.attach(two, {bit(Kind::trap)});
    hub.detach(one);
    CHECK_FALSE(hub.wants(a, Kind::stall));
    CHECK(hub.wants(a, Kind::trap));
    hub.detach(two);
    CHECK_FALSE(hub.active());
}

TEST_CASE("energy is counted with and without a sink") {
    Hub hub;
    const auto a = hub.add_source("a", "core");
    hub.energy(a, 0, 1, 5);
    Recorder recorder;
    hub.attach(recorder, {bit(Kind::energy)});
    hub.energy(a, 1, 2, 7);
    CHECK(hub.sources()[a].dynamic_fj == 12);
    REQUIRE(recorder.events.size() == 1);
    CHECK(recorder.events[0].b == 7);
}

TEST_CASE("a source that holds time back keeps it from being called safe") {
    Hub hub;
    const auto a = hub.add_source("a", "core"), b = hub.add_source("b", "dma");
    Recorder recorder;
    hub.attach(recorder, {});
    hub.hold(a, 70);
    hub.hold(b, 50);
    hub.advance(40);
    CHECK(recorder.safe == 40);
    hub.advance(90);
    CHECK(recorder.safe == 50);
    hub.hold(b, 60);
    hub.advance(90);
    CHECK(recorder.safe == 60);
    hub.release(b);
    hub.advance(90);
    CHECK(recorder.safe == 70);
    hub.finish(100);
    CHECK(recorder.end == 100);
    hub.advance(120);
    CHECK(recorder.safe == 120);
}
