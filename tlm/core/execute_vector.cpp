#include <algorithm>

#include "core/core.h"
#include "numerics/bf16.h"
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

void Core::mark_rows(std::uint64_t first, std::uint64_t count, Ready ready) {
    for (std::uint64_t i = first; i < first + count; ++i) row_ready_[i] = ready;
}

template <bool functional>
bool Core::execute_vector(const D& d) {
    const std::uint32_t a = gp_[d.rs1];
    const std::uint32_t b = gp_[d.rs2];
    numerics::LaneMask lanes{csr_[static_cast<int>(isa::Csr::v_mask)], head_length()};
    const numerics::LaneMask* mask = d.rs3 ? &lanes : nullptr;

    auto sram = [&](const Slot& slot, std::uint64_t rows) {
        hub_.energy(sram_source_, ps(slot.issue), ps(std::max(slot.done, slot.issue + 1)),
                    rows * energy_.row_access_fj);
    };
    // Row of the result from `sources` rows; `compute(row of result)` runs in functional mode.
    auto map = [&](std::uint64_t to, std::initializer_list<std::uint64_t> from, auto compute,
                   std::uint64_t elements = 0) {
        Ready ready = row_ready_[to];
        bool busy = vector_busy(to, 1, true);
        for (std::uint64_t source : from) {
            ready = std::max(ready, row_ready_[source]);
            busy = busy || vector_busy(source, 1, false);
        }
        if (busy) return wait_for(Wait::dma_range);
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
        if (vector_busy(x, 1, false)) return wait_for(Wait::dma_range);
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
            if (!mask) return reduce(k.sum, nullptr);
            // A mask, which no text can set, makes every enabled head count HLEN times (PLENA).
            return reduce(
                [&](const void* x, std::size_t n, float f, const numerics::LaneMask* enabled) {
                    const float heads = k.sum(x, n, 0.0f, enabled);
                    return numerics::add(f, numerics::mul(heads, static_cast<float>(lanes.hlen)));
                },
                mask);
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
            if (vector_busy(x, 1, false)) return wait_for(Wait::dma_range);
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
        hub_.energy(sram_source_, ps(slot.issue), ps(std::max(slot.done, slot.issue + 1)),
                    rows * energy_.row_access_fj);
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
    auto busy = [&](Space space, std::uint64_t first, std::uint64_t count, bool write) {
        return !dma.idle() && dma.conflicts(space, first, count, write);
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
            if (busy(Space::vector, to, 1, true) || busy(Space::vector, conf, 1, false) ||
                busy(Space::vector, candidates, 1, false))
                return wait_for(Wait::dma_range);
            const Slot slot = schedule(
                d, std::max({row_ready_[to], row_ready_[conf], row_ready_[candidates]}), n);
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
            if (busy(Space::vector, to, rows, true) ||
                busy(Space::vector, candidates, rows, false) || busy(Space::fp, conf, n, false))
                return wait_for(Wait::dma_range);
            const Slot slot = schedule(
                d, std::max({rows_ready(to, rows), rows_ready(candidates, rows), fp_sram_ready_}),
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
            if (busy(Space::integer, to, n, true) || busy(Space::integer, x, n, false) ||
                busy(Space::integer, y, n, false) || busy(Space::vector, m, 1, false))
                return wait_for(Wait::dma_range);
            const Slot slot = schedule(d, std::max(row_ready_[m], int_sram_ready_), n);
            int_sram_ready_ = ready_at(slot.done, Class::vector);
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
            const std::uint64_t x = word_index(integer ? Space::integer : Space::fp, a, n);
            if (busy(Space::vector, to, rows, true) ||
                busy(integer ? Space::integer : Space::fp, x, n, false))
                return wait_for(Wait::dma_range);
            const Slot slot = schedule(
                d, std::max(rows_ready(to, rows), integer ? int_sram_ready_ : fp_sram_ready_), n);
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
            if (busy(Space::vector, to, 1, true) || busy(Space::fp, x, n, false))
                return wait_for(Wait::dma_range);
            const Slot slot = schedule(d, std::max(row_ready_[to], fp_sram_ready_), n);
            row_ready_[to] = ready_at(slot.done, Class::scalar);
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
            if (busy(Space::fp, to, n, true) || busy(Space::vector, x, 1, false))
                return wait_for(Wait::dma_range);
            const Slot slot = schedule(d, std::max(row_ready_[x], fp_sram_ready_), n);
            fp_sram_ready_ = ready_at(slot.done, Class::scalar);
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
            if (busy(Space::vector, x, rows, false)) return wait_for(Wait::dma_range);
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
            if (busy(Space::vector, x, 1, false)) return wait_for(Wait::dma_range);
            const Slot slot = schedule(d, row_ready_[x]);
            sram(slot, 1);
            write_fp(d.rd, functional ? round_fp(read_lanes(x, 1)[b]) : 0.0f, slot, Class::vector);
            ++pc_;
            return true;
        }
        default:
            break;
    }
    throw Trap{std::string(isa::info(d.op).mnemonic) + " is not supported by this machine", ""};
}

template bool Core::execute_vector<true>(const D&);
template bool Core::execute_vector<false>(const D&);

}  // namespace npuvp::core
