#include <doctest/doctest.h>

#include <stdexcept>

#include "trace/hub.h"
#include "trace/worker.h"

using namespace npuvp::trace;

namespace {

Event numbered(std::uint32_t number) {
    return {number, number, 0, 0, number, 0, Kind::instruction};
}

struct Recorder : Sink {
    std::vector<Event> events;
    std::vector<std::pair<Time, std::size_t>> safe;  ///< and how many events had come by then
    Time end = 0;
    void on_event(const Event& event) override { events.push_back(event); }
    void advance(Time t) override { safe.emplace_back(t, events.size()); }
    void finish(Time t) override { end = t; }
};

}  // namespace

TEST_CASE("a worker hands on every event, in order, whatever the number") {
    for (const std::uint32_t count : {0u, 1u, 2047u, 2048u, 2049u, 300'000u}) {
        std::vector<std::uint32_t> seen;
        Worker worker([&](const Event* first, const Event* last) {
            for (; first != last; ++first) seen.push_back(first->a);
        });
        for (std::uint32_t i = 0; i < count; ++i) worker.push(numbered(i));
        worker.stop();
        REQUIRE(seen.size() == count);
        bool ascending = true;
        for (std::uint32_t i = 0; i < count; ++i) ascending = ascending && seen[i] == i;
        CHECK(ascending);
    }
}

TEST_CASE("what a sink throws comes back to the simulation, once, and ends nothing else") {
    std::size_t batches = 0;
    Worker worker([&](const Event*, const Event*) {
        ++batches;
        throw std::runtime_error("disk full");
    });
    const auto many = [&] {
        for (std::uint32_t i = 0; i < 1'000'000; ++i) worker.push(numbered(i));
        worker.stop();
    };
    CHECK_THROWS_WITH(many(), "disk full");
    CHECK_NOTHROW(worker.stop());
    CHECK(batches == 1);
}

TEST_CASE("sinks behind a worker see what they see without one") {
    const auto record = [](bool threaded) {
        Hub hub;
        const auto a = hub.add_source("a", "core"), b = hub.add_source("b", "core");
        Recorder one, two;
        hub.attach(one, {bit(Kind::instruction), 0});
        hub.attach(two, {bit(Kind::trap), bit(Kind::trap) | bit(Kind::instruction)});
        if (threaded) hub.start_worker();
        for (std::uint32_t i = 0; i < 10'000; ++i) {
            hub.emit({i, i, 0, 0, i, i % 3 ? a : b, i % 5 ? Kind::instruction : Kind::trap});
            if (i % 1000 == 999) hub.advance(i);
        }
        hub.finish(10'000);
        REQUIRE(one.events.size() + two.events.size() > 5'000);
        REQUIRE(one.safe.size() == 10);
        CHECK(one.end == 10'000);
        CHECK(two.end == 10'000);
        std::vector<std::uint64_t> all;
        for (const Recorder* sink : {&one, &two}) {
            for (const Event& event : sink->events) all.push_back(event.a);
            for (const auto& [time, count] : sink->safe) {
                all.push_back(time);
                all.push_back(count);
            }
        }
        return all;
    };
    CHECK(record(true) == record(false));
}
