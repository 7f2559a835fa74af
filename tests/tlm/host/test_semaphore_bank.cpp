#include <doctest/doctest.h>

#include <stdexcept>

#include "host/semaphore_bank.h"

using npuvp::host::SemaphoreBank;
using Granted = std::vector<SemaphoreBank::Requester>;

TEST_CASE("semaphores: a wait takes its count, one too few is not enough") {
    SemaphoreBank bank(4);
    Granted granted;
    bank.wait(3, 2, 10, granted);
    CHECK(bank.signal(3, 1, granted));
    CHECK(granted.empty());
    CHECK(bank.value(3) == 1);
    CHECK(bank.signal(3, 4, granted));
    CHECK(granted == Granted{10});
    CHECK(bank.value(3) == 3);
    CHECK(bank.value(2) == 0);
}

TEST_CASE("semaphores: who waits is served in order") {
    SemaphoreBank bank(1);
    Granted granted;
    bank.wait(0, 3, 1, granted);
    bank.wait(0, 1, 2, granted);
    bank.wait(0, 0, 3, granted);
    CHECK(bank.signal(0, 2, granted));
    CHECK(granted.empty());
    CHECK(bank.signal(0, 1, granted));
    CHECK(granted == Granted{1});
    CHECK(bank.signal(0, 1, granted));
    CHECK(granted == Granted{1, 2, 3});
}

TEST_CASE("semaphores: the value has 32 bits") {
    SemaphoreBank bank(1);
    Granted granted;
    CHECK(bank.signal(0, 0xFFFFFFFF, granted));
    CHECK_FALSE(bank.signal(0, 1, granted));
    CHECK(bank.value(0) == 0xFFFFFFFF);
    CHECK(bank.signal(0, 0, granted));
    CHECK_THROWS_AS(bank.signal(1, 1, granted), std::out_of_range);
}

TEST_CASE("barriers: the last one lets all go, and the barrier is free again") {
    SemaphoreBank bank(2);
    Granted granted;
    for (int round = 0; round < 2; ++round) {
        granted.clear();
        CHECK(bank.arrive(1, 3, 7, granted));
        CHECK(bank.arrive(1, 3, 5, granted));
        CHECK(granted.empty());
        CHECK(bank.arrived(1) == 2);
        CHECK(bank.expected(1) == 3);
        CHECK_FALSE(bank.arrive(1, 2, 6, granted));
        CHECK(bank.arrived(1) == 2);
        CHECK(bank.arrive(1, 3, 6, granted));
        CHECK(granted == Granted{7, 5, 6});
        CHECK(bank.arrived(1) == 0);
        CHECK(bank.expected(1) == 0);
    }
}
