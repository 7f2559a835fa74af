#include <algorithm>
#include <array>
#include <cstring>
#include <stdexcept>

#include "core/core.h"
#include "numerics/bf16.h"
#include "numerics/philox.h"
#include "numerics/rows.h"
#include "numerics/scalar.h"
#include "numerics/topk.h"

namespace npuvp::core {

using isa::Op;

std::uint64_t Core::vector_row(std::uint32_t address, std::uint64_t rows) const {
    if (address & (lanes_ - 1))
        throw Trap{"Vector SRAM address is not the start of a row",
                   "element address " + std::to_string(address) + ", rows are multiples of " +
                       std::to_string(lanes_)};
    const std::uint64_t first = address >> lane_shift_;
    if (first >= rows_ || rows > rows_ - first)
        throw Trap{"access outside Vector SRAM",
                   (rows == 1 ? "row " + std::to_string(first)
                              : "rows " + std::to_string(first) + ".." +
                                    std::to_string(first + rows - 1)) +
                       ", the SRAM has rows 0.." + std::to_string(rows_ - 1)};
    return first;
}

Ready Core::rows_ready(std::uint64_t first, std::uint64_t count) const {
    Ready ready = 0;
    for (std::uint64_t i = first; i < first + count; ++i) ready = std::max(ready, row_ready_[i]);
    return ready;
}

Ready Core::rows_free(std::uint64_t first, std::uint64_t count) const {
    const Ready ready = rows_ready(first, count);
    const bool streams = first < stream_.first + stream_.count && stream_.first < first + count;
    return streams ? std::max(ready, stream_.until) : ready;
}

Ready Core::rows_free_for_writeout(std::uint64_t first, std::uint64_t count) const {
    Ready ready = 0;
    for (std::uint64_t i = first; i < first + count; ++i)
        if (class_of(row_ready_[i]) != Class::matrix) ready = std::max(ready, row_ready_[i]);
    const bool streams = first < stream_.first + stream_.count && stream_.first < first + count;
    return streams ? std::max(ready, stream_.until) : ready;
}

void Core::mark_rows(std::uint64_t first, std::uint64_t count, Ready ready) {
    for (std::uint64_t i = first; i < first + count; ++i) row_ready_[i] = ready;
}

Ready Core::words_ready(Space space, std::uint64_t first, std::uint64_t count) const {
    const LazyArray<Ready>& words = space == Space::fp ? fp_word_ready_ : int_word_ready_;
    Ready ready = 0;
    for (std::uint64_t i = first; i < first + count; ++i) ready = std::max(ready, words[i]);
    return ready;
}

void Core::mark_words(Space space, std::uint64_t first, std::uint64_t count, Ready ready) {
    LazyArray<Ready>& words = space == Space::fp ? fp_word_ready_ : int_word_ready_;
    for (std::uint64_t i = first; i < first + count; ++i) words[i] = ready;
}

bool Core::reads(Space space, std::uint64_t first, std::uint64_t count) {
    if (check_written_) check_written(space, first, count);
    return !dma.idle() && dma.conflicts(space, first, count, false);
}

bool Core::writes(Space space, std::uint64_t first, std::uint64_t count) {
    if (check_written_) note_written(space, first, count);
    if (results_) note_change(space, first, count);
    return !dma.idle() && dma.conflicts(space, first, count, true);
}

void Core::note_written(Space space, std::uint64_t first, std::uint64_t count) {
    LazyArray<std::uint64_t>& bits = written_[static_cast<std::size_t>(space)];
    for (std::uint64_t i = first; i < first + count; ++i) bits[i / 64] |= 1ull << (i % 64);
}

void Core::check_written(Space space, std::uint64_t first, std::uint64_t count) const {
    constexpr const char* names[] = {"Vector SRAM row ", "Matrix SRAM row ", "FP SRAM word ",
                                     "INT SRAM word "};
    const auto index = static_cast<std::size_t>(space);
    const LazyArray<std::uint64_t>& bits = written_[index];
    for (std::uint64_t i = first; i < first + count; ++i)
        if (!((bits[i / 64] >> (i % 64)) & 1u))
            throw Trap{"read of what nothing has written", names[index] + std::to_string(i)};
}

void Core::sram_energy(const Slot& slot, std::uint64_t rows, std::uint64_t fj_per_row) {
    hub_.energy(sram_source_, ps(slot.issue), ps(std::max(slot.done, slot.issue + 1)),
                rows * fj_per_row);
}

template <bool functional>
bool Core::execute_vector(const D& d) {
    const std::uint32_t a = gp_[d.rs1];
    const std::uint32_t b = gp_[d.rs2];
    numerics::LaneMask lanes{csr_[static_cast<int>(isa::Csr::v_mask)], head_length()};
    const numerics::LaneMask* mask = d.rs3 ? &lanes : nullptr;

    auto sram = [&](const Slot& slot, std::uint64_t rows) {
        sram_energy(slot, rows, energy_.row_access_fj);
    };
    // Row of the result from `sources` rows; `compute(row of result)` runs in functional mode.
    auto map = [&](std::uint64_t to, std::initializer_list<std::uint64_t> from, auto compute,
                   std::uint64_t elements = 0) {
        Ready ready = row_free(to);
        bool busy = false;
        for (std::uint64_t source : from) {
            ready = std::max(ready, row_ready_[source]);
            busy = reads(Space::vector, source) || busy;
        }
        if (writes(Space::vector, to) || busy) return wait_for(Wait::dma_range);
        const Slot slot = schedule(d, ready, elements);
        row_ready_[to] = ready_at(slot.done, Class::vector);
        sram(slot, 1 + from.size());
        if constexpr (functional) compute(row(to));
        ++pc_;
        return true;
    };
    auto vv = [&](auto kernel) {
        const std::uint64_t to = vector_row(gp_[d.rd]);
        const std::uint64_t x = vector_row(a);
        const std::uint64_t y = vector_row(b);
        return map(to, {x, y}, [&](void* out) { kernel(out, row(x), row(y), lanes_, mask); });
    };
    auto vf = [&](auto kernel) {
        const std::uint64_t to = vector_row(gp_[d.rd]);
        const std::uint64_t x = vector_row(a);
        return map(to, {x}, [&](void* out) { kernel(out, row(x), fp_[d.rs2], lanes_, mask); });
    };
    auto v = [&](auto kernel) {
        const std::uint64_t to = vector_row(gp_[d.rd]);
        const std::uint64_t x = vector_row(a);
        return map(to, {x}, [&](void* out) { kernel(out, row(x), lanes_, mask); });
    };
    auto reduce = [&](auto kernel, const numerics::LaneMask* enabled) {
        const std::uint64_t x = vector_row(a);
        if (reads(Space::vector, x)) return wait_for(Wait::dma_range);
        const Slot slot = schedule(d, row_ready_[x], 0, d.rd == 0);
        if (d.rd) sram(slot, 1);
        write_fp(d.rd, functional ? round_fp(kernel(row(x), lanes_, fp_[d.rd], enabled)) : 0.0f,
                 slot, Class::vector);
        ++pc_;
        return true;
    };
    using R = numerics::Relation;
    auto relation = [&](unsigned condition) -> R {
        switch (static_cast<isa::Condition>(condition)) {
            case isa::Condition::lt:
                return R::lt;
            case isa::Condition::le:
                return R::le;
            case isa::Condition::gt:
                return R::gt;
            case isa::Condition::ge:
                return R::ge;
            default:
                return R::eq;
        }
    };
    const auto& k = kernels_;
    switch (d.op) {
        case Op::v_add_vv:
            return vv(k.add_vv);
        case Op::v_sub_vv:
            return vv(k.sub_vv);
        case Op::v_mul_vv:
            return vv(k.mul_vv);
        case Op::v_max_vv:
            return vv(k.max_vv);
        case Op::v_min_vv:
            return vv(k.min_vv);
        case Op::v_add_vf:
            return vf(k.add_vf);
        case Op::v_sub_vf:
            return vf(d.f1 ? k.rsub_vf : k.sub_vf);
        case Op::v_mul_vf:
            return vf(k.mul_vf);
        case Op::v_max_vf:
            return vf(k.max_vf);
        case Op::v_min_vf:
            return vf(k.min_vf);
        case Op::v_exp_v:
            return v(k.exp);
        case Op::v_reci_v:
            return v(k.reciprocal);
        case Op::v_log_v:
            return v(k.log);
        case Op::v_abs_v:
            return v(k.abs);
        case Op::v_pow2_v:
            return v(k.floor_power_of_two);
        case Op::v_red_sum:
            if (mask) {  // every enabled head counts HLEN times (PLENA)
                return reduce(
                    [&](const void* x, std::size_t n, float f, const numerics::LaneMask* enabled) {
                        const float part = k.sum(x, n, 0.0f, enabled);
                        return numerics::add(f, numerics::mul(part, head_length()));
                    },
                    mask);
            }
            return reduce(k.sum, nullptr);
        case Op::v_red_max:
            return reduce(k.max, nullptr);
        case Op::v_red_sum_m:
            return reduce(k.sum, mask);
        case Op::v_red_max_m:
            return reduce(k.max, mask);
        case Op::v_cmp_vv:
        case Op::v_cmp_vf: {
            const std::uint64_t to = vector_row(gp_[d.rd]);
            const std::uint64_t x = vector_row(a);
            const auto index = static_cast<std::size_t>(relation(d.rs3));
            const bool negate = static_cast<isa::Condition>(d.rs3) == isa::Condition::ne;
            const std::uint64_t y = d.op == Op::v_cmp_vv ? vector_row(b) : x;
            auto compute = [&](void* out) {
                if (d.op == Op::v_cmp_vv)
                    k.compare_vv[index](out, row(x), row(y), lanes_, nullptr);
                else
                    k.compare_vf[index](out, row(x), fp_[d.rs2], lanes_, nullptr);
                if (negate) k.rsub_vf(out, out, 1.0f, lanes_, nullptr);
            };
            return d.op == Op::v_cmp_vv ? map(to, {x, y}, compute) : map(to, {x}, compute);
        }
        case Op::v_shft_v: {
            const std::uint64_t to = vector_row(gp_[d.rd]);
            const std::uint64_t x = vector_row(a);
            return map(to, {x}, [&](void* out) {
                k.shift(out, row(x), lanes_, std::min<std::size_t>(b, lanes_));
            });
        }
        case Op::v_silu_v: {
            const std::uint64_t to = vector_row(gp_[d.rd]);
            const std::uint64_t x = vector_row(a);
            return map(to, {x}, [&](void* out) {
                gate_.resize(row_bytes_);
                void* e = gate_.data();
                k.mul_vf(e, row(x), -1.0f, lanes_, nullptr);
                k.exp(e, e, lanes_, nullptr);
                k.add_vf(e, e, 1.0f, lanes_, nullptr);
                k.reciprocal(e, e, lanes_, nullptr);
                k.mul_vv(out, row(x), e, lanes_, nullptr);
            });
        }
        case Op::v_swap_v: {
            const std::uint64_t to = vector_row(gp_[d.rd]);
            const std::uint64_t x = vector_row(a);
            const std::uint32_t length = gp_[d.rs3];
            if (length == 0 || lanes_ % length != 0 || b > length / 2)
                throw Trap{"lanes of a head cannot change places",
                           std::to_string(b) + " and " + std::to_string(b) + " of " +
                               std::to_string(length) + " lanes, VLEN = " + std::to_string(lanes_)};
            return map(to, {x}, [&](void* out) {
                if (to != x) std::memcpy(out, row(x), row_bytes_);
                const std::uint64_t lane = row_bytes_ / lanes_;
                auto* bytes = static_cast<std::uint8_t*>(out);
                for (std::uint64_t head = 0; head < row_bytes_; head += length * lane)
                    std::swap_ranges(bytes + head, bytes + head + b * lane,
                                     bytes + head + b * lane);
            });
        }
        case Op::v_select_vvm: {
            const std::uint64_t to = vector_row(gp_[d.rd]);
            const std::uint64_t x = vector_row(a);
            const std::uint64_t y = vector_row(b);
            const std::uint64_t m = vector_row(gp_[d.rs3]);
            return map(to, {x, y, m},
                       [&](void* out) { k.select(out, row(m), row(x), row(y), lanes_); });
        }
        case Op::v_red_max_idx: {
            const std::uint64_t x = vector_row(a);
            if (reads(Space::vector, x)) return wait_for(Wait::dma_range);
            const Slot slot = schedule(d, row_ready_[x]);
            sram(slot, 1);
            if (d.rd != 0) {  // gp0 as the index makes it a no-op (d-PLENA)
                std::uint32_t index = gp_[d.rd];
                float best = fp_[d.rs3];
                std::uint32_t lane = 0;
                if (functional && k.max_index(row(x), lanes_, nullptr, best, lane)) {
                    index = b + lane;
                    best = round_fp(best);
                }
                write_gp(d, d.rd, index, slot, true);
                write_fp(d.rs3, best, slot, Class::vector);
            }
            ++pc_;
            return true;
        }
        default:
            return execute_sampling<functional>(d);
    }
}

/// Instructions whose cost goes with a number of elements: top-k, masks, maps and selects.
template <bool functional>
bool Core::execute_sampling(const D& d) {
    const std::uint32_t a = gp_[d.rs1];
    const std::uint32_t b = gp_[d.rs2];
    const auto& k = kernels_;
    auto sram = [&](const Slot& slot, std::uint64_t rows) {
        sram_energy(slot, rows, energy_.row_access_fj);
    };
    auto row_length = [&](std::uint32_t n) -> std::uint32_t {
        if (n > lanes_)
            throw Trap{"more elements than a row has",
                       std::to_string(n) + ", allowed: 0.." + std::to_string(lanes_)};
        return n;
    };
    // Operand registers that hold a length: gp0 stands for a whole row.
    auto length = [&](unsigned reg) { return reg == 0 ? lanes_ : gp_[reg]; };
    auto rows_for = [&](std::uint32_t n) {
        return std::max<std::uint64_t>(1, (std::uint64_t{n} + lanes_ - 1) / lanes_);
    };
    // Result rows [to, to + rows) from a mask computed lane by lane into float32.
    auto write_mask = [&](std::uint64_t to, std::uint64_t rows, const std::vector<float>& lanes) {
        for (std::uint64_t i = 0; i < rows; ++i)
            k.from_float(row(to + i), lanes.data() + i * lanes_, lanes_);
    };
    auto read_lanes = [&](std::uint64_t from, std::uint64_t rows) {
        std::vector<float> lanes(rows * lanes_);
        for (std::uint64_t i = 0; i < rows; ++i)
            k.to_float(lanes.data() + i * lanes_, row(from + i), lanes_);
        return lanes;
    };
    switch (d.op) {
        case Op::v_topk_mask: {
            const std::uint32_t n = row_length(length(d.f1));
            const std::uint64_t to = vector_row(gp_[d.rd]);
            const std::uint64_t conf = vector_row(a);
            const std::uint64_t candidates = vector_row(b);
            if (reads(Space::vector, conf) || reads(Space::vector, candidates) ||
                writes(Space::vector, to))
                return wait_for(Wait::dma_range);
            const Slot slot =
                schedule(d, std::max({row_free(to), row_ready_[conf], row_ready_[candidates]}), n);
            row_ready_[to] = ready_at(slot.done, Class::vector);
            sram(slot, 3);
            if constexpr (functional) {
                const numerics::Format format = p_.vector_format;
                numerics::topk_mask(format, row(conf), format, row(candidates), row(to), n,
                                    gp_[d.rs3], lanes_);
            }
            ++pc_;
            return true;
        }
        case Op::v_topk_fp: {
            const std::uint32_t n = length(d.f1);
            const std::uint64_t rows = rows_for(n);
            const std::uint64_t to = vector_row(gp_[d.rd], rows);
            const std::uint64_t conf = word_index(Space::fp, a, n);
            const std::uint64_t candidates = vector_row(b, rows);
            if (reads(Space::vector, candidates, rows) || reads(Space::fp, conf, n) ||
                writes(Space::vector, to, rows))
                return wait_for(Wait::dma_range);
            const Slot slot = schedule(d,
                                       std::max({rows_free(to, rows), rows_ready(candidates, rows),
                                                 words_ready(Space::fp, conf, n)}),
                                       n);
            mark_rows(to, rows, ready_at(slot.done, Class::vector));
            sram(slot, 2 * rows);
            if constexpr (functional) {
                numerics::topk_mask(numerics::Format::fp32, fp_sram_.data() + conf,
                                    p_.vector_format, row(candidates), row(to), n, gp_[d.rs3],
                                    rows * lanes_);
            }
            ++pc_;
            return true;
        }
        case Op::v_select_int: {
            const std::uint32_t n = row_length(length(d.f1));
            const std::uint64_t to = word_index(Space::integer, gp_[d.rd], n);
            const std::uint64_t x = word_index(Space::integer, a, n);
            const std::uint64_t y = word_index(Space::integer, b, n);
            const std::uint64_t m = vector_row(gp_[d.rs3]);
            if (reads(Space::integer, x, n) || reads(Space::integer, y, n) ||
                reads(Space::vector, m) || writes(Space::integer, to, n))
                return wait_for(Wait::dma_range);
            const Slot slot = schedule(
                d,
                std::max({row_ready_[m], words_ready(Space::integer, x, n),
                          words_ready(Space::integer, y, n), words_ready(Space::integer, to, n)}),
                n);
            mark_words(Space::integer, to, n, ready_at(slot.done, Class::vector));
            sram(slot, 1);
            if constexpr (functional) {
                const std::vector<float> mask = read_lanes(m, 1);
                // In order of index: the result may overlap a source (d-PLENA).
                for (std::uint32_t i = 0; i < n; ++i)
                    int_sram_[to + i] = mask[i] != 0.0f ? int_sram_[x + i] : int_sram_[y + i];
            }
            for (std::uint32_t i = 0; i < n; ++i) set_int_taint(to + i, true);
            ++pc_;
            return true;
        }
        case Op::v_cmp_int:
        case Op::v_cmp_fp: {
            const bool integer = d.op == Op::v_cmp_int;
            const std::uint32_t n = length(d.rs3);
            const std::uint64_t rows = rows_for(n);
            const std::uint64_t to = vector_row(gp_[d.rd], rows);
            const Space from = integer ? Space::integer : Space::fp;
            const std::uint64_t x = word_index(from, a, n);
            if (reads(from, x, n) || writes(Space::vector, to, rows))
                return wait_for(Wait::dma_range);
            const Slot slot =
                schedule(d, std::max(rows_free(to, rows), words_ready(from, x, n)), n);
            mark_rows(to, rows, ready_at(slot.done, Class::vector));
            sram(slot, rows);
            if constexpr (functional) {
                std::vector<float> mask(rows * lanes_);
                auto fill = [&](auto holds) {
                    for (std::uint32_t i = 0; i < n; ++i) mask[i] = holds(i) ? 1.0f : 0.0f;
                };
                auto compare = [&](auto value, auto with) {
                    switch (static_cast<isa::Condition>(d.f1)) {
                        case isa::Condition::eq:
                            fill([&](auto i) { return value(i) == with; });
                            break;
                        case isa::Condition::ne:
                            fill([&](auto i) { return value(i) != with; });
                            break;
                        case isa::Condition::lt:
                            fill([&](auto i) { return value(i) < with; });
                            break;
                        case isa::Condition::le:
                            fill([&](auto i) { return value(i) <= with; });
                            break;
                        case isa::Condition::gt:
                            fill([&](auto i) { return value(i) > with; });
                            break;
                        case isa::Condition::ge:
                            fill([&](auto i) { return value(i) >= with; });
                            break;
                    }
                };
                if (integer)
                    compare([&](std::uint32_t i) { return int_sram_[x + i]; }, b);
                else
                    compare([&](std::uint32_t i) { return fp_sram_[x + i]; }, fp_[d.rs2]);
                write_mask(to, rows, mask);
            }
            ++pc_;
            return true;
        }
        case Op::s_map_v_fp:
        case Op::s_map_v_fp_len: {
            const std::uint32_t n = d.op == Op::s_map_v_fp ? lanes_ : row_length(length(d.rs2));
            const std::uint64_t to = vector_row(gp_[d.rd]);
            const std::uint64_t x =
                word_index(Space::fp, std::uint64_t{a} + static_cast<std::uint32_t>(d.imm), n);
            if (reads(Space::fp, x, n) || writes(Space::vector, to))
                return wait_for(Wait::dma_range);
            const Slot slot = schedule(d, std::max(row_free(to), words_ready(Space::fp, x, n)), n);
            row_ready_[to] = ready_at(slot.done, Class::vector);
            sram(slot, 1);
            if constexpr (functional) {
                std::vector<float> lanes(lanes_);
                std::copy_n(fp_sram_.begin() + static_cast<std::ptrdiff_t>(x), n, lanes.begin());
                write_mask(to, 1, lanes);
            }
            ++pc_;
            return true;
        }
        case Op::s_map_fp_v: {
            const std::uint32_t n = row_length(length(d.rs2));
            const std::uint64_t to = word_index(Space::fp, gp_[d.rd], n);
            const std::uint64_t x = vector_row(a);
            if (reads(Space::vector, x) || writes(Space::fp, to, n))
                return wait_for(Wait::dma_range);
            const Slot slot =
                schedule(d, std::max(row_ready_[x], words_ready(Space::fp, to, n)), n);
            mark_words(Space::fp, to, n, ready_at(slot.done, Class::vector));
            sram(slot, 1);
            if constexpr (functional) {
                const std::vector<float> lanes = read_lanes(x, 1);
                for (std::uint32_t i = 0; i < n; ++i) fp_sram_[to + i] = round_fp(lanes[i]);
            }
            ++pc_;
            return true;
        }
        case Op::v_count: {
            const std::uint32_t n = length(d.rs2);
            const std::uint64_t rows = rows_for(n);
            const std::uint64_t x = vector_row(a, rows);
            if (reads(Space::vector, x, rows)) return wait_for(Wait::dma_range);
            const Slot slot = schedule(d, rows_ready(x, rows), rows);
            sram(slot, rows);
            std::uint32_t count = 0;
            if constexpr (functional) {
                const std::vector<float> lanes = read_lanes(x, rows);
                for (std::uint32_t i = 0; i < n; ++i) count += lanes[i] != 0.0f;
            }
            write_gp(d, d.rd, count, slot, true);
            ++pc_;
            return true;
        }
        case Op::v_get: {
            const std::uint64_t x = vector_row(a);
            if (b >= lanes_)
                throw Trap{"lane outside the row",
                           std::to_string(b) + ", allowed: 0.." + std::to_string(lanes_ - 1)};
            if (reads(Space::vector, x)) return wait_for(Wait::dma_range);
            const Slot slot = schedule(d, row_ready_[x]);
            sram(slot, 1);
            write_fp(d.rd, functional ? round_fp(read_lanes(x, 1)[b]) : 0.0f, slot, Class::vector);
            ++pc_;
            return true;
        }
        default:
            return execute_topk<functional>(d);
    }
}

/// Logits plus RNG_SCALE times the Gumbel noise of the tokens from `first` on.
std::vector<float> Core::with_noise(const std::vector<float>& logits, std::uint32_t first) {
    const std::uint32_t skipped = first % 4;
    const float scale = numerics::float_of_bits(csr(isa::Csr::rng_scale));
    std::vector<float> noise(skipped + logits.size());
    auto pair = [&](isa::Csr lower, isa::Csr upper) {
        return std::uint64_t{csr(upper)} << 32 | csr(lower);
    };
    numerics::gumbel_row(noise.data(), noise.size(),
                         std::uint64_t{csr(isa::Csr::rng_counter1)} << 32 | first / 4,
                         pair(isa::Csr::rng_counter2, isa::Csr::rng_counter3),
                         pair(isa::Csr::rng_key0, isa::Csr::rng_key1));
    std::vector<float> sums(logits.size());
    for (std::size_t i = 0; i < sums.size(); ++i)
        sums[i] = numerics::add(logits[i], numerics::mul(scale, noise[skipped + i]));
    return sums;
}

/// Router top-k, column maximum and random rows.
template <bool functional>
bool Core::execute_topk(const D& d) {
    const std::uint32_t a = gp_[d.rs1];
    const std::uint32_t b = gp_[d.rs2];
    switch (d.op) {
        case Op::v_topk:
        case Op::v_topk_n: {
            constexpr std::uint32_t sizes[][2] = {{32, 4}, {128, 8}};  // PLENA's policies
            const bool policy = d.op == Op::v_topk;
            const auto operand = [&](unsigned reg) { return reg == 0 ? lanes_ : gp_[reg]; };
            const std::uint32_t n = policy ? sizes[d.rs3][0] : operand(d.rs3);
            const std::uint32_t k = policy ? sizes[d.rs3][1] : operand(d.f1);
            if (k > n)
                throw Trap{"top-k of fewer elements",
                           "k = " + std::to_string(k) + ", n = " + std::to_string(n)};
            const std::uint64_t weights = word_index(Space::fp, gp_[d.rd], k);
            const std::uint64_t rows =
                std::max<std::uint64_t>(1, (std::uint64_t{n} + lanes_ - 1) / lanes_);
            const std::uint64_t x = vector_row(a, rows);
            const std::uint64_t indices = word_index(Space::integer, b, k);
            if (reads(Space::vector, x, rows) || writes(Space::integer, indices, k) ||
                writes(Space::fp, weights, k))
                return wait_for(Wait::dma_range);
            const Slot slot =
                schedule(d,
                         std::max({rows_ready(x, rows), words_ready(Space::integer, indices, k),
                                   words_ready(Space::fp, weights, k)}),
                         n);
            const Ready done = ready_at(slot.done, Class::vector);
            mark_words(Space::integer, indices, k, done);
            mark_words(Space::fp, weights, k, done);
            sram_energy(slot, rows, energy_.row_access_fj);
            if constexpr (functional) {
                const bool all = !policy && csr(isa::Csr::topk_mode) ==
                                                static_cast<std::uint32_t>(isa::TopkMode::all);
                numerics::topk_softmax(
                    p_.vector_format, row(x), n, k,
                    all ? numerics::TopkWeights::all : numerics::TopkWeights::selected,
                    int_sram_.data() + indices, fp_sram_.data() + weights);
                for (std::uint32_t j = 0; j < k; ++j)
                    fp_sram_[weights + j] = round_fp(fp_sram_[weights + j]);
            }
            for (std::uint32_t j = 0; j < k; ++j) set_int_taint(indices + j, true);
            ++pc_;
            return true;
        }
        case Op::v_colmax: {
            const std::uint32_t pitch = gp_[d.rs3] ? gp_[d.rs3] : lanes_;
            const std::uint64_t to = vector_row(gp_[d.rd]);
            if (b == 0) throw Trap{"column maximum of no rows", "gpRows is 0"};
            const std::uint64_t step = vector_row(pitch);
            const std::uint64_t x = vector_row(a, (b - 1) * step + 1);
            Ready ready = row_free(to);
            bool busy = false;
            for (std::uint32_t i = 0; i < b; ++i) {
                ready = std::max(ready, row_ready_[x + i * step]);
                busy = reads(Space::vector, x + i * step) || busy;
            }
            if (writes(Space::vector, to) || busy) return wait_for(Wait::dma_range);
            const Slot slot = schedule(d, ready, b);
            row_ready_[to] = ready_at(slot.done, Class::vector);
            sram_energy(slot, b + 1ull, energy_.row_access_fj);
            if constexpr (functional) {
                // The result may be one of the rows.
                std::vector<std::uint8_t> most(row_bytes_), next(row_bytes_);
                kernels_.abs(most.data(), row(x), lanes_, nullptr);
                for (std::uint32_t i = 1; i < b; ++i) {
                    kernels_.abs(next.data(), row(x + i * step), lanes_, nullptr);
                    kernels_.max_vv(most.data(), most.data(), next.data(), lanes_, nullptr);
                }
                std::memcpy(row(to), most.data(), row_bytes_);
            }
            ++pc_;
            return true;
        }
        case Op::v_red_max_rand: {
            const std::uint64_t x = vector_row(a);
            if (reads(Space::vector, x)) return wait_for(Wait::dma_range);
            const Slot slot = schedule(d, row_ready_[x]);
            sram_energy(slot, 1, energy_.row_access_fj);
            std::uint32_t index = gp_[d.rd];
            float best = fp_[d.rs3];
            float chosen = fp_[d.f1];
            if constexpr (functional) {
                std::vector<float> lanes(lanes_);
                kernels_.to_float(lanes.data(), row(x), lanes_);
                std::uint32_t lane = 0;
                if (numerics::row_kernels(numerics::Format::fp32)
                        .max_index(with_noise(lanes, b).data(), lanes_, nullptr, best, lane)) {
                    index = b + lane;
                    best = round_fp(best);
                    chosen = round_fp(lanes[lane]);
                }
            }
            if (d.rd) write_gp(d, d.rd, index, slot, true);
            write_fp(d.rs3, best, slot, Class::vector);
            write_fp(d.f1, chosen, slot, Class::vector);
            ++pc_;
            return true;
        }
        case Op::v_rand: {
            const std::uint64_t to = vector_row(gp_[d.rd]);
            if (writes(Space::vector, to)) return wait_for(Wait::dma_range);
            const Slot slot = schedule(d, row_free(to));
            row_ready_[to] = ready_at(slot.done, Class::vector);
            sram_energy(slot, 1, energy_.row_access_fj);
            if constexpr (functional) {
                const bool gumbel = d.rs2 == static_cast<std::uint8_t>(isa::RandMode::gumbel);
                const std::array<std::uint32_t, 2> key{csr(isa::Csr::rng_key0),
                                                       csr(isa::Csr::rng_key1)};
                std::vector<float> lanes(lanes_);
                for (std::uint32_t i = 0; i < lanes_; i += 4) {
                    const auto words = numerics::philox(
                        {csr(isa::Csr::rng_counter0) + i / 4, csr(isa::Csr::rng_counter1), a,
                         csr(isa::Csr::rng_counter3)},
                        key);
                    for (std::uint32_t j = 0; j < 4; ++j)
                        lanes[i + j] =
                            gumbel ? numerics::gumbel(words[j]) : numerics::uniform(words[j]);
                }
                kernels_.from_float(row(to), lanes.data(), lanes_);
            }
            ++pc_;
            return true;
        }
        default:
            break;
    }
    throw std::logic_error(std::string(isa::info(d.op).mnemonic) + " reached the vector unit");
}

template bool Core::execute_vector<true>(const D&);
template bool Core::execute_vector<false>(const D&);

}  // namespace npuvp::core
