#include "memory/dram/address_mapping.h"

#include <algorithm>
#include <array>
#include <stdexcept>

namespace npuvp::memory::dram {
namespace {

constexpr std::array<const char*, kFields> kFieldNames = {
    "channel", "pseudo_channel", "stack_id", "bank_group", "bank", "row", "column"};

std::array<std::uint64_t, kFields> counts_of(const Organization& o) {
    return {o.channels, o.pseudo_channels, o.stack_ids, o.bank_groups, o.banks, o.rows, o.columns};
}

std::uint32_t log2_of(std::uint64_t power) {
    std::uint32_t shift = 0;
    while ((std::uint64_t{1} << shift) < power) ++shift;
    return shift;
}

bool is_power_of_two(std::uint64_t value) {
    return value != 0 && (value & (value - 1)) == 0;
}

}  // namespace

std::vector<std::string> mapping_faults(const Organization& organization, const Mapping& mapping) {
    std::vector<std::string> faults;
    const auto counts = counts_of(organization);
    std::array<std::uint64_t, kFields> products;
    products.fill(1);
    for (const MappingSlice& slice : mapping.slices) {
        products[static_cast<std::size_t>(slice.field)] *= slice.size;
    }
    for (std::size_t f = 0; f < kFields; ++f) {
        if (products[f] != counts[f]) {
            faults.push_back("the mapping's slices of " + std::string(kFieldNames[f]) + " hold " +
                             std::to_string(products[f]) + " values, the memory has " +
                             std::to_string(counts[f]));
        }
    }
    for (const MappingHash& hash : mapping.hashes) {
        const auto target = static_cast<std::size_t>(hash.target);
        if (hash.target == hash.source) {
            faults.push_back("the mapping hashes " + std::string(kFieldNames[target]) +
                             " with itself");
        }
        if (!is_power_of_two(counts[target])) {
            faults.push_back("the mapping hashes " + std::string(kFieldNames[target]) + ", and " +
                             std::to_string(counts[target]) + " is not a power of two");
        }
        if (hash.shift > 31) {
            faults.push_back("the mapping shifts a hash by " + std::to_string(hash.shift) +
                             ", allowed: 0 to 31");
        }
    }
    return faults;
}

AddressMapping::AddressMapping(const Config& config)
    : bank_groups_(config.organization.bank_groups), banks_(config.organization.banks) {
    const auto faults = mapping_faults(config.organization, config.mapping);
    if (!faults.empty()) {
        std::string message = "memory " + config.name + ": ";
        for (std::size_t i = 0; i < faults.size(); ++i) message += (i ? "; " : "") + faults[i];
        throw std::invalid_argument(message);
    }
    const Organization& o = config.organization;
    plain_ =
        config.mapping.hashes.empty() && is_power_of_two(o.bank_groups) && is_power_of_two(o.banks);
    std::array<std::uint64_t, kFields> weights;
    weights.fill(1);
    for (const MappingSlice& slice : config.mapping.slices) {
        if (slice.size == 1) continue;
        const auto field = static_cast<std::uint32_t>(slice.field);
        plain_ = plain_ && is_power_of_two(slice.size);
        steps_.push_back({slice.size, weights[field], field});
        weights[field] *= slice.size;
    }
    if (plain_) {
        // Field to member of Coordinates: stack id, bank group and bank make one number.
        constexpr std::array<std::uint8_t, kFields> kCoordinate = {0, 1, 2, 2, 2, 3, 4};
        std::array<std::uint32_t, kFields> base{};
        base[static_cast<std::size_t>(Field::bank_group)] = log2_of(o.banks);
        base[static_cast<std::size_t>(Field::stack_id)] = log2_of(o.banks) + log2_of(o.bank_groups);
        std::uint32_t shift = 0;
        for (const Step& step : steps_) {
            pieces_.push_back({static_cast<std::uint8_t>(shift),
                               static_cast<std::uint8_t>(base[step.field] + log2_of(step.weight)),
                               kCoordinate[step.field], static_cast<std::uint32_t>(step.size - 1)});
            shift += log2_of(step.size);
        }
        const auto rows_end =
            std::stable_partition(pieces_.begin(), pieces_.end(),
                                  [&](const Piece& piece) { return piece.coordinate < 4; });
        row_pieces_ = static_cast<std::size_t>(rows_end - pieces_.begin());
    }
    const auto counts = counts_of(config.organization);
    for (const MappingHash& hash : config.mapping.hashes) {
        const auto target = static_cast<std::size_t>(hash.target);
        hashes_.push_back({static_cast<std::uint32_t>(target),
                           static_cast<std::uint32_t>(hash.source), hash.shift,
                           static_cast<std::uint32_t>(counts[target] - 1)});
    }
}

Coordinates AddressMapping::decode_any(std::uint64_t unit) const {
    std::array<std::uint32_t, kFields> fields{};
    for (const Step& step : steps_) {
        fields[step.field] += static_cast<std::uint32_t>(unit % step.size * step.weight);
        unit /= step.size;
    }
    for (const HashStep& hash : hashes_) {
        fields[hash.target] ^= (fields[hash.source] >> hash.shift) & hash.mask;
    }
    const auto at = [&fields](Field f) { return fields[static_cast<std::size_t>(f)]; };
    Coordinates where;
    where.channel = at(Field::channel);
    where.pc = at(Field::pseudo_channel);
    where.bank =
        (at(Field::stack_id) * bank_groups_ + at(Field::bank_group)) * banks_ + at(Field::bank);
    where.row = at(Field::row);
    where.column = at(Field::column);
    return where;
}

}  // namespace npuvp::memory::dram
