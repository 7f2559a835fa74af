#pragma once

#include <array>
#include <cstdint>

namespace npuvp::core {

/// What the matrix instructions accumulate into.
enum class Accumulator : std::uint8_t { mm, bmm, mv, bmv };

/// Flattened systolic array: mlen / blen sub-arrays of blen x blen multipliers side by side, `rows`
/// such rows of them. Each sub-array takes blen of the mlen products of a sum.
struct MatrixShape {
    std::uint64_t vlen;
    std::uint64_t mlen;
    std::uint64_t blen;
    std::uint64_t rows;
    std::uint64_t accumulators = 1;  ///< sets of them: 1 or 2

    std::uint64_t tile_rows() const { return blen * rows; }  ///< of an output tile of M_MM
    /// Multiply-accumulates of one instruction.
    std::uint64_t macs(Accumulator by) const;
};

/// When the array takes operands, has its sums and hands them over. Plain arithmetic on cycles; the
/// core asks when an instruction may begin, and says when it did.
///
/// An output tile's products stream one after the other (M_MM: blen cycles each) and go on
/// accumulating in place. The operands enter skewed, so the last multiplier works 2 blen - 2 cycles
/// longer than the first one (fill and drain; blen - 1 where one row alone is active). Then the
/// write-out takes the accumulators over and the array is free for the next tile; the partial sums
/// of the sub-arrays meet in an adder tree of depth log2(mlen / blen), and rows go to Vector SRAM
/// one per cycle, beside the next tile. With two sets of accumulators the operands of a tile whose
/// predecessor's write-out is queued follow those of the predecessor at once: every multiplier
/// turns to the other set when the new tile's wave reaches it, and drain is hidden behind it.
class MatrixTiming {
  public:
    struct Entry {
        std::uint64_t interval;
        std::uint64_t latency;
    };
    /// Cycles [begin, free) for which operands stream; the sums are there at `done`.
    struct Span {
        std::uint64_t begin;
        std::uint64_t free;
        std::uint64_t done;
    };

    /// `geometry`: as above, entries of the timing table on top; else the entries alone.
    MatrixTiming(const MatrixShape& shape, bool geometry);

    /// The first cycle from which a product into `to` may begin.
    std::uint64_t product_from(Accumulator to) const;
    Span product(Accumulator to, std::uint64_t begin, const Entry& entry);

    /// The first cycle in which a write-out can be taken into the queue, which holds one.
    std::uint64_t writeout_from() const { return writeout_began_; }
    /// A write-out of `from` that the queue takes at `cycle`: begins as soon as the sums are there
    /// and the one before it has left. `head_length`: products per sum of the batched forms.
    Span writeout(Accumulator from, std::uint64_t cycle, const Entry& entry,
                  std::uint64_t head_length);

    /// Clock periods from the first multiply-accumulate to the last, summed over the stretches in
    /// which the array is never free (n cycles in a row have n - 1 periods between the first and
    /// the last: the count that SCALE-Sim reports). Of a timing table: its intervals.
    std::uint64_t busy_cycles() const;

  private:
    std::uint64_t& sums_done(Accumulator of) { return done_[static_cast<std::size_t>(of)]; }

    MatrixShape shape_;
    bool geometry_;
    bool accumulating_ = false;  ///< sums in the array that no write-out has claimed, of:
    Accumulator current_ = Accumulator::mm;
    std::uint64_t stream_free_ = 0;        ///< operands may follow those of the same tile
    std::uint64_t array_done_ = 0;         ///< last multiply-accumulate
    std::array<std::uint64_t, 4> done_{};  ///< by accumulator: its sums are there
    std::uint64_t writeout_began_ = 0;     ///< of the last write-out: it took the sums over
    std::uint64_t writeout_before_ = 0;    ///< of the one before it
    std::uint64_t port_free_ = 0;          ///< rows of the last write-out are written
    std::uint64_t stretch_begin_ = 0;      ///< of the current stretch
    std::uint64_t busy_ = 0;               ///< of earlier stretches
};

}  // namespace npuvp::core
