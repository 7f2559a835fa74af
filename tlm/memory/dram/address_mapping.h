#pragma once

#include <array>
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
        Coordinates where = locate(unit);
        if (plain_) where.column = gather(column_, unit);
        return where;
    }
    /// The same, with a column only where it costs nothing: timing does not depend on it.
    Coordinates locate(std::uint64_t unit) const {
        if (!plain_) return decode_any(unit);
        return {extract(channel_, unit), extract(pc_, unit), gather(bank_, unit),
                extract(row_, unit), 0};
    }
    /// The channel alone.
    std::uint32_t channel(std::uint64_t unit) const {
        return plain_ ? extract(channel_, unit) : decode_any(unit).channel;
    }

    /// Goes over the accesses of one channel in order of address.
    class Walk {
      public:
        Walk(const AddressMapping& mapping, std::uint64_t unit)
            : mapping_(mapping),
              unit_(unit),
              channel_(mapping.channel(unit)),
              channel_bits_(std::uint64_t{mapping.channel_.mask} << mapping.channel_.shift),
              own_bits_(unit & channel_bits_) {}

        std::uint64_t unit() const { return unit_; }
        std::uint32_t channel() const { return channel_; }
        /// As `locate`.
        Coordinates where() {
            if (!mapping_.plain_) return mapping_.decode_any(unit_);
            // Every bit of the number goes to a place of its own, so the parts can be put together.
            if (unit_ >> kLowBits != block_) {
                block_ = unit_ >> kLowBits;
                high_ = pack(mapping_.locate(block_ << kLowBits));
            }
            const std::uint64_t packed = high_ | mapping_.low_[unit_ & (kLowUnits - 1)];
            return {channel_, static_cast<std::uint32_t>(packed >> 40),
                    static_cast<std::uint32_t>(packed >> 32 & 0xFF),
                    static_cast<std::uint32_t>(packed), 0};
        }
        /// To the next access, if there is one up to `last`; else to any after `last`.
        void next(std::uint64_t last) {
            ++unit_;
            if (!mapping_.plain_) {
                while (unit_ <= last && mapping_.decode_any(unit_).channel != channel_) ++unit_;
                return;
            }
            // Behind the block of this channel: over those of all others.
            if ((unit_ & channel_bits_) != own_bits_) unit_ += channel_bits_;
        }

      private:
        const AddressMapping& mapping_;
        std::uint64_t unit_;
        std::uint32_t channel_;
        std::uint64_t channel_bits_, own_bits_;    ///< where the channel stands in a number
        std::uint64_t block_ = ~std::uint64_t{0};  ///< whose coordinates `high_` are
        std::uint64_t high_ = 0;
    };

  private:
    /// A run of address bits and where it goes.
    struct Piece {
        std::uint32_t mask = 0;
        std::uint8_t shift = 0;
        std::uint8_t left = 0;
    };
    static constexpr std::size_t kPieces = 3;
    static constexpr std::uint32_t kLowBits = 8;
    static constexpr std::uint64_t kLowUnits = std::uint64_t{1} << kLowBits;
    using Pieces = std::array<Piece, kPieces>;
    struct Step {
        std::uint64_t size;
        std::uint64_t weight;  ///< of the slice within its field
        std::uint32_t field;
    };
    struct HashStep {
        std::uint32_t target, source, shift, mask;
    };

    static std::uint32_t extract(const Piece& piece, std::uint64_t unit) {
        return static_cast<std::uint32_t>(unit >> piece.shift & piece.mask) << piece.left;
    }
    static std::uint32_t gather(const Pieces& pieces, std::uint64_t unit) {
        return extract(pieces[0], unit) | extract(pieces[1], unit) | extract(pieces[2], unit);
    }
    Coordinates decode_any(std::uint64_t unit) const;
    /// Row, bank and pseudo-channel in one word.
    static std::uint64_t pack(const Coordinates& where) {
        return where.row | std::uint64_t{where.bank} << 32 | std::uint64_t{where.pc} << 40;
    }

    /// Powers of two without hashes, in few enough slices: the pieces say it all.
    bool plain_ = true;
    Piece channel_, pc_, row_;
    Pieces bank_, column_;
    std::array<std::uint64_t, kLowUnits> low_ = {};  ///< of the first accesses, packed
    std::vector<Step> steps_;
    std::vector<HashStep> hashes_;
    std::uint32_t bank_groups_;
    std::uint32_t banks_;
};

/// Faults of the mapping for this organisation, empty if it serves it.
std::vector<std::string> mapping_faults(const Organization& organization, const Mapping& mapping);

}  // namespace npuvp::memory::dram
