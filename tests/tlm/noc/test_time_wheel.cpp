#include <doctest/doctest.h>

#include <queue>
#include <random>
#include <tuple>
#include <vector>

#include "noc/time_wheel.h"

using namespace npuvp::noc;

TEST_CASE("time wheel: items of one cycle come in the order in which they were put in") {
    TimeWheel<int> wheel;
    CHECK(wheel.empty());
    CHECK(wheel.next() == TimeWheel<int>::kNever);
    const std::uint64_t far = TimeWheel<int>::kSlots;  // the first cycle beyond the near future
    wheel.push(far, 1);
    wheel.push(far - 1, 2);
    wheel.push(far, 3);
    wheel.push(5, 4);
    CHECK(wheel.next() == 5);
    CHECK(wheel.pop() == 4);
    wheel.push(far, 5);  // near by now, but behind those that wait for longer
    CHECK(wheel.next() == far - 1);
    CHECK(wheel.pop() == 2);
    CHECK(wheel.next() == far);
    CHECK(wheel.pop() == 1);
    CHECK(wheel.pop() == 3);
    wheel.push(far, 6);  // at the cycle that is being taken
    CHECK(wheel.pop() == 5);
    CHECK(wheel.pop() == 6);
    CHECK(wheel.empty());
}

TEST_CASE("time wheel: the order of a sorted queue, over many turns") {
    using Item = std::tuple<std::uint64_t, int>;
    TimeWheel<int> wheel;
    std::priority_queue<Item, std::vector<Item>, std::greater<Item>> sorted;
    std::mt19937 random(4);
    std::uint64_t now = 0;
    int number = 0;
    for (int round = 0; round < 20'000; ++round) {
        for (std::uint32_t i = random() % 4; i-- > 0;) {
            const std::uint64_t reach = random() % 10 ? 40 : 3 * TimeWheel<int>::kSlots;
            const std::uint64_t time = now + random() % reach;
            wheel.push(time, number);
            sorted.emplace(time, number++);
        }
        if (random() % 50 == 0 && (sorted.empty() || std::get<0>(sorted.top()) > now + 700)) {
            now += 700;
            wheel.turn(now);
        }
        for (std::uint32_t i = random() % 4; i-- > 0 && !sorted.empty();) {
            REQUIRE(wheel.next() == std::get<0>(sorted.top()));
            now = wheel.next();
            REQUIRE(wheel.pop() == std::get<1>(sorted.top()));
            sorted.pop();
        }
        REQUIRE(wheel.empty() == sorted.empty());
    }
    CHECK(number > 20'000);
}
