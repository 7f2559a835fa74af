#include <algorithm>

#include "core/core.h"
#include "numerics/bf16.h"
#include "numerics/philox.h"
#include "numerics/scalar.h"

namespace npuvp::core {

using isa::Op;

namespace {

constexpr std::size_t most_loops = 65536;  // a program that jumps out of its loops for ever

std::uint32_t compare_words(std::uint32_t a, std::uint32_t b, Op op) {
    const auto sa = static_cast<std::int32_t>(a);
    const auto sb = static_cast<std::int32_t>(b);
    switch (op) {
        case Op::c_beq:
            return a == b;
        case Op::c_bne:
            return a != b;
        case Op::c_bltu:
            return a < b;
        case Op::c_bgeu:
            return a >= b;
        case Op::c_blt:
            return sa < sb;
        default:
            return sa >= sb;
    }
}

/// Shifts by 32 and more give zero, as a row of 32 single shifts would.
std::uint32_t shift_left(std::uint32_t a, std::uint32_t n) {
    return n < 32 ? a << n : 0;
}
std::uint32_t shift_right(std::uint32_t a, std::uint32_t n) {
    return n < 32 ? a >> n : 0;
}

}  // namespace

void Core::write_gp(const D& d, unsigned index, std::uint32_t value, const Slot& slot,
                    bool tainted) {
    if (index == 0) return;
    gp_[index] = value;
    const Class by = d.unit == isa::Unit::vector    ? Class::vector
                     : d.unit == isa::Unit::control ? Class::control
                                                    : Class::scalar;
    const Ready ready = ready_at(slot.done, by);
    gp_ready_[index] = ready;
    registers_ready_ = std::max(registers_ready_, ready);
    gp_writer_[index] = pc_;
    const auto bit = static_cast<std::uint16_t>(1u << index);
    gp_taint_ = static_cast<std::uint16_t>(tainted ? gp_taint_ | bit : gp_taint_ & ~bit);
    if (results_) note_change(trace::Place::gp, index, 1);
}

void Core::write_fp(unsigned index, float value, const Slot& slot, Class by) {
    if (index == 0) return;
    fp_[index] = value;
    const Ready ready = ready_at(slot.done, by);
    fp_ready_[index] = ready;
    registers_ready_ = std::max(registers_ready_, ready);
    if (results_) note_change(trace::Place::fp, index, 1);
}

float Core::round_fp(float value) const {
    return numerics::round_to(p_.fp_format, value);
}

/// An address, a length or a branch depends on data that timing mode does not compute: functional
/// mode records the value, timing mode takes it from the recording.
std::uint32_t Core::decide(std::uint32_t value, const std::string& what) {
    if (env_.functional) {
        decisions_.push_back({pc_, value});
        return value;
    }
    if (next_decision_ >= decisions_.size())
        throw Trap{what +
                       " depends on data that timing mode does not compute, and there is no "
                       "decision left for it",
                   "pass decisions= of a functional run of this firmware"};
    const Decision& decision = decisions_[next_decision_++];
    if (decision.pc != pc_)
        throw Trap{
            "the next decision was recorded at pc " + std::to_string(decision.pc) + ", not here",
            "decisions belong to one firmware and its inputs"};
    return decision.value;
}

void Core::resolve_decisions(std::uint16_t registers) {
    for (unsigned mask = registers; mask; mask &= mask - 1) {
        const auto index = static_cast<unsigned>(__builtin_ctz(mask));
        gp_[index] = decide(gp_[index], "gp" + std::to_string(index));
    }
    gp_taint_ = static_cast<std::uint16_t>(gp_taint_ & ~registers);
}

std::uint64_t Core::word_index(Space space, std::uint64_t index, std::uint64_t count) const {
    const bool fp = space == Space::fp;
    const std::uint64_t size = fp ? fp_sram_.size() : int_sram_.size();
    if (index > size || count > size - index)
        throw Trap{std::string("access outside ") + (fp ? "FP" : "INT") + " SRAM",
                   (count == 1 ? "word " + std::to_string(index)
                               : "words " + std::to_string(index) + ".." +
                                     std::to_string(index + count - 1)) +
                       ", the SRAM has words 0.." + std::to_string(size - 1)};
    return index;
}

void Core::set_int_taint(std::uint64_t index, bool tainted) {
    const std::uint64_t bit = 1ull << (index % 64);
    if (tainted)
        int_taint_[index / 64] |= bit;
    else
        int_taint_[index / 64] &= ~bit;
}

std::uint32_t Core::read_csr(unsigned number, std::uint64_t cycle) {
    switch (static_cast<isa::Csr>(number)) {
        case isa::Csr::core_id:
            return env_.core_index;
        case isa::Csr::n_cores:
            return env_.core_count;
        case isa::Csr::cycle_lo:
            return static_cast<std::uint32_t>(cycle);
        case isa::Csr::cycle_hi:
            return static_cast<std::uint32_t>(cycle >> 32);
        case isa::Csr::instret_lo:
            return static_cast<std::uint32_t>(instructions_);
        case isa::Csr::instret_hi:
            return static_cast<std::uint32_t>(instructions_ >> 32);
        default:
            return csr_[number];
    }
}

template <bool functional>
bool Core::execute(const D& d) {
    if (const auto registers = static_cast<std::uint16_t>(gp_taint_ & critical_[pc_]))
        resolve_decisions(registers);
    const std::uint32_t a = gp_[d.rs1];
    const std::uint32_t b = gp_[d.rs2];
    const auto imm = static_cast<std::uint32_t>(d.imm);
    auto integer = [&](std::uint32_t value) {
        const bool tainted = (gp_taint_ & d.gp_reads) != 0;
        write_gp(d, d.rd, value, schedule(d), tainted);
        ++pc_;
        return true;
    };
    auto scalar = [&](auto compute) {
        // A result for f0 is dropped before the unit starts (PLENA).
        const Slot slot = schedule(d, 0, 0, d.rd == 0);
        write_fp(d.rd, functional ? round_fp(compute()) : 0.0f, slot, Class::scalar);
        ++pc_;
        return true;
    };
    switch (d.op) {
        case Op::s_add_int:
            return integer(a + b);
        case Op::s_addi_int:
            return integer(a + imm);
        case Op::s_sub_int:
            return integer(a - b);
        case Op::s_mul_int:
            return integer(a * b);
        case Op::s_lui_int:
            return integer(imm << 12);
        case Op::s_and_int:
            return integer(a & b);
        case Op::s_or_int:
            return integer(a | b);
        case Op::s_shl_int:
            return integer(shift_left(a, b));
        case Op::s_shr_int:
            return integer(shift_right(a, b));
        case Op::s_ld_int:
        case Op::s_st_int: {
            const std::uint64_t index = word_index(Space::integer, std::uint64_t{a} + imm);
            const bool store = d.op == Op::s_st_int;
            if (store ? writes(Space::integer, index) : reads(Space::integer, index))
                return wait_for(Wait::dma_range);
            const Slot slot = schedule(d, int_word_ready_[index]);
            if (store) {
                int_sram_[index] = gp_[d.rd];
                set_int_taint(index, (gp_taint_ >> d.rd) & 1u);
                int_word_ready_[index] = ready_at(slot.done, Class::scalar);
            } else {
                write_gp(d, d.rd, int_sram_[index], slot, int_tainted(index));
            }
            ++pc_;
            return true;
        }
        case Op::s_add_fp:
            return scalar([&] { return numerics::add(fp_[d.rs1], fp_[d.rs2]); });
        case Op::s_sub_fp:
            return scalar([&] { return numerics::sub(fp_[d.rs1], fp_[d.rs2]); });
        case Op::s_mul_fp:
            return scalar([&] { return numerics::mul(fp_[d.rs1], fp_[d.rs2]); });
        case Op::s_max_fp:
            return scalar([&] { return numerics::max(fp_[d.rs1], fp_[d.rs2]); });
        case Op::s_min_fp:
            return scalar([&] { return numerics::min(fp_[d.rs1], fp_[d.rs2]); });
        case Op::s_exp_fp:
            return scalar([&] { return numerics::exp(fp_[d.rs1]); });
        case Op::s_reci_fp:
            return scalar([&] { return numerics::reciprocal(fp_[d.rs1]); });
        case Op::s_sqrt_fp:
            return scalar([&] { return numerics::sqrt(fp_[d.rs1]); });
        case Op::s_log_fp:
            return scalar([&] { return numerics::log(fp_[d.rs1]); });
        case Op::s_itof:
            return scalar([&] { return static_cast<float>(a); });
        case Op::s_rand_fp:
            return scalar([&] {
                const auto words =
                    numerics::philox({csr(isa::Csr::rng_counter0), a, csr(isa::Csr::rng_counter2),
                                      csr(isa::Csr::rng_counter3)},
                                     {csr(isa::Csr::rng_key0), csr(isa::Csr::rng_key1)});
                return d.rs2 == static_cast<std::uint8_t>(isa::RandMode::gumbel)
                           ? numerics::gumbel(words[0])
                           : numerics::uniform(words[0]);
            });
        case Op::s_set_fp:
            return scalar([&] { return numerics::float_of_bits(a); });
        case Op::s_cmp_fp: {
            bool holds = false;
            const float x = fp_[d.rs1];
            const float y = fp_[d.rs2];
            switch (static_cast<isa::Condition>(d.rs3)) {
                case isa::Condition::eq:
                    holds = x == y;
                    break;
                case isa::Condition::ne:
                    holds = x != y;
                    break;
                case isa::Condition::lt:
                    holds = x < y;
                    break;
                case isa::Condition::le:
                    holds = x <= y;
                    break;
                case isa::Condition::gt:
                    holds = x > y;
                    break;
                case isa::Condition::ge:
                    holds = x >= y;
                    break;
            }
            write_gp(d, d.rd, functional && holds ? 1 : 0, schedule(d), true);
            ++pc_;
            return true;
        }
        case Op::s_ld_fp:
        case Op::s_st_fp: {
            const std::uint64_t index = word_index(Space::fp, std::uint64_t{a} + imm);
            const bool store = d.op == Op::s_st_fp;
            if (store ? writes(Space::fp, index) : reads(Space::fp, index))
                return wait_for(Wait::dma_range);
            const Slot slot = schedule(d, fp_word_ready_[index]);
            if (store) {
                if (functional) fp_sram_[index] = fp_[d.rd];
                fp_word_ready_[index] = ready_at(slot.done, Class::scalar);
            } else {
                write_fp(d.rd, fp_sram_[index], slot, Class::scalar);
            }
            ++pc_;
            return true;
        }
        default:
            break;
    }
    switch (d.unit) {
        case isa::Unit::vector:
            return execute_vector<functional>(d);
        case isa::Unit::scalar:
            return execute_vector<functional>(d);  // S_MAP_*: rows too
        case isa::Unit::matrix:
            return execute_matrix<functional>(d);
        case isa::Unit::dma:
            return execute_dma(d);
        case isa::Unit::control:
            break;
    }
    return execute_control(d);
}

template bool Core::execute<true>(const D&);
template bool Core::execute<false>(const D&);

bool Core::execute_control(const D& d) {
    const std::uint32_t a = gp_[d.rs1];
    const std::uint32_t b = gp_[d.rs2];
    auto special = [&](isa::Csr csr, std::uint32_t value) {
        const Slot slot = schedule(d);
        csr_[static_cast<std::size_t>(csr)] = value;
        special_ready_ = std::max(special_ready_, ready_at(slot.done, Class::control));
        ++pc_;
        return true;
    };
    switch (d.op) {
        case Op::illegal:
            throw Trap{"illegal instruction word", isa::explain(d)};
        case Op::c_set_addr_reg: {
            const Slot slot = schedule(d);
            ha_[d.rd] = std::uint64_t{a} << 32 | b;
            special_ready_ = std::max(special_ready_, ready_at(slot.done, Class::control));
            ++pc_;
            return true;
        }
        case Op::c_set_scale_reg:
            return special(isa::Csr::scale, gp_[d.rd]);
        case Op::c_set_stride_reg:
            return special(isa::Csr::stride, gp_[d.rd]);
        case Op::c_set_v_mask_reg:
            return special(isa::Csr::v_mask, gp_[d.rd]);
        case Op::c_csrw:
            return special(static_cast<isa::Csr>(d.imm), a);
        case Op::c_csrr: {
            const Slot slot = schedule(d, special_ready_);
            write_gp(d, d.rd, read_csr(static_cast<unsigned>(d.imm), slot.issue), slot, false);
            ++pc_;
            return true;
        }
        case Op::c_loop_start: {
            if (d.imm < 1) throw Trap{"a loop of 0 iterations", "allowed: 1..4194303"};
            if (loops_.size() == most_loops)
                throw Trap{"loop stack overflow", std::to_string(most_loops) + " loops are open"};
            write_gp(d, d.rd, static_cast<std::uint32_t>(d.imm), schedule(d), false);
            loops_.push_back({pc_, d.rd, instructions_});
            update_loop_limit();
            ++pc_;
            return true;
        }
        case Op::c_loop_end: {
            std::size_t i = loops_.size();
            while (i > 0 && loops_[i - 1].counter != d.rd) --i;
            if (i == 0)
                throw Trap{"C_LOOP_END without a loop on its register",
                           "open loops: " + std::to_string(loops_.size())};
            const Slot slot = schedule(d);
            if (gp_[d.rd] > 1) {
                write_gp(d, d.rd, gp_[d.rd] - 1, slot, false);
                loops_[i - 1].iteration_began = instructions_;
                pc_ = loops_[i - 1].start + 1;
            } else {
                write_gp(d, d.rd, 0, slot, false);
                loops_.erase(loops_.begin() + static_cast<std::ptrdiff_t>(i - 1));
                ++pc_;
            }
            update_loop_limit();
            return true;
        }
        case Op::c_break: {
            if (loops_.empty()) throw Trap{"C_BREAK outside every loop", ""};
            const Slot slot = schedule(d);
            write_gp(d, loops_.back().counter, 0, slot, false);
            loops_.pop_back();
            update_loop_limit();
            ++pc_;
            return true;
        }
        case Op::c_beq:
        case Op::c_bne:
        case Op::c_bltu:
        case Op::c_bgeu:
        case Op::c_blt:
        case Op::c_bge:
        case Op::c_jump: {
            const bool taken = d.op == Op::c_jump || compare_words(a, b, d.op);
            const std::int64_t target = std::int64_t{pc_} + d.imm;
            if (taken && (target < 0 || target > static_cast<std::int64_t>(text_.size())))
                throw Trap{"branch outside the program", "target " + std::to_string(target) +
                                                             ", the program has words 0.." +
                                                             std::to_string(text_.size() - 1)};
            schedule(d);
            pc_ = taken ? static_cast<std::uint32_t>(target) : pc_ + 1;
            return true;
        }
        case Op::c_mark: {
            const Slot slot = schedule(d, 0, 0, true);
            if (d.imm == static_cast<std::int32_t>(isa::MarkKind::call) ||
                d.imm == static_cast<std::int32_t>(isa::MarkKind::phase))
                record_lap(static_cast<std::uint32_t>(d.imm), a);
            marks_[static_cast<std::size_t>(d.imm) % marks_.size()] = a;
            if (traced_ && hub_.wants(core_source_, trace::Kind::mark))
                hub_.emit({ps(slot.issue), ps(slot.issue), a, 0, static_cast<std::uint32_t>(d.imm),
                           core_source_, trace::Kind::mark});
            ++pc_;
            return true;
        }
        case Op::c_halt:
            schedule(d);
            halt(a);
            return true;
        case Op::c_trap:
            throw Trap{"firmware trap", "code " + std::to_string(a)};
        case Op::c_fence:
            if (dma.tags_pending(static_cast<std::uint32_t>(d.imm))) return wait_for(Wait::fence);
            schedule(d);
            ++pc_;
            return true;
        case Op::c_host_push:
        case Op::c_doorbell: {
            if (now_cycle() < next_issue_) return wait_for(Wait::host);  // others see it in order
            const Slot slot = schedule(d);
            if (d.op == Op::c_host_push) record_lap(Lap::host_word, a);
            send(env_.host_base + (d.op == Op::c_host_push ? 0 : 8), a, 0, 4, slot.issue, false);
            ++pc_;
            return true;
        }
        default:
            return execute_sync(d);
    }
}

const Core::Loop& Core::oldest_loop() const {
    return *std::min_element(loops_.begin(), loops_.end(), [](const Loop& a, const Loop& b) {
        return a.iteration_began < b.iteration_began;
    });
}

void Core::update_loop_limit() {
    if (p_.max_loop_instructions == 0) return;
    loop_limit_at_ = loops_.empty() ? ~0ull
                                    : oldest_loop().iteration_began +
                                          static_cast<std::uint64_t>(p_.max_loop_instructions);
}

}  // namespace npuvp::core
