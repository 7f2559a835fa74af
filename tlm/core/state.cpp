// What a debugger reads of a core, and what a checkpoint compares.
#include "core/core.h"
#include "core/digest.h"

namespace npuvp::core {

std::vector<OpenLoop> Core::open_loops() const {
    std::vector<OpenLoop> open;
    for (const Loop& loop : loops_)
        open.push_back({loop.start, loop.counter, gp_[loop.counter],
                        static_cast<std::uint32_t>(text_[loop.start].imm)});
    return open;
}

std::vector<std::pair<std::string, std::uint64_t>> Core::digests() const {
    std::vector<std::pair<std::string, std::uint64_t>> parts;
    const auto part = [&](const char* name, auto fill) {
        Digest digest;
        fill(digest);
        parts.emplace_back(name, digest.value());
    };
    part("registers", [&](Digest& d) {
        d.add(pc_);
        d.all(gp_);
        d.all(fp_);
        d.all(ha_);
        d.all(csr_);
        d.add(gp_taint_);
        for (const Loop& loop : loops_) {
            d.add(loop.start);
            d.add(loop.counter);
            d.add(loop.iteration_began);
        }
    });
    part("vector", [&](Digest& d) { d.all(vector_); });
    part("matrix", [&](Digest& d) { d.all(matrix_); });
    part("fp", [&](Digest& d) { d.all(fp_sram_); });
    part("int", [&](Digest& d) {
        d.all(int_sram_);
        d.all(int_taint_);
    });
    part("accumulators", [&](Digest& d) {
        d.all(acc_mm_);
        d.all(acc_mv_);
        d.all(acc_bmm_);
        d.all(acc_bmv_);
        d.add(acc_bmm_heads_);
        d.add(acc_bmv_heads_);
    });
    part("timing", [&](Digest& d) {
        d.all(gp_ready_);
        d.all(fp_ready_);
        d.add(special_ready_);
        d.add(hold_);
        d.add(synchronised_);
        d.all(row_ready_);
        d.all(fp_word_ready_);
        d.all(int_word_ready_);
        d.all(unit_free_);
        d.add(next_issue_);
        d.add(last_done_);
        d.add(matrix_timing_.busy_cycles());
        d.add(window_free_ps_);
        d.add(static_cast<std::uint8_t>(wait_));
        d.add(static_cast<std::uint8_t>(sync_));
    });
    part("counts", [&](Digest& d) {
        d.add(instructions_);
        d.all(class_cycles_);
        d.all(op_counts_);
        d.add(macs_);
        d.add(laps_.size());
        d.all(gp_writer_);
        d.all(marks_);
        d.add(next_decision_);
        for (const Decision& decision : decisions_) {
            d.add(decision.pc);
            d.add(decision.value);
        }
    });
    part("dma", [&](Digest& d) { dma.add_to(d); });
    return parts;
}

}  // namespace npuvp::core
