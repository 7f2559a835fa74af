#include "estimate/attention_rounds.h"

#include <doctest/doctest.h>

#include <cstdint>
#include <initializer_list>

using npuvp::estimate::attention_rounds;
using npuvp::estimate::RoundCosts;
using npuvp::estimate::RoundTransfers;

namespace {

/// One row, one output tile, one score tile, and nothing else that takes time.
RoundCosts one_row() {
    RoundCosts costs;
    costs.rows = costs.outputs = costs.scores = 1;
    costs.output = {3.0, 4.0, 2.0};
    costs.score = {3.0, 4.0, 2.0};
    costs.settled = 1.0;
    costs.row = 5.0;
    return costs;
}

RoundTransfers some_transfers() {
    RoundTransfers transfers;
    transfers.latency = 10.0;
    transfers.queue = 4;
    transfers.queries = 5.0;
    transfers.keys = 7.0;
    transfers.values = 6.0;
    transfers.written = 2.0;
    transfers.store = 9.0;
    return transfers;
}

}  // namespace

TEST_CASE("a single unit goes through its stages one after the other") {
    // Queries at 15, keys at 22; scores issued by 24, in the array until 26, there at 27; values
    // asked for at 27 and there at 43, the softmax meanwhile; outputs until 47, there at 48.
    CHECK(attention_rounds(one_row(), some_transfers(), 1, 1) == 48.0 + 9.0);
}

TEST_CASE("what the memory still does delays the first load") {
    RoundTransfers transfers = some_transfers();
    transfers.debt = 3.0;
    CHECK(attention_rounds(one_row(), transfers, 1, 1) == 51.0 + 9.0);
}

TEST_CASE("a queue of one transfer makes the core wait for the load before") {
    // The keys' load waits for the queries at 15 and is there at 32: 10 cycles later than from a
    // longer queue. The values' waits for nothing by then.
    RoundTransfers transfers = some_transfers();
    transfers.queue = 1;
    CHECK(attention_rounds(one_row(), transfers, 1, 1) == 58.0 + 9.0);
}

TEST_CASE("visits, groups and heads that are not gone through last as long as the others") {
    RoundCosts costs = one_row();
    costs.begin = 40.0;  // of every round, more than a visit's loads take
    const RoundTransfers transfers = some_transfers();
    for (const std::int64_t visits : {3, 7, 8, 9, 200, 100'000}) {
        CAPTURE(visits);
        const double more = attention_rounds(costs, transfers, visits + 1, 1) -
                            attention_rounds(costs, transfers, visits, 1);
        CHECK(more == doctest::Approx(40.0 + 4.0 + 5.0).epsilon(1e-9));
    }
    costs.together = 16;
    const double groups = attention_rounds(costs, transfers, 1, 16 * 40) -
                          attention_rounds(costs, transfers, 1, 16 * 39);
    CHECK(groups == doctest::Approx(16 * 49.0).epsilon(1e-9));
    const double sixteen = attention_rounds(costs, transfers, 1, 16);
    costs.together = 17;
    const double heads = attention_rounds(costs, transfers, 1, 17) - sixteen;
    CHECK(heads == doctest::Approx(49.0).epsilon(1e-9));
}
