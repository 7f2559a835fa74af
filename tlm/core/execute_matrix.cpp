// Matrix instructions: products into the accumulators and their write-out to Vector SRAM.
#include <algorithm>

#include "core/core.h"
#include "numerics/bf16.h"
#include "numerics/gemm.h"

namespace npuvp::core {

using isa::Op;
using numerics::MatrixView;

/// A Matrix SRAM address: its tile, and where in it.
struct Core::TilePlace {
    std::uint64_t tile;
    std::uint64_t offset;  ///< elements
};

/// Operand rows of MLEN elements in Vector SRAM, operand_pitch_ elements apart.
struct Core::RowsPlace {
    std::uint64_t element;  ///< first one
    std::uint64_t first;    ///< Vector SRAM row
    std::uint64_t count;    ///< Vector SRAM rows
};

Core::TilePlace Core::tile_place(std::uint64_t address) const {
    const std::uint64_t elements = matrix_.size() / numerics::bytes_of(p_.matrix_format);
    if (address >= elements)
        throw Trap{"access outside Matrix SRAM", "element " + std::to_string(address) +
                                                     ", the SRAM has elements 0.." +
                                                     std::to_string(elements - 1)};
    return {address / (mlen_ * mlen_), address % (mlen_ * mlen_)};
}

Core::RowsPlace Core::operand_rows(std::uint64_t address, std::uint64_t count) const {
    const std::uint64_t align = std::min<std::uint64_t>(lanes_, mlen_);
    if (address % align != 0)
        throw Trap{"Vector SRAM address is not the start of a row",
                   "element address " + std::to_string(address) +
                       ", operand rows are multiples of " + std::to_string(align)};
    const std::uint64_t first = address >> lane_shift_;
    const std::uint64_t rows = count * (operand_pitch_ >> lane_shift_);
    if (first >= rows_ || rows > rows_ - first)
        throw Trap{"access outside Vector SRAM",
                   (rows == 1 ? "row " + std::to_string(first)
                              : "rows " + std::to_string(first) + ".." +
                                    std::to_string(first + rows - 1)) +
                       ", the SRAM has rows 0.." + std::to_string(rows_ - 1)};
    return {address, first, rows};
}

/// Heads of the batched forms: those that the accumulators hold, or what CSR head_len makes.
std::uint32_t Core::heads(std::uint32_t in_use) {
    const std::uint32_t length = head_length();
    if (length > mlen_ || mlen_ % length != 0)
        throw Trap{"head length does not divide MLEN",
                   "head_len = " + std::to_string(length) + ", MLEN = " + std::to_string(mlen_)};
    const auto count = static_cast<std::uint32_t>(mlen_ / length);
    if (in_use != 0 && in_use != count)
        throw Trap{"head length changed while the accumulators hold sums",
                   "sums of " + std::to_string(in_use) + " heads, head_len = " +
                       std::to_string(length) + " makes " + std::to_string(count)};
    return count;
}

/// A product of `rows` with Matrix SRAM rows [tile_first, tile_first + tile_count) of `tile`;
/// `compute(view of the rows, view of the tile)` runs in functional mode.
template <bool functional, typename Compute>
bool Core::product(const D& d, Accumulator to, const TilePlace& tile, const RowsPlace& rows,
                   std::uint64_t tile_first, std::uint64_t tile_count, Compute compute) {
    const std::uint64_t tile_row = tile.tile * mlen_ + tile_first;
    const bool busy = reads(Space::vector, rows.first, rows.count);
    if (reads(Space::matrix, tile_row, tile_count) || busy) return wait_for(Wait::dma_range);
    const auto unit = static_cast<int>(Class::matrix);
    const std::uint64_t issue =
        issue_at(d, rows_ready(rows.first, rows.count),
                 std::max(unit_free_[unit], matrix_timing_.product_from(to)));
    const Cost& cost = cost_[static_cast<std::size_t>(d.timing)];
    const MatrixTiming::Span span =
        matrix_timing_.product(to, issue, {cost.interval, cost.latency});
    unit_free_[unit] = span.free;
    stream_ = {rows.first, rows.count, tile_row, tile_count, ready_at(span.free, Class::matrix)};
    const std::uint64_t macs = matrix_shape_.macs(to);
    macs_ += macs;
    retire(d, issue, issue, span.done, span.done, macs * energy_.mac_fj);
    const Slot slot{issue, span.free};
    sram_energy(slot, rows.count, energy_.row_access_fj);
    sram_energy(slot, tile_count, energy_.matrix_row_fj);
    if constexpr (functional) {
        const std::uint64_t lane = numerics::bytes_of(p_.vector_format);
        const std::uint64_t size = numerics::bytes_of(p_.matrix_format);
        compute(
            MatrixView{p_.vector_format, vector_.data() + rows.element * lane, operand_pitch_, 1},
            MatrixView{p_.matrix_format, matrix_.data() + tile.tile * mlen_ * mlen_ * size, mlen_,
                       1});
    }
    ++pc_;
    return true;
}

namespace {

MatrixView transposed(const MatrixView& view) {
    return {view.format, view.data, view.column_stride, view.row_stride};
}

MatrixView from(const MatrixView& view, std::size_t row, std::size_t column) {
    const std::size_t elements = row * view.row_stride + column * view.column_stride;
    return {
        view.format,
        static_cast<const std::uint8_t*>(view.data) + elements * numerics::bytes_of(view.format),
        view.row_stride, view.column_stride};
}

/// c += scale * (a . b): the product is summed from 0, scaled and then added.
void scaled_gemm(std::size_t m, std::size_t n, std::size_t k, const MatrixView& a,
                 const MatrixView& b, float scale, float* c, std::vector<float>& product) {
    product.assign(m * n, 0.0f);
    numerics::gemm(m, n, k, a, b, product.data(), n);
    for (std::size_t i = 0; i < m * n; ++i) c[i] = numerics::canonical(c[i] + scale * product[i]);
}

}  // namespace

template <bool functional>
bool Core::execute_matrix(const D& d) {
    const std::uint32_t a = gp_[d.rs1];
    const std::uint32_t b = gp_[d.rs2];
    const auto blen = static_cast<std::uint64_t>(p_.blen);
    const auto misplaced = [](const TilePlace& tile, const std::string& allowed) {
        return Trap{"Matrix SRAM address has no such offset in its tile",
                    "offset " + std::to_string(tile.offset) + " in tile " +
                        std::to_string(tile.tile) + ", allowed: " + allowed};
    };
    // Offset of a head: a multiple of its length, below MLEN.
    const auto head_offset = [&](const TilePlace& tile, std::uint64_t length) {
        if (tile.offset >= mlen_ || tile.offset % length != 0)
            throw misplaced(tile, "multiples of the head length " + std::to_string(length) +
                                      " below " + std::to_string(mlen_));
        return tile.offset;
    };
    switch (d.op) {
        case Op::m_mm:
        case Op::m_tmm: {
            const bool transpose = d.op == Op::m_tmm;
            const TilePlace tile = tile_place(transpose ? b : a);
            const std::uint64_t k = tile.offset / mlen_;
            if (tile.offset % mlen_ != 0 || k % blen != 0)
                throw misplaced(tile, "k * " + std::to_string(mlen_) + " with k a multiple of " +
                                          std::to_string(blen) + " below " + std::to_string(mlen_));
            const std::uint64_t m = matrix_shape_.tile_rows();
            const RowsPlace rows = operand_rows(transpose ? a : b, m);
            return product<functional>(
                d, Accumulator::mm, tile, rows, transpose ? k : 0, transpose ? blen : mlen_,
                [&](const MatrixView& v, const MatrixView& t) {
                    numerics::gemm(m, blen, mlen_, v,
                                   transpose ? transposed(from(t, k, 0)) : from(t, 0, k),
                                   acc_mm_.data(), blen);
                });
        }
        case Op::m_mv:
        case Op::m_tmv: {
            const bool transpose = d.op == Op::m_tmv;
            const TilePlace tile = tile_place(a);
            if (transpose && tile.offset != 0) throw misplaced(tile, "0");
            if (tile.offset >= mlen_ || tile.offset % blen != 0)
                throw misplaced(tile, "multiples of " + std::to_string(blen) + " below " +
                                          std::to_string(mlen_));
            return product<functional>(
                d, Accumulator::mv, tile, operand_rows(b, 1), 0, transpose ? blen : mlen_,
                [&](const MatrixView& v, const MatrixView& t) {
                    numerics::gemm(1, blen, mlen_, v,
                                   transpose ? transposed(t) : from(t, 0, tile.offset),
                                   acc_mv_.data(), blen);
                });
        }
        case Op::m_bmm:
        case Op::m_btmm: {
            const bool transpose = d.op == Op::m_btmm;
            const std::uint32_t count = heads(acc_bmm_heads_);
            const std::uint64_t length = mlen_ / count;
            const TilePlace tile = tile_place(a);
            const std::uint64_t h = head_offset(tile, length);
            const bool done = product<functional>(
                d, Accumulator::bmm, tile, operand_rows(b, mlen_), transpose ? 0 : h,
                transpose ? mlen_ : length, [&](const MatrixView& v, const MatrixView& t) {
                    acc_bmm_.resize(count * mlen_ * mlen_);
                    const float scale = numerics::float_of_bits(csr(isa::Csr::bmm_scale));
                    for (std::uint64_t head = 0; head < count; ++head) {
                        // Heads are contiguous for M_BTMM and interleaved for M_BMM.
                        MatrixView rows = from(v, 0, transpose ? head * length : head);
                        if (!transpose) rows.column_stride = count;
                        scaled_gemm(mlen_, mlen_, length, rows,
                                    transpose ? transposed(from(t, 0, h)) : from(t, h, 0), scale,
                                    acc_bmm_.data() + head * mlen_ * mlen_, product_);
                    }
                });
            if (done) acc_bmm_heads_ = count;
            return done;
        }
        case Op::m_bmv:
        case Op::m_btmv: {
            const bool transpose = d.op == Op::m_btmv;
            const std::uint32_t count = heads(acc_bmv_heads_);
            const std::uint64_t length = mlen_ / count;
            if (!transpose && count > 1)
                throw Trap{"M_BMV with more than one head",
                           "MLEN " + std::to_string(mlen_) + " holds " + std::to_string(count) +
                               " heads of " + std::to_string(length) + "; M_BTMV takes them"};
            const TilePlace tile = tile_place(std::uint64_t{a} + gp_[d.rd]);
            const std::uint64_t h = head_offset(tile, length);
            const bool done = product<functional>(
                d, Accumulator::bmv, tile, operand_rows(b, 1), transpose ? 0 : h,
                transpose ? mlen_ : length, [&](const MatrixView& v, const MatrixView& t) {
                    acc_bmv_.resize(count * mlen_);
                    const float scale = numerics::float_of_bits(csr(isa::Csr::bmm_scale));
                    for (std::uint64_t head = 0; head < count; ++head)
                        scaled_gemm(1, mlen_, length, from(v, 0, head * length),
                                    transpose ? transposed(from(t, 0, h)) : from(t, h, 0), scale,
                                    acc_bmv_.data() + head * mlen_, product_);
                });
            if (done) acc_bmv_heads_ = count;
            return done;
        }
        default:
            return execute_writeout<functional>(d);
    }
}

/// Pieces of the accumulators to Vector SRAM, then the accumulators are clear. The write-out waits
/// in the matrix unit's queue for the sums, so the core goes on.
template <bool functional>
bool Core::execute_writeout(const D& d) {
    const auto blen = static_cast<std::uint64_t>(p_.blen);
    const std::uint64_t address = std::uint64_t{gp_[d.rd]} + static_cast<std::uint32_t>(d.imm);
    Accumulator from = Accumulator::mm;
    std::uint64_t pieces = 1;
    std::uint64_t length = blen;          // of a piece, in elements
    std::uint64_t step = operand_pitch_;  // between pieces
    std::uint64_t head = mlen_;           // products per sum
    std::vector<float>* sums = nullptr;
    switch (d.op) {
        case Op::m_mm_wo:
            pieces = matrix_shape_.tile_rows();
            if (d.rs1 != 0) step *= gp_[d.rs1];
            sums = &acc_mm_;
            break;
        case Op::m_mv_wo:
            from = Accumulator::mv;
            sums = &acc_mv_;
            break;
        case Op::m_bmm_wo: {
            from = Accumulator::bmm;
            const std::uint32_t count = acc_bmm_heads_ ? acc_bmm_heads_ : heads(0);
            head = mlen_ / count;
            pieces = count * mlen_;
            length = mlen_;
            sums = &acc_bmm_;
            break;
        }
        default: {  // M_BMV_WO
            from = Accumulator::bmv;
            const std::uint32_t count = acc_bmv_heads_ ? acc_bmv_heads_ : heads(0);
            head = mlen_ / count;
            pieces = count;
            length = mlen_;
            sums = &acc_bmv_;
            break;
        }
    }
    const bool batched = from == Accumulator::bmm || from == Accumulator::bmv;
    const std::uint64_t align = batched ? std::min<std::uint64_t>(lanes_, mlen_) : blen;
    if (address % align != 0)
        throw Trap{"write-out address is not aligned",
                   "element address " + std::to_string(address) + ", allowed: multiples of " +
                       std::to_string(align)};
    const std::uint64_t end = address + (pieces - 1) * step + length;
    if (end > rows_ << lane_shift_)
        throw Trap{"access outside Vector SRAM",
                   "rows " + std::to_string(address >> lane_shift_) + ".." +
                       std::to_string((end - 1) >> lane_shift_) + ", the SRAM has rows 0.." +
                       std::to_string(rows_ - 1)};
    const auto each = [&](auto visit) {  // (first row, rows) of every piece
        for (std::uint64_t i = 0; i < pieces; ++i) {
            const std::uint64_t element = address + i * step;
            const std::uint64_t first = element >> lane_shift_;
            visit(first, ((element + length - 1) >> lane_shift_) - first + 1);
        }
    };
    Ready ready = ready_at(matrix_timing_.writeout_from(), Class::matrix);
    bool busy = false;
    each([&](std::uint64_t first, std::uint64_t count) {
        ready = std::max(ready, rows_free_for_writeout(first, count));
        busy = writes(Space::vector, first, count) || busy;
    });
    if (busy) return wait_for(Wait::dma_range);
    const std::uint64_t issue = issue_at(d, ready, 0);
    const Cost& cost = cost_[static_cast<std::size_t>(d.timing)];
    const MatrixTiming::Span span =
        matrix_timing_.writeout(from, issue, {cost.interval, cost.latency}, head);
    retire(d, issue, span.begin, span.free, span.done,
           energy_.operation_fj[static_cast<std::size_t>(d.timing)]);
    std::uint64_t rows = 0;
    each([&](std::uint64_t first, std::uint64_t count) {
        mark_rows(first, count, ready_at(span.done, Class::matrix));
        rows += count;
    });
    sram_energy({issue, span.done}, rows, energy_.row_access_fj);
    if constexpr (functional) {
        const std::uint64_t lane = numerics::bytes_of(p_.vector_format);
        sums->resize(pieces * length);  // the batched ones are empty until they are used
        for (std::uint64_t i = 0; i < pieces; ++i)
            kernels_.from_float(vector_.data() + (address + i * step) * lane,
                                sums->data() + i * length, length);
        std::fill(sums->begin(), sums->end(), 0.0f);
    }
    if (from == Accumulator::bmm) acc_bmm_heads_ = 0;
    if (from == Accumulator::bmv) acc_bmv_heads_ = 0;
    ++pc_;
    return true;
}

template bool Core::execute_matrix<true>(const D&);
template bool Core::execute_matrix<false>(const D&);

}  // namespace npuvp::core
