#include <algorithm>
#include <random>
#include <vector>

#include <doctest/doctest.h>

#include "memory/dram/hit_queue.h"

using namespace npuvp::memory;
using namespace npuvp::memory::dram;

namespace {

std::vector<int> entries(const HitQueue& queue) {
    std::vector<int> found;
    for (const HitQueue::Item& item : queue) found.push_back(item.entry);
    return found;
}

}  // namespace

TEST_CASE(
    "A hit queue holds its requests from the oldest to the youngest, whatever comes and goes") {
    constexpr int most = 8;
    std::mt19937 random(1);
    HitQueue queue(most);
    std::vector<HitQueue::Item> model;
    std::uint32_t order = 0xFFFFFF00;  // wraps
    std::int16_t entry = 0;
    int from_behind = 0, amid = 0, banks_erased = 0;
    for (int i = 0; i < 5000; ++i) {
        const auto bank = static_cast<std::uint16_t>(random() % 3);
        if (model.size() < most && random() % 2 == 0) {
            order += 4;
            if (random() % 4 != 0) {
                model.push_back({order, ++entry, bank});
                queue.push_back(model.back());
            } else {  // older than some
                const std::uint32_t older = order - 4 * (random() % 6) - 1 - random() % 3;
                auto place = model.begin();
                while (place != model.end() && !earlier(older, place->order)) ++place;
                amid += place != model.end();
                place = model.insert(place, {older, ++entry, bank});
                queue.insert(*place);
            }
        } else if (random() % 16 == 0) {
            std::vector<int> erased, expected;
            queue.erase_all(bank, [&](std::int16_t e) { erased.push_back(e); });
            for (const HitQueue::Item& item : model)
                if (item.bank == bank) expected.push_back(item.entry);
            model.erase(std::remove_if(model.begin(), model.end(),
                                       [&](const auto& item) { return item.bank == bank; }),
                        model.end());
            banks_erased += !expected.empty();
            REQUIRE(erased == expected);
        } else {
            const auto oldest = std::find_if(model.begin(), model.end(),
                                             [&](const auto& item) { return item.bank == bank; });
            if (oldest == model.end()) continue;
            REQUIRE(queue.oldest_of(bank)->entry == oldest->entry);
            from_behind += oldest != model.begin();
            queue.erase(queue.oldest_of(bank));
            model.erase(oldest);
        }
        if (random() % 64 == 0) {
            Writer writer;
            queue.save(writer);
            const auto bytes = writer.take();
            Reader reader(bytes);
            queue.restore(reader);
            reader.finish();
        }
        std::vector<int> expected;
        for (const HitQueue::Item& item : model) expected.push_back(item.entry);
        REQUIRE(entries(queue) == expected);
    }
    CHECK(amid > 100);
    CHECK(from_behind > 100);
    CHECK(banks_erased > 50);
    CHECK(earlier(0xFFFFFFFF, 0));
    CHECK_FALSE(earlier(0, 0xFFFFFFFF));
}

TEST_CASE("A hit queue of another size refuses what does not fit") {
    HitQueue large(4), small(1);
    for (std::int16_t i = 0; i < 3; ++i) large.push_back({static_cast<std::uint32_t>(i), i, 0});
    Writer writer;
    large.save(writer);
    const auto bytes = writer.take();
    Reader reader(bytes);
    CHECK_THROWS_AS(small.restore(reader), std::runtime_error);
}
