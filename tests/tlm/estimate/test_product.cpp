#include "estimate/product.h"

#include <doctest/doctest.h>

using npuvp::estimate::Product;
using npuvp::estimate::ProductMemory;
using npuvp::estimate::ProductTime;
using npuvp::estimate::Stage;

namespace {

Stage::Figures two_tiles(std::int64_t sets, double skew) {
    Stage::Figures stage;
    stage.products = 10.0;
    stage.stream = 4.0;
    stage.skew = skew;
    stage.row = 1.0;
    stage.tails = {2.0};
    stage.sets = sets;
    stage.port = 3.0;
    stage.tiles = 2;
    stage.between = 1.0;
    return stage;
}

/// A row times a panel that is one piece of one descriptor, or several such panels.
Product::Figures one_panel(std::int64_t panels = 1) {
    Product::Figures product;
    product.chunks = {{Stage(two_tiles(1, 6.0)), panels, 1, 1}};
    product.weights.panels = static_cast<double>(panels);
    product.weights.issue = 5.0;
    product.weights.begin = 3.0;
    product.words = 2.0;
    product.drain = 7.0;
    return product;
}

ProductMemory memory(double panel) {
    ProductMemory found;
    found.latency = 20.0;
    found.queue = 4;
    found.panel = panel;
    return found;
}

}  // namespace

TEST_CASE("the array drains before the next tile where there is one set of accumulators") {
    const Stage stage(two_tiles(1, 6.0));
    CHECK(stage.cycles() == 2 * (10.0 + 4.0 + 6.0));
    CHECK(stage.early(1) == 0.0);
    CHECK(stage.slices() == 2);
    // Eight more instructions hide under the drain, nine do not.
    CHECK(stage.more(8.0) == 0.0);
    CHECK(stage.more(9.0) == 1.0);
}

TEST_CASE("two sets of accumulators take turns") {
    const Stage quick(two_tiles(2, 6.0));
    CHECK(quick.cycles() == 2 * (10.0 + 4.0));
    CHECK(quick.early(1) == 0.0);
    // A long drain: every second tile follows at once.
    const Stage slow(two_tiles(2, 30.0));
    CHECK(slow.cycles() == 10.0 + 4.0 + 30.0);
    CHECK(slow.early(1) == 2 * (22.0 - 14.0));
}

TEST_CASE("a product of one panel waits for it") {
    // Asked for at 8, there at 78, multiplied until 118, in Vector SRAM six cycles later: of the
    // seven of the drain one instruction hides one.
    const ProductTime found = Product(one_panel()).time(1, 0.0, memory(50.0));
    CHECK(found.cycles == 124.0);
    CHECK(found.behind == 0.0);
}

TEST_CASE("what is stored last keeps the memory behind the product") {
    ProductMemory stores = memory(50.0);
    stores.storing = 30.0;
    CHECK(Product(one_panel()).time(1, 0.0, stores).behind == 30.0);
}

TEST_CASE("transfers that are under way come first") {
    ProductMemory busy = memory(50.0);
    busy.arriving = 100.0;
    busy.before = 1;
    CHECK(Product(one_panel()).time(1, 0.0, busy).cycles == 124.0 + (150.0 - 78.0));
}

TEST_CASE("of many panels the memory or the array is the limit") {
    const auto more = [](double panel) {
        return Product(one_panel(11)).time(1, 0.0, memory(panel)).cycles -
               Product(one_panel(10)).time(1, 0.0, memory(panel)).cycles;
    };
    // A panel of one piece is asked for when the last product with the one before has been issued,
    // two instructions later.
    CHECK(more(200.0) == doctest::Approx(200.0 + 20.0 + 2.0));
    CHECK(more(19.0) == doctest::Approx(41.0));
    CHECK(more(17.0) == doctest::Approx(40.0));
}
