#include <doctest/doctest.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <random>
#include <stdexcept>
#include <string>

#include "trace/digits.h"
#include "trace/event_queue.h"
#include "trace/joined.h"

using namespace npuvp::trace;

TEST_CASE("joined intervals give the sums of the intervals, with fewer steps") {
    std::mt19937_64 random(5);
    for (const bool bit : {false, true})
        for (const std::uint64_t lanes : {1u, 3u, 40u}) {
            Joined joined(bit);
            std::map<Time, std::int64_t> expected, found;
            std::size_t steps = 0, intervals = 0;
            const auto step = [&](Time time, std::uint64_t difference) {
                found[time] += static_cast<std::int64_t>(difference);
                ++steps;
            };
            for (Time t = 0; t < 4000; t += 4) {
                const std::uint64_t amount = bit || random() % 4 ? 1 : 2;
                // Now and then one that is late.
                const Time begin = random() % 50 ? t : t - std::min<Time>(t, 30);
                const Time end = begin + 4 * (1 + random() % lanes);
                joined.add(begin, end, amount, step);
                expected[begin] += static_cast<std::int64_t>(amount);
                expected[end] -= static_cast<std::int64_t>(amount);
                ++intervals;
                if (t % 400 == 0) joined.settle(t > 40 ? t - 40 : 0, step);
            }
            joined.settle(~0ull, step);
            CHECK(steps < 2 * intervals);
            std::int64_t count = 0, other = 0;
            for (Time t = 0; t < 5000; ++t) {
                if (expected.count(t)) count += expected[t];
                if (found.count(t)) other += found[t];
                if (bit)
                    REQUIRE((count != 0) == (other != 0));
                else
                    REQUIRE(count == other);
            }
            CHECK(count == 0);
        }
}

TEST_CASE("ends before the limit are given, ends at it and later may still be joined") {
    Joined joined(false);
    std::vector<std::pair<Time, std::uint64_t>> steps;
    const auto step = [&](Time time, std::uint64_t amount) { steps.emplace_back(time, amount); };
    joined.add(10, 20, 1, step);
    joined.settle(20, step);
    CHECK(steps.size() == 1);
    joined.add(20, 30, 1, step);
    CHECK(steps.size() == 1);
    joined.settle(31, step);
    REQUIRE(steps.size() == 2);
    CHECK(steps[1] == std::pair<Time, std::uint64_t>{30, ~0ull});
}

TEST_CASE("events come out by time, then by source, then as they came") {
    std::mt19937_64 random(7);
    EventQueue queue;
    std::vector<Event> expected, found;
    const auto drain = [&](Time limit) {
        queue.drain(limit, [&](const Event& event) { found.push_back(event); });
    };
    for (std::uint32_t i = 0; i < 20'000; ++i) {
        // The last ones lie further away than 32 bits reach.
        const Time time = 100 + i / 8 * 16 + random() % 64 + (i > 19'000 ? Time{1} << 40 : 0);
        const Event event{time,      time, 0, 0, i, static_cast<std::uint16_t>(random() % 3),
                          Kind::mark};
        queue.push(event);
        expected.push_back(event);
        if (i % 5000 == 4999) drain(100 + i / 8 * 16);
    }
    CHECK(found.size() > 10'000);
    drain(~0ull >> 1);
    std::stable_sort(expected.begin(), expected.end(), [](const Event& a, const Event& b) {
        return a.begin != b.begin ? a.begin < b.begin : a.source < b.source;
    });
    REQUIRE(found.size() == expected.size());
    bool same = true;
    for (std::size_t i = 0; i < found.size(); ++i) same = same && found[i].a == expected[i].a;
    CHECK(same);
    CHECK_THROWS_AS(queue.push({5, 5, 0, 0, 0, 0, Kind::mark}), std::logic_error);
}

TEST_CASE("digits are those of the library") {
    std::mt19937_64 random(11);
    char text[BinaryDigits::most + 24], other[80];
    DecimalDigits decimal;
    std::vector<std::uint64_t> values{0, 1, 255, 256, 999'999, 1'000'000, 1'000'001, ~0ull};
    for (int i = 0; i < 2000; ++i) values.push_back(random() >> (random() % 64));
    for (const std::uint64_t value : values) {
        REQUIRE(std::string(text, BinaryDigits::append(text, value)) ==
                std::string(other, std::to_chars(other, other + 80, value, 2).ptr));
        REQUIRE(std::string(text, decimal.append(text, value)) ==
                std::string(other, std::to_chars(other, other + 80, value).ptr));
    }
}
