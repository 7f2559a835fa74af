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

    Coordinates decode(std::uint64_t unit) const {
        return plain_ ? gather(unit, pieces_.size()) : decode_any(unit);
    }
    /// The same without the column, which timing does not depend on.
    Coordinates locate(std::uint64_t unit) const {
        return plain_ ? gather(unit, row_pieces_) : decode_any(unit);
    }

  private:
    /// A run of address bits and where it goes, for counts that are powers of two.
    struct Piece {
        std::uint8_t shift;
        std::uint8_t left;
        std::uint8_t coordinate;  ///< as in `Coordinates`
        std::uint32_t mask;
    };
    struct Step {
        std::uint64_t size;
        std::uint64_t weight;  ///< of the slice within its field
        std::uint32_t field;
    };
    struct HashStep {
        std::uint32_t target, source, shift, mask;
    };

    Coordinates gather(std::uint64_t unit, std::size_t count) const {
        std::uint32_t value[5] = {};
        for (std::size_t i = 0; i < count; ++i) {
            const Piece& piece = pieces_[i];
            value[piece.coordinate] |= static_cast<std::uint32_t>(unit >> piece.shift & piece.mask)
                                       << piece.left;
        }
        return {value[0], value[1], value[2], value[3], value[4]};
    }

    Coordinates decode_any(std::uint64_t unit) const;

    bool plain_ = true;           ///< powers of two without hashes: the pieces say it all
    std::vector<Piece> pieces_;   ///< those of the column last
    std::size_t row_pieces_ = 0;  ///< all but those
    std::vector<Step> steps_;
    std::vector<HashStep> hashes_;
    std::uint32_t bank_groups_;
    std::uint32_t banks_;
};

/// Faults of the mapping for this organisation, empty if it serves it.
std::vector<std::string> mapping_faults(const Organization& organization, const Mapping& mapping);

}  // namespace npuvp::memory::dram
