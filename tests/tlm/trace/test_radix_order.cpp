#include <doctest/doctest.h>

#include <algorithm>
#include <random>

#include "trace/radix_order.h"
#include "trace/window_sums.h"

using namespace npuvp::trace;

TEST_CASE("the order of indices is that of a stable sort") {
    std::mt19937_64 random(3);
    for (const std::size_t count : {0u, 1u, 2u, 100u, 255u, 256u, 5000u})
        for (const std::uint64_t range : {1ull, 10ull, 100'000ull, 1ull << 32}) {
            std::vector<std::uint32_t> keys;
            std::vector<std::size_t> expected;
            RadixOrder order;
            order.push(1, 99);
            order.clear();
            for (std::uint32_t i = 0; i < count; ++i) {
                keys.push_back(static_cast<std::uint32_t>(random() % range));
                expected.push_back(i);
                order.push(keys.back(), i);
            }
            std::stable_sort(expected.begin(), expected.end(),
                             [&](std::size_t a, std::size_t b) { return keys[a] < keys[b]; });
            order.sort();
            REQUIRE(order.size() == count);
            for (std::size_t i = 0; i < count; ++i) REQUIRE(order[i] == expected[i]);
        }
}

TEST_CASE("amounts beyond the first window fold into it") {
    WindowSums sums(2, 10, 100);
    CHECK(sums.begin() == 100);
    sums.spread(0, 100, 130, 30);
    sums.spread(1, 125, 125, 4);
    std::vector<std::uint64_t> total(2, 0);
    sums.pop(total);
    CHECK(total == std::vector<std::uint64_t>{10, 0});
    CHECK(sums.begin() == 110);
    sums.fold();
    sums.pop(total);
    CHECK(total == std::vector<std::uint64_t>{30, 4});
    sums.pop(total);
    CHECK(total == std::vector<std::uint64_t>{30, 4});
    CHECK(sums.index() == 3);
}
