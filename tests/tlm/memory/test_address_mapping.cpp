#include <doctest/doctest.h>

#include <set>
#include <stdexcept>
#include <string>
#include <tuple>

#include "configs.h"
#include "memory/dram/address_mapping.h"

using namespace npuvp::memory;
using dram::AddressMapping;
using dram::Coordinates;

namespace {

Config small(std::vector<MappingSlice> slices, std::vector<MappingHash> hashes = {}) {
    Config c = tests::hbm2();
    c.organization = {4, 2, 2, 2, 4, 16, 8, 32};
    c.mapping = {std::move(slices), std::move(hashes)};
    return c;
}

std::tuple<int, int, int, int, int> tuple_of(const Coordinates& where) {
    return {where.channel, where.pc, where.bank, where.row, where.column};
}

/// Every unit has a place of its own: the mapping loses and doubles nothing.
void check_bijective(const Config& c) {
    const AddressMapping mapping(c);
    const Organization& o = c.organization;
    const std::uint64_t units = std::uint64_t{o.channels} * o.pseudo_channels * o.stack_ids *
                                o.bank_groups * o.banks * o.rows * o.columns;
    std::set<std::tuple<int, int, int, int, int>> seen;
    for (std::uint64_t unit = 0; unit < units; ++unit) {
        const Coordinates where = mapping.decode(unit);
        REQUIRE(where.channel < o.channels);
        REQUIRE(where.pc < o.pseudo_channels);
        REQUIRE(where.bank < o.stack_ids * o.bank_groups * o.banks);
        REQUIRE(where.row < o.rows);
        REQUIRE(where.column < o.columns);
        REQUIRE(mapping.channel(unit) == where.channel);
        REQUIRE(mapping.locate(unit).bank == where.bank);
        REQUIRE(mapping.locate(unit).row == where.row);
        seen.insert(tuple_of(where));
    }
    CHECK(seen.size() == units);
    for (std::uint64_t first = 0; first < o.channels; ++first) {
        AddressMapping::Walk walk(mapping, first);
        const std::uint32_t channel = mapping.channel(first);
        for (std::uint64_t unit = first; unit < units; ++unit) {
            if (mapping.channel(unit) != channel) continue;
            REQUIRE(walk.unit() == unit);
            Coordinates where = mapping.locate(unit);
            where.column = walk.where().column;  // either may leave it out
            REQUIRE(tuple_of(walk.where()) == tuple_of(where));
            walk.next(units - 1);
        }
        CHECK(walk.unit() >= units);
    }
}

const std::vector<MappingSlice> kInterleaved = {
    {Field::channel, 4}, {Field::pseudo_channel, 2}, {Field::bank_group, 2}, {Field::column, 8},
    {Field::bank, 4},    {Field::stack_id, 2},       {Field::row, 16}};

}  // namespace

TEST_CASE("Slices go from the least significant bits") {
    const AddressMapping mapping(small(kInterleaved));
    CHECK(tuple_of(mapping.decode(0)) == std::tuple{0, 0, 0, 0, 0});
    CHECK(tuple_of(mapping.decode(3)) == std::tuple{3, 0, 0, 0, 0});
    CHECK(tuple_of(mapping.decode(4)) == std::tuple{0, 1, 0, 0, 0});
    CHECK(tuple_of(mapping.decode(8)) == std::tuple{0, 0, 4, 0, 0});   // bank group 1
    CHECK(tuple_of(mapping.decode(16)) == std::tuple{0, 0, 0, 0, 1});  // column 1
    CHECK(tuple_of(mapping.decode(128)) == std::tuple{0, 0, 1, 0, 0});
    CHECK(tuple_of(mapping.decode(512)) == std::tuple{0, 0, 8, 0, 0});  // stack id 1
    CHECK(tuple_of(mapping.decode(1024)) == std::tuple{0, 0, 0, 1, 0});
}

TEST_CASE("A field may come in several slices, the lower first") {
    const AddressMapping mapping(small({{Field::column, 2},
                                        {Field::channel, 4},
                                        {Field::column, 4},
                                        {Field::pseudo_channel, 2},
                                        {Field::bank_group, 2},
                                        {Field::bank, 4},
                                        {Field::stack_id, 2},
                                        {Field::row, 16}}));
    CHECK(tuple_of(mapping.decode(1)) == std::tuple{0, 0, 0, 0, 1});
    CHECK(tuple_of(mapping.decode(2)) == std::tuple{1, 0, 0, 0, 0});
    CHECK(tuple_of(mapping.decode(8)) == std::tuple{0, 0, 0, 0, 2});
}

TEST_CASE("A hash permutes its target by its source") {
    const AddressMapping mapping(
        small(kInterleaved, {{Field::bank, Field::row, 0}, {Field::channel, Field::row, 2}}));
    const std::uint64_t row = 1024;
    CHECK(tuple_of(mapping.decode(3 * row)) == std::tuple{0, 0, 3, 3, 0});
    CHECK(tuple_of(mapping.decode(4 * row)) == std::tuple{1, 0, 0, 4, 0});
    CHECK(tuple_of(mapping.decode(7 * row + 2)) == std::tuple{3, 0, 3, 7, 0});
}

TEST_CASE("Every mapping is a bijection") {
    check_bijective(small(kInterleaved));
    check_bijective(small(kInterleaved, {{Field::bank, Field::row, 0},
                                         {Field::bank_group, Field::row, 2},
                                         {Field::channel, Field::row, 1}}));
    Config odd = small({{Field::pseudo_channel, 2},
                        {Field::bank_group, 3},
                        {Field::column, 8},
                        {Field::bank, 4},
                        {Field::stack_id, 2},
                        {Field::row, 12},
                        {Field::channel, 3}});
    odd.organization = {3, 2, 2, 3, 4, 12, 8, 32};
    check_bijective(odd);
}

TEST_CASE("What a mapping cannot serve is named, all of it") {
    Config c = small(kInterleaved, {{Field::channel, Field::row, 0}});
    c.organization.channels = 6;
    c.organization.rows = 32;
    std::string message;
    try {
        AddressMapping mapping(c);
    } catch (const std::invalid_argument& error) {
        message = error.what();
    }
    CHECK(message.find("slices of channel hold 4 values, the memory has 6") != std::string::npos);
    CHECK(message.find("slices of row hold 16 values, the memory has 32") != std::string::npos);
    CHECK(message.find("hashes channel, and 6 is not a power of two") != std::string::npos);
}
