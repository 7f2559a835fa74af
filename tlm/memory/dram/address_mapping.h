#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "memory/config.h"

namespace npuvp::memory::dram {

/// Where an access lives. Banks are numbered within their pseudo-channel: (stack id, bank group,
/// bank).
struct Coordinates {
    std::uint32_t channel = 0;
    std::uint32_t pc = 0;
    std::uint32_t bank = 0;
    std::uint32_t row = 0;
    std::uint32_t column = 0;
};

/// Splits the number of an access into coordinates as a `Mapping` says. Any counts are served as
/// long as the slices of a field multiply to its count; hashes need powers of two.
class AddressMapping {
  public:
    /// @throws std::invalid_argument naming every fault.
    explicit AddressMapping(const Config& config);

    Coordinates decode(std::uint64_t unit) const;

  private:
    struct Step {
        std::uint64_t size;
        std::uint64_t weight;  ///< of the slice within its field
        std::uint32_t shift;   ///< log2(size) where all sizes are powers of two
        std::uint32_t field;
    };
    struct HashStep {
        std::uint32_t target, source, shift, mask;
    };
    std::vector<Step> steps_;
    std::vector<HashStep> hashes_;
    bool powers_of_two_ = true;
    std::uint32_t bank_groups_;
    std::uint32_t banks_;
};

/// Faults of the mapping for this organisation, empty if it serves it.
std::vector<std::string> mapping_faults(const Organization& organization, const Mapping& mapping);

}  // namespace npuvp::memory::dram
