#include <algorithm>
#include <array>
#include <random>
#include <vector>

#include <doctest/doctest.h>

#include "memory/dram/age_list.h"

using namespace npuvp::memory::dram;

TEST_CASE("An age list holds its banks from the oldest to the youngest, whatever comes and goes") {
    std::mt19937 random(1);
    AgeList list;
    std::array<std::uint32_t, kMaxBanks> ages{};
    std::vector<int> banks;          // by age
    std::uint32_t age = 0xFFFFFF00;  // wraps
    CHECK(list.oldest() == AgeList::kEnd);
    for (int i = 0; i < 2000; ++i) {
        const int bank = static_cast<int>(random() % kMaxBanks);
        const auto at = std::find(banks.begin(), banks.end(), bank);
        if (at != banks.end()) {
            list.remove(bank);
            banks.erase(at);
        } else {
            // Mostly the youngest, sometimes older than others.
            ages[bank] = ++age - (random() % 4 == 0 ? 2 * (random() % 8) : 0);
            list.insert(bank, ages.data());
            auto place = banks.begin();
            while (place != banks.end() && !earlier(ages[bank], ages[*place])) ++place;
            banks.insert(place, bank);
        }
        std::vector<int> found;
        for (int b = list.oldest(); b != AgeList::kEnd; b = list.younger(b)) found.push_back(b);
        REQUIRE(found == banks);
    }
    CHECK(earlier(0xFFFFFFFF, 0));
    CHECK_FALSE(earlier(0, 0xFFFFFFFF));
}
