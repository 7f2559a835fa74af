#include <doctest/doctest.h>

#include "trace/window.h"

using namespace npuvp::trace;

namespace {

Event event(Kind kind, Time begin, std::uint32_t a = 0, std::uint64_t b = 0,
            std::uint16_t source = 0) {
    return {begin, begin, b, 0, a, source, kind};
}
constexpr Time open_end = std::numeric_limits<Time>::max();

}  // namespace

TEST_CASE("a trigger wants its kind, its sources, and where they are given its numbers") {
    const Trigger step3{Kind::mark, {1}, 2, 3};
    CHECK(step3.matches(event(Kind::mark, 0, 2, 3, 1)));
    CHECK_FALSE(step3.matches(event(Kind::mark, 0, 2, 4, 1)));
    CHECK_FALSE(step3.matches(event(Kind::mark, 0, 1, 3, 1)));
    CHECK_FALSE(step3.matches(event(Kind::mark, 0, 2, 3, 0)));
    CHECK_FALSE(step3.matches(event(Kind::trap, 0, 2, 3, 1)));
    CHECK(Trigger{Kind::trap, {}, -1, -1}.matches(event(Kind::trap, 0, 9, 9, 5)));
    CHECK_FALSE(Trigger{}.set());
}

TEST_CASE("a window of times holds both its ends") {
    Window window(10, 20, {}, {}, 0);
    std::vector<std::uint32_t> kinds{0};
    window.arm(kinds);
    CHECK(kinds[0] == 0);
    CHECK_FALSE(window.waiting());
    CHECK_FALSE(window.contains(9));
    CHECK(window.contains(10));
    CHECK(window.contains(20));
    CHECK_FALSE(window.contains(21));
    CHECK(window.ready(15) == 15);
}

TEST_CASE("a trigger opens a window, as long before it as asked for, and another closes it") {
    Window window(0, open_end, {Kind::instruction, {}, 4, -1}, {Kind::trap, {}, -1, -1}, 100);
    std::vector<std::uint32_t> kinds{0, 0};
    window.arm(kinds);
    CHECK(kinds[1] == (bit(Kind::instruction) | bit(Kind::trap)));
    CHECK(window.waiting());
    window.observe(event(Kind::trap, 200));  // before it is open: does not close it
    CHECK_FALSE(window.contains(200));
    CHECK(window.ready(250) == 150);  // what may still become part of it is kept
    CHECK(window.ready(50) == 0);
    window.observe(event(Kind::instruction, 307, 4), 10);
    CHECK_FALSE(window.waiting());
    CHECK(window.start == 210);  // on the tick
    CHECK(window.contains(210));
    CHECK_FALSE(window.contains(209));
    window.observe(event(Kind::instruction, 400, 4));  // opens it once
    CHECK(window.start == 210);
    window.observe(event(Kind::trap, 500));
    window.observe(event(Kind::trap, 600));
    CHECK(window.contains(500));
    CHECK_FALSE(window.contains(501));
}

TEST_CASE("a window that looks back further than the run begins at its begin") {
    Window window(0, open_end, {Kind::trap, {}, -1, -1}, {}, 1000);
    std::vector<std::uint32_t> kinds{0};
    window.arm(kinds);
    window.observe(event(Kind::trap, 300));
    CHECK(window.start == 0);
}
