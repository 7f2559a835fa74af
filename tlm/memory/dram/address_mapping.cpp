#include "memory/dram/address_mapping.h"

#include <array>
#include <initializer_list>
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
    std::array<std::vector<Piece>, kFields> pieces;
    std::uint32_t shift = 0;
    for (const Step& step : steps_) {
        // Stack id, bank group and bank make one number.
        std::uint32_t left = log2_of(step.weight);
        if (step.field <= static_cast<std::uint32_t>(Field::bank_group) &&
            step.field >= static_cast<std::uint32_t>(Field::stack_id)) {
            left += log2_of(o.banks);
        }
        if (step.field == static_cast<std::uint32_t>(Field::stack_id))
            left += log2_of(o.bank_groups);
        pieces[step.field].push_back({static_cast<std::uint32_t>(step.size - 1),
                                      static_cast<std::uint8_t>(shift),
                                      static_cast<std::uint8_t>(left)});
        shift += log2_of(step.size);
    }
    const auto fill = [&](Piece* into, std::size_t room, std::initializer_list<Field> fields) {
        std::size_t used = 0;
        for (const Field field : fields) {
            for (const Piece& piece : pieces[static_cast<std::size_t>(field)]) {
                if (used < room) into[used] = piece;
                ++used;
            }
        }
        plain_ = plain_ && used <= room;
    };
    fill(&channel_, 1, {Field::channel});
    fill(&pc_, 1, {Field::pseudo_channel});
    fill(&row_, 1, {Field::row});
    fill(bank_.data(), kPieces, {Field::stack_id, Field::bank_group, Field::bank});
    fill(column_.data(), kPieces, {Field::column});
    if (plain_) {
        for (std::uint64_t unit = 0; unit < kLowUnits; ++unit) low_[unit] = pack(locate(unit));
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
