#include "core/core.h"

#include <algorithm>
#include <cstring>

#include "numerics/bf16.h"
#include "trace/crc32.h"
#include "trace/window_sums.h"

namespace npuvp::core {

namespace {

constexpr unsigned log2_exact(std::uint64_t value) {
    unsigned shift = 0;
    while ((1ull << shift) < value) ++shift;
    return shift;
}

Class class_of_unit(isa::Unit unit) {
    switch (unit) {
        case isa::Unit::scalar:
            return Class::scalar;
        case isa::Unit::vector:
            return Class::vector;
        case isa::Unit::matrix:
            return Class::matrix;
        case isa::Unit::dma:
            return Class::memory;
        case isa::Unit::control:
            break;
    }
    return Class::control;
}

std::vector<LazyArray<std::uint64_t>> written_bits(const platform::CoreParameters& p,
                                                   std::uint64_t rows) {
    std::vector<LazyArray<std::uint64_t>> bits;
    if (!p.check_uninitialised) return bits;
    const auto matrix_rows = static_cast<std::uint64_t>(p.matrix_sram_bytes / p.mlen) /
                             numerics::bytes_of(p.matrix_format);
    for (std::uint64_t count : {rows, matrix_rows, static_cast<std::uint64_t>(p.fp_sram_words),
                                static_cast<std::uint64_t>(p.int_sram_words)})
        bits.emplace_back(count / 64 + 1);
    return bits;
}

/// Operands whose value only flows into other values, so that an unknown one does no harm in timing
/// mode. Every other integer operand steers: an address, a length, a branch, a configuration.
bool is_data_operand(isa::Op op, isa::Field field) {
    using isa::Field;
    using isa::Op;
    switch (op) {
        case Op::s_add_int:
        case Op::s_addi_int:
        case Op::s_sub_int:
        case Op::s_mul_int:
        case Op::s_and_int:
        case Op::s_or_int:
        case Op::s_shl_int:
        case Op::s_shr_int:
        case Op::s_itof:
        case Op::s_set_fp:
        case Op::s_rand_fp:
        case Op::c_host_push:
        case Op::c_mark:
        case Op::c_halt:
            return true;
        case Op::s_st_int:
            return field == Field::rd;
        case Op::v_red_max_idx:
        case Op::v_red_max_rand:
            return field == Field::rs2 || field == Field::rd;
        case Op::v_cmp_int:
            return field == Field::rs2;
        case Op::v_topk_mask:
        case Op::v_topk_fp:
            return field == Field::rs3;
        default:
            return false;
    }
}

std::uint16_t critical_registers(const isa::Decoded& d) {
    unsigned mask = 0;
    const isa::OpInfo& info = isa::info(d.op);
    for (unsigned i = 0; i < info.n_operands; ++i) {
        const isa::OperandInfo& operand = info.operands[i];
        if (operand.kind != isa::OperandKind::gp || operand.role == isa::Role::write) continue;
        if (is_data_operand(d.op, operand.field)) continue;
        mask |= 1u << ((d.word >> isa::info(operand.field).low) & 15u);
    }
    return static_cast<std::uint16_t>(mask & ~1u);
}

/// What a loop that polls is made of: instructions that look, compare, branch and wait. Arithmetic
/// is none of them, so no computation is taken for a poll.
bool only_looks(isa::Op op) {
    using isa::Op;
    switch (op) {
        case Op::c_beq:
        case Op::c_bne:
        case Op::c_bltu:
        case Op::c_bgeu:
        case Op::c_blt:
        case Op::c_bge:
        case Op::c_jump:
        case Op::c_csrr:
        case Op::c_fence:
        case Op::c_mark:
        case Op::s_ld_int:
        case Op::s_ld_fp:
        case Op::h_prefetch_m:
        case Op::h_prefetch_v:
        case Op::h_ld_v:
        case Op::h_ld_m:
        case Op::h_ld_int:
        case Op::h_ld_fp:
        case Op::h_gather_v:
        case Op::h_copy:
            return true;
        default:
            return false;
    }
}

DmaTiming dma_timing(const platform::CoreParameters& p, const CoreEnergy& energy,
                     std::uint64_t period_ps) {
    DmaTiming timing{};
    timing.period_ps = period_ps;
    timing.ports = static_cast<std::uint32_t>(p.dma_ports);
    timing.port_bytes = static_cast<std::uint32_t>(p.dma_port_bits / 8);
    timing.burst_bytes = timing.port_bytes * static_cast<std::uint32_t>(p.dma_burst_beats);
    timing.outstanding_reads = static_cast<std::uint32_t>(p.dma_outstanding_reads);
    timing.outstanding_writes = static_cast<std::uint32_t>(p.dma_outstanding_writes);
    timing.queue_depth = static_cast<std::uint32_t>(p.dma_queue_depth);
    timing.start_cycles = static_cast<std::uint32_t>(p.dma_start_cycles);
    timing.fj_per_byte = energy.dma_byte_fj;
    timing.static_watts = energy.dma_static_watts;
    return timing;
}

}  // namespace

Core::Core(sc_core::sc_module_name name, const platform::CoreParameters& parameters,
           const CoreEnergy& energy, const Environment& environment, trace::Hub& hub)
    : sc_module(name),
      dma("dma", dma_timing(parameters, energy, environment.period_ps), hub),
      control("control"),
      window("window"),
      p_(parameters),
      energy_(energy),
      env_(environment),
      hub_(hub),
      kernels_(numerics::row_kernels(parameters.vector_format)),
      blocking_(parameters.issue == platform::Issue::blocking),
      lanes_(static_cast<unsigned>(parameters.vlen)),
      lane_shift_(log2_exact(static_cast<std::uint64_t>(parameters.vlen))),
      row_bytes_(lanes_ * numerics::bytes_of(parameters.vector_format)),
      rows_(static_cast<std::uint64_t>(parameters.vector_sram_bytes) / row_bytes_),
      check_written_(parameters.check_uninitialised),
      mlen_(static_cast<std::uint64_t>(parameters.mlen)),
      operand_pitch_(std::max<std::uint64_t>(lanes_, mlen_)),
      vector_(static_cast<std::uint64_t>(parameters.vector_sram_bytes)),
      matrix_(static_cast<std::uint64_t>(parameters.matrix_sram_bytes)),
      fp_sram_(static_cast<std::size_t>(parameters.fp_sram_words)),
      int_sram_(static_cast<std::size_t>(parameters.int_sram_words)),
      int_taint_(static_cast<std::size_t>(parameters.int_sram_words) / 64 + 1),
      acc_mm_(static_cast<std::size_t>(parameters.blen * parameters.matrix_rows * parameters.blen)),
      acc_mv_(static_cast<std::size_t>(parameters.blen)),
      written_(written_bits(parameters, rows_)),
      row_ready_(rows_),
      fp_word_ready_(static_cast<std::uint64_t>(parameters.fp_sram_words)),
      int_word_ready_(static_cast<std::uint64_t>(parameters.int_sram_words)),
      matrix_shape_{lanes_, mlen_, static_cast<std::uint64_t>(parameters.blen),
                    static_cast<std::uint64_t>(parameters.matrix_rows),
                    static_cast<std::uint64_t>(parameters.accumulators)},
      matrix_timing_(matrix_shape_, parameters.matrix_timing == platform::MatrixTiming::geometry) {
    core_source_ = hub.add_source(this->name(), "core", energy.control_static_watts);
    const std::string path = this->name();
    auto unit = [&](Class by, const char* what, double watts) {
        unit_source_[static_cast<int>(by)] = hub.add_source(path + "." + what, "unit", watts);
    };
    unit(Class::scalar, "scalar", energy.scalar_static_watts);
    unit(Class::vector, "vector", energy.vector_static_watts);
    unit(Class::matrix, "matrix", energy.matrix_static_watts);
    unit_source_[static_cast<int>(Class::control)] = core_source_;
    unit_source_[static_cast<int>(Class::memory)] = core_source_;
    sram_source_ = hub.add_source(path + ".sram", "sram", energy.sram_static_watts);

    for (const platform::Cost& cost : platform::costs_by_class(parameters.timing))
        cost_.push_back({static_cast<std::uint32_t>(cost.interval),
                         static_cast<std::uint32_t>(cost.latency),
                         static_cast<std::uint32_t>(cost.per_element)});
    op_counts_.resize(isa::op_count);
    gp_writer_.fill(-1);
    marks_.fill(-1);
    csr(isa::Csr::stride) = 1;
    csr(isa::Csr::bmm_scale) = numerics::float_bits(static_cast<float>(parameters.bmm_scale));
    csr(isa::Csr::dma_block) = 32;

    dma.on_done = [this](Descriptor& descriptor) { dma_done(descriptor); };
    dma.on_error = [this](const Descriptor& d, std::uint64_t address, std::uint32_t bytes) {
        pc_ = d.pc;
        const std::uint64_t mapped = env_.mapped_bytes(address, bytes);
        const bool refused = mapped == bytes;
        if (!refused) address += mapped;
        char text[128];
        std::snprintf(text, sizeof text, ": address 0x%llx  ->  ",
                      static_cast<unsigned long long>(address));
        raise({refused ? "DMA refused by its target" : "DMA beyond every memory and peripheral",
               describe_part(d, address) + text + env_.owner_of(address)},
              true);
    };
    control.register_nb_transport_bw(this, &Core::control_bw);
    window.register_b_transport(this, &Core::window_b_transport);
    window.register_nb_transport_fw(this, &Core::window_nb_transport);
    window.register_transport_dbg(this, &Core::window_debug);
    SC_METHOD(step);
    sensitive << resume_;
    dont_initialize();
}

void Core::start() {
    resume_.notify(sc_core::SC_ZERO_TIME);
}

void Core::load_text(const std::vector<std::uint32_t>& words, std::uint32_t entry) {
    text_.clear();
    critical_.clear();
    text_.reserve(words.size());
    for (std::uint32_t word : words) {
        text_.push_back(isa::decode(word));
        critical_.push_back(critical_registers(text_.back()));
    }
    pc_ = entry;
}

std::uint64_t Core::now_cycle() const {
    const std::uint64_t now = sc_core::sc_time_stamp().value();
    return (now + env_.period_ps - 1) / env_.period_ps;
}

void Core::step() {
    if (trap_ || wait_ == Wait::finished) return;
    if (hub_.active()) {
        traced_ = true;
        results_ = hub_.wants(core_source_, trace::Kind::result);
        hub_.hold(core_source_, ps(next_issue_));  // a stall is reported when it ends
        hub_.advance(sc_core::sc_time_stamp().value());
    }
    if (wait_ != Wait::none) {
        if (wait_ == Wait::dma_blocking && dma.pending(wait_descriptor_)) return;
        if (sync_ == Sync::requested) return;
        if (wait_ == Wait::drain && !dma.idle()) return;
        if (wait_ == Wait::drain) {
            finish();
            return;
        }
        // The instruction that waited (or, in blocking mode, the next one) issues no earlier.
        const bool synchronised = sync_ == Sync::granted;
        hold_ =
            std::max(hold_, ready_at(now_cycle(), synchronised ? Class::control : Class::memory));
        if (synchronised) synchronised_ = hold_;
        wait_ = Wait::none;
    }
    try {
        if (observer_)
            run_ahead<true>();
        else
            run_ahead<false>();
    } catch (const Trap& trap) {
        raise(trap, pc_ < text_.size());
    }
    if (trap_ || wait_ == Wait::finished) return;
    if (wait_ == Wait::drain) {
        if (dma.idle()) finish();
        return;
    }
    if (wait_ == Wait::none || wait_ == Wait::host) {
        // Let the others catch up with this core's clock.
        const std::uint64_t ahead = ps(next_issue_) - sc_core::sc_time_stamp().value();
        resume_.notify(sc_core::sc_time::from_value(std::max<std::uint64_t>(ahead, 1)));
    }
}

template <bool observed>
void Core::run_ahead() {
    // Instructions of no cost must not keep the kernel from ever running again.
    constexpr std::uint64_t most_instructions = 1'000'000;
    const std::uint64_t stop_at = instructions_ + most_instructions;
    const std::uint64_t horizon = now_cycle() + env_.quantum_cycles;
    while (next_issue_ < horizon && instructions_ < stop_at) {
        if (pc_ >= text_.size()) {
            halt(0);
            if constexpr (observed) observer_->after(*this, pc_);
            return;
        }
        [[maybe_unused]] const std::uint32_t at = pc_;
        if constexpr (observed)
            if (!observer_->before(*this)) return;
        const D& d = text_[pc_];
        const std::uint32_t pc = pc_;
        if (env_.functional ? !execute<true>(d) : !execute<false>(d)) {
            changes_.clear();
            return;
        }
        if (results_) report_results(pc, d.unit == isa::Unit::dma);
        ++instructions_;
        ++op_counts_[static_cast<std::size_t>(d.op)];
        if (instructions_ > loop_limit_at_)
            throw Trap{"more than " + std::to_string(p_.max_loop_instructions) +
                           " instructions in one iteration of a loop",
                       "loop of C_LOOP_START at pc " + std::to_string(oldest_loop().start)};
        if constexpr (observed)
            if (!observer_->after(*this, at)) return;
        if (wait_ != Wait::none) return;
    }
    if (!observed && env_.interrupted && *env_.interrupted) sc_core::sc_pause();
}

void Core::halt(std::uint32_t code) {
    exit_code_ = code;
    wait_ = Wait::drain;
}

void Core::finish() {
    const Ready end = std::max({ready_at(next_issue_, Class::control), hold_, last_done_,
                                ready_at(now_cycle(), Class::memory)});
    if (cycle_of(end) > next_issue_) {
        account(cycle_of(end) - next_issue_, class_of(end));
        if (traced_) report_stall(next_issue_, cycle_of(end), end, false, false);
        next_issue_ = cycle_of(end);
    }
    const std::uint64_t now = sc_core::sc_time_stamp().value();
    if (ps(next_issue_) > now) {  // tell the others when their time has come
        resume_.notify(sc_core::sc_time::from_value(ps(next_issue_) - now));
        return;
    }
    finish_cycle_ = next_issue_;
    wait_ = Wait::finished;
    if (traced_) report_stall(next_issue_, next_issue_, 0, false, true);
    hub_.release(core_source_);
    env_.on_finished();
}

void Core::raise(const Trap& trap, bool has_instruction) {
    TrapReport report;
    report.core = name();
    report.message = trap.message;
    report.detail = trap.detail;
    report.pc = pc_;
    report.cycle = next_issue_;
    report.time_ps = std::max<std::uint64_t>(ps(next_issue_), sc_core::sc_time_stamp().value());
    if (has_instruction) {
        const D& d = text_[pc_];
        report.has_instruction = true;
        report.word = d.word;
        const isa::OpInfo& info = isa::info(d.op);
        for (unsigned i = 0; i < info.n_operands; ++i) {
            const isa::OperandInfo& operand = info.operands[i];
            if (operand.role == isa::Role::write) continue;
            if (operand.kind != isa::OperandKind::gp && operand.kind != isa::OperandKind::ha)
                continue;
            const isa::FieldInfo& field = isa::info(operand.field);
            const unsigned index = (d.word >> field.low) & 15u;
            if (operand.kind == isa::OperandKind::ha) {
                const std::pair<unsigned, std::uint64_t> shown{index, ha_[index]};
                auto& all = report.addresses;
                if (std::find(all.begin(), all.end(), shown) == all.end()) all.push_back(shown);
                continue;
            }
            const bool listed = std::any_of(report.operands.begin(), report.operands.end(),
                                            [&](const auto& o) { return o.index == index; });
            if (!listed) report.operands.push_back({index, gp_[index], gp_writer_[index]});
        }
    }
    trap_ = report;
    finish_cycle_ = next_issue_;
    if (hub_.wants(core_source_, trace::Kind::trap))
        hub_.emit({report.time_ps, report.time_ps, 0, 0, pc_, core_source_, trace::Kind::trap});
    hub_.release(core_source_);
    env_.on_trap();
}

void Core::dma_done(Descriptor& descriptor) {
    if (observer_) observer_->transferred(*this, descriptor);
    if (!descriptor.staging.empty()) staging_.push_back(std::move(descriptor.staging));
    switch (wait_) {
        case Wait::dma_range:
        case Wait::dma_queue:
        case Wait::dma_blocking:
        case Wait::fence:
        case Wait::drain:
            resume_.notify(sc_core::SC_ZERO_TIME);
            break;
        default:
            break;
    }
}

std::string Core::waiting_for() {
    switch (wait_) {
        case Wait::none:
            return {};
        case Wait::finished:
            return {};
        case Wait::dma_range:
            return "SRAM rows of a DMA (" + dma.describe_pending() + ")";
        case Wait::dma_queue:
            return "room in the DMA queue (" + dma.describe_pending() + ")";
        case Wait::dma_blocking:
            return "its DMA (" + dma.describe_pending() + ")";
        case Wait::fence:
            return "DMA tags of its fence (" +
                   dma.describe_pending(static_cast<std::uint32_t>(text_[pc_].imm)) + ")";
        case Wait::host:
            return "the others, to reach its cycle";
        case Wait::barrier:
        case Wait::semaphore:
            return describe_wait();
        case Wait::drain:
            return "the end of its DMA (" + dma.describe_pending() + ")";
    }
    return {};
}

Core::Activity Core::activity() const {
    Activity activity{0, dma.descriptors(), dma.bytes_read() + dma.bytes_written(), finished()};
    for (std::size_t op = 0; op < op_counts_.size(); ++op)
        if (!only_looks(static_cast<isa::Op>(op))) activity.work += op_counts_[op];
    return activity;
}

Ready Core::registers_ready(const D& d) const {
    Ready ready = 0;
    for (unsigned mask = d.gp_reads | d.gp_writes; mask; mask &= mask - 1)
        ready = std::max(ready, gp_ready_[static_cast<unsigned>(__builtin_ctz(mask))]);
    for (unsigned mask = d.fp_reads | d.fp_writes; mask; mask &= mask - 1)
        ready = std::max(ready, fp_ready_[static_cast<unsigned>(__builtin_ctz(mask))]);
    return ready;
}

/// The cycle in which the instruction issues: no earlier than its operands, its unit and `ready`
/// allow. Time that passes until then goes to what it waited for.
std::uint64_t Core::issue_at(const D& d, Ready ready, std::uint64_t unit_free) {
    ready = std::max(ready, hold_);
    hold_ = 0;
    const Ready slot_now = ready_at(next_issue_ + 1, static_cast<Class>(0)) - 1;
    if (registers_ready_ > slot_now) ready = std::max(ready, registers_ready(d));
    if (special_ready_ > slot_now && (d.ha_reads || d.state_reads))
        ready = std::max(ready, special_ready_);
    std::uint64_t issue = next_issue_;
    Ready cause = 0;
    bool unit = false;
    if (cycle_of(ready) > issue) {
        issue = cycle_of(ready);
        cause = ready;
    }
    if (unit_free > issue) {
        issue = unit_free;
        cause = ready_at(issue, class_of_unit(d.unit));
        unit = true;
    }
    if (issue > next_issue_) {
        account(issue - next_issue_, class_of(cause));
        if (traced_) report_stall(next_issue_, issue, cause, unit, false);
    }
    return issue;
}

/// Books an instruction that issues at `issue`, works in its unit for [begin, unit_end) and has its
/// result at `done`.
void Core::retire(const D& d, std::uint64_t issue, std::uint64_t begin, std::uint64_t unit_end,
                  std::uint64_t done, std::uint64_t spent_fj) {
    const Class unit = class_of_unit(d.unit);
    const auto unit_index = static_cast<int>(unit);
    const std::uint64_t last = std::max(done, unit_end);
    const std::uint64_t occupied = last - issue;
    next_issue_ = issue + (blocking_ ? occupied : std::min<std::uint64_t>(occupied, 1));
    account(next_issue_ - issue, unit);
    last_done_ = std::max(last_done_, ready_at(last, unit));
    issued_ = issue;
    if (traced_) {
        report_retired(d, issue, begin, unit_end, done, spent_fj);
        return;
    }
    hub_.spend(core_source_, issue_energy(d));
    hub_.spend(unit_source_[unit_index], spent_fj);
}

/// What retire() books, with its energy, for a run that is traced.
void Core::report_retired(const D& d, std::uint64_t issue, std::uint64_t begin,
                          std::uint64_t unit_end, std::uint64_t done, std::uint64_t spent_fj) {
    report_instruction(d, {issue, done}, begin, unit_end);
    const std::uint64_t issue_fj = issue_energy(d);
    if (issue_fj) hub_.energy(core_source_, ps(issue), ps(issue + 1), issue_fj);
    if (spent_fj)
        hub_.energy(unit_source_[static_cast<int>(class_of_unit(d.unit))], ps(begin),
                    ps(std::max(unit_end, begin + 1)), spent_fj);
}

Core::Slot Core::schedule(const D& d, Ready ready, std::uint64_t elements, bool free_of_cost) {
    const auto unit_index = static_cast<int>(class_of_unit(d.unit));
    const std::uint64_t issue = issue_at(d, ready, unit_free_[unit_index]);
    const auto timing = static_cast<std::size_t>(d.timing);
    std::uint64_t interval = 0;
    std::uint64_t latency = 0;
    if (!free_of_cost) {
        const Cost& cost = cost_[timing];
        const std::uint64_t per_element = cost.per_element * elements;
        interval = cost.interval + per_element;
        latency = cost.latency + per_element;
    }
    unit_free_[unit_index] = issue + interval;
    retire(d, issue, issue, issue + interval, issue + latency,
           energy_.operation_fj[timing] + energy_.element_fj[timing] * elements);
    return {issue, issue + latency};
}

void Core::record_lap(std::uint32_t kind, std::uint32_t value) {
    std::uint64_t spent = 0;
    for (const trace::Source& source : hub_.sources()) spent += source.dynamic_fj;
    laps_.push_back({kind, value, next_issue_, class_cycles_, spent, dma.bytes_read(),
                     dma.bytes_written(), macs_});
}

void Core::report_instruction(const D& d, const Slot& slot, std::uint64_t begin,
                              std::uint64_t unit_end) {
    if (hub_.wants(core_source_, trace::Kind::instruction))
        hub_.emit({ps(slot.issue), ps(slot.done), static_cast<std::uint64_t>(d.op), d.word, pc_,
                   core_source_, trace::Kind::instruction});
    const std::uint16_t source = unit_source_[static_cast<int>(class_of_unit(d.unit))];
    if (source != core_source_ && unit_end > begin && hub_.wants(source, trace::Kind::unit_busy))
        hub_.emit({ps(begin), ps(unit_end), static_cast<std::uint64_t>(d.op),
                   class_of_unit(d.unit) == Class::matrix ? macs_ - macs_reported_ : lanes_, pc_,
                   source, trace::Kind::unit_busy});
    macs_reported_ = macs_;
}

/// A wait for transfers is divided in proportion to where their transactions spent their time.
void Core::report_stall(std::uint64_t from, std::uint64_t to, Ready cause, bool unit, bool halted) {
    if (!hub_.wants(core_source_, trace::Kind::stall)) return;
    const auto emit = [&](std::uint64_t begin, std::uint64_t end, trace::StallCause what) {
        if (begin < end || halted)
            hub_.emit({ps(begin), ps(end), static_cast<std::uint64_t>(what), halted ? 1u : 0u, pc_,
                       core_source_, trace::Kind::stall});
    };
    if (unit) {
        emit(from, to, trace::StallCause::unit);
    } else if (cause != 0 && cause == synchronised_) {
        emit(from, to, trace::StallCause::synchronisation);
    } else if (cause != 0 && class_of(cause) == Class::memory) {
        const Dma::Spent spent = dma.take_spent(ps(from));
        const std::uint64_t whole = spent.dma + spent.noc + spent.memory;
        const auto part = [&](std::uint64_t of) {
            return whole ? trace::scaled(to - from, of, whole) : 0;
        };
        const std::uint64_t memory = to - part(spent.memory);
        const std::uint64_t noc = memory - part(spent.noc);
        emit(from, noc, trace::StallCause::dma);
        emit(noc, memory, trace::StallCause::noc);
        emit(memory, to, trace::StallCause::memory);
    } else {
        emit(from, to, trace::StallCause::operand);
    }
}

void Core::note_change(trace::Place place, std::uint64_t first, std::uint64_t count) {
    changes_.push_back({place, first, count});
}

void Core::note_change(Space space, std::uint64_t first, std::uint64_t count) {
    switch (space) {
        case Space::vector:
            note_change(trace::Place::vector_rows, first, count);
            break;
        case Space::fp:
            note_change(trace::Place::fp_words, first, count);
            break;
        case Space::integer:
            note_change(trace::Place::int_words, first, count);
            break;
        case Space::matrix:  // only transfers write it
            break;
    }
}

/// What the last instruction wrote, except what timing mode does not know. Transfers write later.
void Core::report_results(std::uint32_t pc, bool transfer) {
    for (const Change& change : changes_) {
        if (transfer) break;
        std::uint64_t value = 0;
        const void* words = nullptr;
        bool known = env_.functional;
        switch (change.place) {
            case trace::Place::gp:
                value = gp_[change.first];
                known = !((gp_taint_ >> change.first) & 1u);
                break;
            case trace::Place::fp:
                value = numerics::float_bits(fp_[change.first]);
                break;
            case trace::Place::fp_words:
                words = fp_sram_.data() + change.first;
                break;
            case trace::Place::int_words:
                words = int_sram_.data() + change.first;
                known = true;
                for (std::uint64_t i = 0; i < change.count; ++i)
                    known = known && !int_tainted(change.first + i);
                break;
            default:
                value =
                    change.count << 32 | trace::crc32(row(change.first), change.count * row_bytes_);
                break;
        }
        if (words && change.count == 1)
            std::memcpy(&value, words, 4);
        else if (words)
            value = change.count << 32 | trace::crc32(words, change.count * 4);
        if (!known) continue;
        hub_.emit({ps(issued_), ps(issued_), value,
                   static_cast<std::uint64_t>(change.place) << 32 | change.first, pc, core_source_,
                   trace::Kind::result});
    }
    changes_.clear();
}

}  // namespace npuvp::core
