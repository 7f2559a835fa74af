#include "core/matrix_timing.h"

#include <algorithm>

namespace npuvp::core {

namespace {

std::uint64_t log2_of(std::uint64_t power_of_two) {
    std::uint64_t log = 0;
    while ((1ull << log) < power_of_two) ++log;
    return log;
}

}  // namespace

std::uint64_t MatrixShape::macs(Accumulator by) const {
    switch (by) {
        case Accumulator::mm:
            return tile_rows() * blen * mlen;
        case Accumulator::bmm:  // C heads, MLEN x MLEN sums of MLEN / C products
            return mlen * mlen * mlen;
        case Accumulator::mv:
            return blen * mlen;
        case Accumulator::bmv:
            break;
    }
    return mlen * mlen;
}

MatrixTiming::MatrixTiming(const MatrixShape& shape, bool geometry)
    : shape_(shape), geometry_(geometry) {}

std::uint64_t MatrixTiming::product_from(Accumulator to) const {
    const bool follows = accumulating_ && current_ == to;
    if (follows) return stream_free_;
    if (geometry_ && shape_.accumulators > 1 && !accumulating_)
        return std::max(stream_free_, writeout_before_);
    return std::max(array_done_, writeout_began_);
}

MatrixTiming::Span MatrixTiming::product(Accumulator to, std::uint64_t begin, const Entry& entry) {
    std::uint64_t stream = entry.interval;
    std::uint64_t done = begin + std::max(entry.interval, entry.latency);
    std::uint64_t array_done = begin + entry.interval;
    if (geometry_) {
        // One active row (vector operands) fills blen columns of multipliers per sub-array.
        const bool one_row = to == Accumulator::mv || to == Accumulator::bmv;
        const std::uint64_t multipliers = shape_.mlen * (one_row ? 1 : shape_.tile_rows());
        std::uint64_t cycles = std::max<std::uint64_t>(1, shape_.macs(to) / multipliers);
        stream += cycles;
        const std::uint64_t skew = (one_row ? 1 : 2) * (shape_.blen - 1);
        array_done = begin + stream + skew;
        done = array_done + entry.latency;
    }
    if (begin > array_done_) {
        busy_ = busy_cycles();
        stretch_begin_ = begin;
    }
    accumulating_ = true;
    current_ = to;
    stream_free_ = begin + stream;
    array_done_ = std::max(array_done_, array_done);
    sums_done(to) = done;
    return {begin, begin + stream, done};
}

MatrixTiming::Span MatrixTiming::writeout(Accumulator from, std::uint64_t cycle, const Entry& entry,
                                          std::uint64_t head_length) {
    const std::uint64_t begin = std::max({cycle, sums_done(from), port_free_});
    std::uint64_t done = begin + entry.latency;
    std::uint64_t port = entry.interval;
    if (geometry_) {
        const bool batched = from == Accumulator::bmm || from == Accumulator::bmv;
        const std::uint64_t products = batched ? head_length : shape_.mlen;
        const std::uint64_t heads = shape_.mlen / head_length;
        std::uint64_t rows = 1;
        if (from == Accumulator::mm) rows = shape_.tile_rows();
        if (from == Accumulator::bmm) rows = heads * shape_.mlen;
        if (from == Accumulator::bmv) rows = heads;
        const std::uint64_t length = batched ? shape_.mlen : shape_.blen;
        rows *= std::max<std::uint64_t>(1, length / shape_.vlen);
        const std::uint64_t tree = products > shape_.blen ? log2_of(products / shape_.blen) : 0;
        done += tree + rows;
        port = std::max(port, rows);
    }
    if (accumulating_ && current_ == from) accumulating_ = false;
    writeout_before_ = writeout_began_;
    writeout_began_ = begin;
    port_free_ = begin + port;
    return {begin, begin + port, done};
}

std::uint64_t MatrixTiming::busy_cycles() const {
    const std::uint64_t stretch = array_done_ - stretch_begin_;
    return busy_ + (geometry_ && stretch > 0 ? stretch - 1 : stretch);
}

}  // namespace npuvp::core
