#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <tlm_utils/simple_initiator_socket.h>
#include <tlm_utils/simple_target_socket.h>
#include <systemc>
#include <tlm>

#include "core/dma.h"
#include "core/energy.h"
#include "core/matrix_timing.h"
#include "core/observer.h"
#include "core/storage.h"
#include "isa/decode.h"
#include "numerics/mx.h"
#include "numerics/rows.h"
#include "parameters.h"
#include "trace/hub.h"

namespace npuvp::core {

/// Where a firmware error stopped a core: everything that its message needs.
struct TrapReport {
    std::string core;
    std::string message;
    std::uint32_t pc = 0;
    std::uint32_t word = 0;
    bool has_instruction = false;
    std::uint64_t time_ps = 0;
    std::uint64_t cycle = 0;
    struct Operand {
        unsigned index;  ///< of the gp register
        std::uint32_t value;
        std::int64_t writer_pc;  ///< -1: never written
    };
    std::vector<Operand> operands;  ///< gp registers that the instruction reads
    std::vector<std::pair<unsigned, std::uint64_t>> addresses;  ///< a registers that it reads
    std::string detail;  ///< address and its owner, one line; may be empty
};

/// Thrown inside a core where an instruction cannot be carried out.
struct Trap {
    std::string message;
    std::string detail;
};

/// A value that firmware took from data which timing mode does not compute.
struct Decision {
    std::uint32_t pc;
    std::uint32_t value;
};

/// A loop that has begun, as a debugger shows it.
struct OpenLoop {
    std::uint32_t start;  ///< pc of C_LOOP_START
    unsigned counter;     ///< its register
    std::uint32_t left;   ///< value of the counter
    std::uint32_t count;  ///< iterations that it began with
};

/// What a core needs to know of the machine around it.
struct Environment {
    std::uint32_t core_index = 0;
    std::uint32_t core_count = 1;
    std::uint64_t period_ps = 1000;
    std::uint64_t window_bytes = 0;  ///< of a core's window in the memory map
    std::uint64_t host_base = 0;     ///< global address of the host interface
    std::uint64_t semaphore_base = 0;
    std::uint32_t semaphores = 0;  ///< and as many barriers
    /// A core as the others see it: for transfers between cores.
    struct Peer {
        std::uint64_t window;  ///< global address
        std::uint64_t vlen;
        numerics::Format vector_format;
        std::uint64_t vector_bytes;
    };
    std::vector<Peer> cores;
    bool functional = true;
    std::uint64_t quantum_cycles = 10000;
    const volatile bool* interrupted = nullptr;  ///< Ctrl-C
    std::function<void()> on_finished;  ///< this core halted and all it started is complete
    std::function<void()> on_trap;
    std::function<std::string(std::uint64_t)> owner_of;  ///< text for a global address
    /// How many of so many bytes from a global address on are in some region, up to the first that
    /// is not.
    std::function<std::uint64_t(std::uint64_t address, std::uint64_t bytes)> mapped_bytes;
};

/// Counters of a core at an instant of its program.
struct Lap {
    static constexpr std::uint32_t host_word = 255;
    std::uint32_t kind;  ///< of the mark (isa::MarkKind), or host_word
    std::uint32_t value;
    std::uint64_t cycle;
    std::array<std::uint64_t, 5> class_cycles;  ///< as Core::cycles_by_class
    std::uint64_t dynamic_fj;                   ///< of the whole platform
    std::uint64_t bytes_read;
    std::uint64_t bytes_written;
    std::uint64_t macs;
};

/// Fetch, in-order issue, scoreboard and the scalar, vector and matrix units with their SRAMs. It
/// runs ahead of the kernel on its own cycle count, and stops where it has to wait or where its
/// quantum ends. Everything that a waiting core needs to go on is in its members.
class Core : public sc_core::sc_module {
  public:
    Core(sc_core::sc_module_name name, const platform::CoreParameters& parameters,
         const CoreEnergy& energy, const Environment& environment, trace::Hub& hub);

    Dma dma;
    tlm_utils::simple_initiator_socket<Core> control;  ///< host interface, semaphores
    tlm_utils::simple_target_socket<Core> window;      ///< CSRs and SRAMs by global address

    void load_text(const std::vector<std::uint32_t>& words, std::uint32_t entry);
    /// Lets the core begin at the current time; its clock counts from here.
    void start();
    void set_decisions(std::vector<Decision> decisions) { decisions_ = std::move(decisions); }
    const std::vector<Decision>& decisions() const { return decisions_; }

    bool finished() const { return wait_ == Wait::finished; }
    const std::optional<TrapReport>& trap() const { return trap_; }
    std::uint64_t cycles() const { return finish_cycle_; }
    std::uint64_t end_ps() const { return ps(finish_cycle_); }
    std::uint64_t instructions() const { return instructions_; }
    std::uint32_t exit_code() const { return exit_code_; }
    const std::array<std::uint64_t, 5>& cycles_by_class() const { return class_cycles_; }
    /// What the counters held at every mark of a call or a phase and at every word to the host.
    const std::vector<Lap>& laps() const { return laps_; }
    const std::vector<std::uint64_t>& counts_by_operation() const { return op_counts_; }
    std::uint64_t local_cycle() const { return next_issue_; }
    std::uint32_t pc() const { return pc_; }
    /// Why the core does not go on; empty if it does.
    std::string waiting_for();
    /// What the core has achieved so far, for a watchdog.
    struct Activity {
        std::uint64_t work;         ///< instructions that can matter to anyone else
        std::uint64_t descriptors;  ///< transfers begun
        std::uint64_t bytes;        ///< that transfers have moved
        bool finished;
        /// A loop that polls does no work, and its transfers are short: those that begin and end
        /// while nothing else happens are part of it, one that goes on and on is not.
        bool since(const Activity& before) const {
            return work != before.work || finished != before.finished ||
                   (descriptors == before.descriptors && bytes != before.bytes);
        }
    };
    Activity activity() const;
    /// Of the matrix unit: see MatrixTiming::busy_cycles.
    std::uint64_t matrix_busy_cycles() const { return matrix_timing_.busy_cycles(); }
    std::uint64_t macs() const { return macs_; }

    std::uint32_t gp(unsigned i) const { return gp_[i]; }
    float fp(unsigned i) const { return fp_[i]; }
    std::uint64_t ha(unsigned i) const { return ha_[i]; }
    std::size_t loop_depth() const { return loops_.size(); }
    static constexpr unsigned kCsrs = 64;
    std::uint32_t csr_value(unsigned i) { return read_csr(i, next_issue_); }
    /// pc of the last instruction that wrote the register; -1: none did.
    std::int64_t gp_writer(unsigned i) const { return gp_writer_[i]; }

    /// nullptr: nobody watches.
    void observe(Observer* observer) { observer_ = observer; }
    /// No further instruction will be carried out.
    bool halted() const { return wait_ == Wait::drain || wait_ == Wait::finished || trap_; }
    std::vector<OpenLoop> open_loops() const;
    /// Numbers of the last marks, by kind; -1: none of that kind yet.
    const std::array<std::int64_t, 8>& marks() const { return marks_; }
    /// Numbers by part of the state (registers, each SRAM, timing, ...), equal where it is equal.
    std::vector<std::pair<std::string, std::uint64_t>> digests() const;

    /// Bytes of the window, for the loader, the host and debuggers (no time passes).
    unsigned debug_access(bool write, std::uint64_t offset, std::uint8_t* data, unsigned bytes);

  private:
    SC_HAS_PROCESS(Core);

    enum class Wait : std::uint8_t {
        none,
        dma_range,
        dma_queue,
        dma_blocking,
        fence,
        host,
        barrier,
        semaphore,
        drain,
        finished
    };
    struct Loop {
        std::uint32_t start;            ///< pc of C_LOOP_START
        std::uint8_t counter;           ///< register
        std::uint64_t iteration_began;  ///< in dynamic instructions
    };
    /// When an instruction issues and when its result is there.
    struct Slot {
        std::uint64_t issue;
        std::uint64_t done;
    };
    using D = isa::Decoded;

    // core.cpp: process, timing, traps
    void step();
    template <bool observed>
    void run_ahead();
    void halt(std::uint32_t code);
    void finish();
    void raise(const Trap& trap, bool has_instruction);
    void dma_done(Descriptor& descriptor);
    Slot schedule(const D& d, Ready ready = 0, std::uint64_t elements = 0,
                  bool free_of_cost = false);
    std::uint64_t issue_at(const D& d, Ready ready, std::uint64_t unit_free);
    void retire(const D& d, std::uint64_t issue, std::uint64_t begin, std::uint64_t unit_end,
                std::uint64_t done, std::uint64_t spent_fj);
    std::uint64_t issue_energy(const D& d) const {
        return d.timing != isa::TimingClass::mark ? energy_.issue_fj : 0;
    }
    Ready registers_ready(const D& d) const;
    void record_lap(std::uint32_t kind, std::uint32_t value);
    void account(std::uint64_t cycles, Class by) { class_cycles_[static_cast<int>(by)] += cycles; }
    // Of traced runs. Inlined, they would cost every other run the registers that they need.
    [[gnu::noinline]] void report_retired(const D& d, std::uint64_t issue, std::uint64_t begin,
                                          std::uint64_t unit_end, std::uint64_t done,
                                          std::uint64_t spent_fj);
    void report_instruction(const D& d, const Slot& slot, std::uint64_t begin,
                            std::uint64_t unit_end);
    [[gnu::noinline]] void report_stall(std::uint64_t from, std::uint64_t to, Ready cause,
                                        bool unit, bool halted);
    [[gnu::noinline]] void report_results(std::uint32_t pc, bool transfer);
    [[gnu::noinline]] void note_change(trace::Place place, std::uint64_t first,
                                       std::uint64_t count);
    [[gnu::noinline]] void note_change(Space space, std::uint64_t first, std::uint64_t count);
    std::uint64_t ps(std::uint64_t cycle) const { return cycle * env_.period_ps; }
    std::uint64_t now_cycle() const;  ///< kernel time in cycles, rounded up
    bool wait_for(Wait reason) {
        wait_ = reason;
        return false;
    }

    // execute.cpp: one instruction; false if it has to wait, with nothing changed
    template <bool functional>
    bool execute(const D& d);
    template <bool functional>
    bool execute_vector(const D& d);
    template <bool functional>
    bool execute_sampling(const D& d);
    template <bool functional>
    bool execute_topk(const D& d);
    std::vector<float> with_noise(const std::vector<float>& logits, std::uint32_t first);
    bool execute_sync(const D& d);

    // execute_matrix.cpp
    struct TilePlace;
    struct RowsPlace;
    template <bool functional>
    bool execute_matrix(const D& d);
    template <bool functional>
    bool execute_writeout(const D& d);
    TilePlace tile_place(std::uint64_t address) const;
    RowsPlace operand_rows(std::uint64_t address, std::uint64_t count) const;
    template <bool functional, typename Compute>
    bool product(const D& d, Accumulator to, const TilePlace& tile, const RowsPlace& rows,
                 std::uint64_t tile_first, std::uint64_t tile_count, Compute compute);
    std::uint32_t heads(std::uint32_t in_use);
    bool execute_dma(const D& d);
    bool execute_control(const D& d);
    void update_loop_limit();
    const Loop& oldest_loop() const;

    void write_gp(const D& d, unsigned index, std::uint32_t value, const Slot& slot, bool tainted);
    void write_fp(unsigned index, float value, const Slot& slot, Class by);
    void resolve_decisions(std::uint16_t registers);
    std::uint32_t decide(std::uint32_t value, const std::string& what);
    std::uint32_t read_csr(unsigned number, std::uint64_t cycle);
    void write_csr(unsigned number, std::uint32_t value);
    std::uint64_t vector_row(std::uint32_t address, std::uint64_t rows = 1) const;
    std::uint64_t word_index(Space space, std::uint64_t index, std::uint64_t count = 1) const;
    /// True where the instruction has to wait for a transfer that touches this range. A read of
    /// what nothing has written traps, where the platform asks for the check.
    bool reads(Space space, std::uint64_t first, std::uint64_t count = 1);
    bool writes(Space space, std::uint64_t first, std::uint64_t count = 1);
    void note_written(Space space, std::uint64_t first, std::uint64_t count);
    void check_written(Space space, std::uint64_t first, std::uint64_t count) const;
    /// When earlier results are there: of SRAM rows, or words.
    Ready rows_ready(std::uint64_t first, std::uint64_t count) const;
    Ready words_ready(Space space, std::uint64_t first, std::uint64_t count) const;
    /// The same, and the matrix unit has taken in the rows that stream into it.
    Ready rows_free(std::uint64_t first, std::uint64_t count) const;
    /// As rows_free for a write-out: those before it leave by the same port, in order.
    Ready rows_free_for_writeout(std::uint64_t first, std::uint64_t count) const;
    Ready row_free(std::uint64_t row) const {
        const Ready ready = row_ready_[row];
        return row - stream_.first < stream_.count ? std::max(ready, stream_.until) : ready;
    }
    void mark_rows(std::uint64_t first, std::uint64_t count, Ready ready);
    void mark_words(Space space, std::uint64_t first, std::uint64_t count, Ready ready);
    LazyArray<Ready>& word_ready(Space space) {
        return space == Space::fp ? fp_word_ready_ : int_word_ready_;
    }
    void sram_energy(const Slot& slot, std::uint64_t rows, std::uint64_t fj_per_row);
    void* row(std::uint64_t index) { return vector_.data() + index * row_bytes_; }
    float round_fp(float value) const;
    bool int_tainted(std::uint64_t index) const {
        return (int_taint_[index / 64] >> (index % 64)) & 1u;
    }
    void set_int_taint(std::uint64_t index, bool tainted);
    std::uint32_t& csr(isa::Csr number) { return csr_[static_cast<std::size_t>(number)]; }
    std::uint32_t head_length() {
        const std::uint32_t set = csr(isa::Csr::head_len);
        return set ? set : static_cast<std::uint32_t>(p_.hlen);
    }

    // transfer.cpp: DMA instructions
    static constexpr unsigned window_slots = 8;  ///< CSRs, four SRAMs, three reserved
    struct Transfer;
    std::vector<std::uint64_t> gather_rows(std::uint64_t index, std::uint64_t count);
    bool start_transfer(const D& d, const Transfer& transfer);
    bool start_copy(const D& d);
    bool start_multicast(const D& d);
    bool launch(const D& d, std::unique_ptr<Descriptor> descriptor, Ready ready = 0);
    Ready range_ready(const Range& range) const;
    std::vector<std::uint8_t> staging_buffer(std::uint64_t bytes);
    /// The part of this core's SRAMs that a global range touches.
    std::optional<Range> own_range(std::uint64_t address, std::uint64_t bytes, bool written) const;
    bool is_float_storage(std::uint64_t address) const;
    void convert_row(const Transfer& transfer, std::uint64_t at, std::uint8_t* elements,
                     std::uint8_t* scales, Descriptor& descriptor, std::uint64_t number);

    // synchronise.cpp: words to the host, semaphores, barriers
    void send(std::uint64_t address, std::uint32_t word, std::uint32_t second, unsigned bytes,
              std::uint64_t cycle, bool awaited);
    void answered(tlm::tlm_generic_payload& payload, const sc_core::sc_time& delay);
    std::pair<std::uint32_t, std::uint32_t> sync_state();
    std::string describe_wait();

    // window.cpp
    tlm::tlm_sync_enum window_nb_transport(tlm::tlm_generic_payload& payload, tlm::tlm_phase& phase,
                                           sc_core::sc_time& delay);
    bool window_access(tlm::tlm_generic_payload& payload, std::uint64_t& cycles);
    void window_b_transport(tlm::tlm_generic_payload& payload, sc_core::sc_time& delay);
    unsigned window_debug(tlm::tlm_generic_payload& payload);
    tlm::tlm_sync_enum control_bw(tlm::tlm_generic_payload& payload, tlm::tlm_phase& phase,
                                  sc_core::sc_time& delay);

    const platform::CoreParameters p_;
    const CoreEnergy energy_;
    const Environment env_;
    trace::Hub& hub_;
    const numerics::RowKernels& kernels_;
    const bool blocking_;
    const unsigned lanes_;  ///< VLEN
    const unsigned lane_shift_;
    const std::uint64_t row_bytes_;
    const std::uint64_t rows_;
    const bool check_written_;
    const std::uint64_t mlen_;
    const std::uint64_t operand_pitch_;  ///< elements between operand rows in Vector SRAM
    std::uint16_t core_source_;
    std::array<std::uint16_t, 5> unit_source_;  ///< by Class; memory is the DMA's own
    std::uint16_t sram_source_;
    trace::Flag traced_;
    trace::Flag results_;  ///< a sink wants what instructions write
    struct Change {
        trace::Place place;
        std::uint64_t first, count;
    };
    std::vector<Change> changes_;  ///< of the instruction that executes, where results_
    std::uint64_t issued_ = 0;     ///< when it issued

    // architectural state
    std::vector<D> text_;
    std::vector<std::uint16_t> critical_;  ///< per instruction: integer registers that steer it
    std::array<std::uint32_t, 16> gp_{};
    std::array<float, 8> fp_{};
    std::array<std::uint64_t, 16> ha_{};
    std::array<std::uint32_t, kCsrs> csr_{};
    std::vector<Lap> laps_;
    std::vector<Loop> loops_;
    std::uint32_t pc_ = 0;
    LazyArray<std::uint8_t> vector_;
    LazyArray<std::uint8_t> matrix_;
    std::vector<float> fp_sram_;
    std::vector<std::uint32_t> int_sram_;
    std::vector<std::uint64_t> int_taint_;
    std::uint16_t gp_taint_ = 0;
    std::vector<float> acc_mm_;
    std::vector<float> acc_mv_;
    std::vector<float> acc_bmm_;  ///< head, row, column; empty until it is used
    std::vector<float> acc_bmv_;
    std::vector<float> product_;       ///< of one head, before it is scaled
    std::vector<std::uint8_t> gate_;   ///< a row on its way through V_SILU_V
    std::uint32_t acc_bmm_heads_ = 0;  ///< 0: clear
    std::uint32_t acc_bmv_heads_ = 0;
    std::vector<LazyArray<std::uint64_t>> written_;  ///< by Space, a bit per row or word

    // timing state
    struct Cost {
        std::uint32_t interval, latency, per_element;
    };
    std::vector<Cost> cost_;  ///< by isa::TimingClass
    std::array<Ready, 16> gp_ready_{};
    std::array<Ready, 8> fp_ready_{};
    Ready registers_ready_ = 0;  ///< latest of the two
    Ready special_ready_ = 0;    ///< address registers and CSRs
    Ready hold_ = 0;             ///< the next instruction issues no earlier
    Ready synchronised_ = 0;     ///< the hold that an answer of a semaphore or barrier made
    LazyArray<Ready> row_ready_;
    LazyArray<Ready> fp_word_ready_;
    LazyArray<Ready> int_word_ready_;
    const MatrixShape matrix_shape_;
    MatrixTiming matrix_timing_;
    /// What the matrix unit reads while operands stream: rows of Vector SRAM and of Matrix SRAM.
    struct Stream {
        std::uint64_t first = 0, count = 0, tile_first = 0, tile_count = 0;
        Ready until = 0;
    };
    Stream stream_;
    std::array<std::uint64_t, 5> unit_free_{};
    std::uint64_t next_issue_ = 0;
    Ready last_done_ = 0;

    // bookkeeping
    Wait wait_ = Wait::none;
    std::uint64_t wait_descriptor_ = 0;
    enum class Sync : std::uint8_t { none, requested, granted };
    Sync sync_ = Sync::none;
    std::uint32_t sync_index_ = 0;  ///< semaphore or barrier that the core waits for, and
    std::uint32_t sync_count_ = 0;  ///< how many of it
    std::uint64_t window_free_ps_ = 0;
    std::uint64_t macs_ = 0;
    std::uint64_t macs_reported_ = 0;
    std::array<std::int64_t, 16> gp_writer_;
    std::array<std::int64_t, 8> marks_;
    std::uint64_t instructions_ = 0;
    std::uint64_t loop_limit_at_ = ~0ull;  ///< instruction count at which a loop traps
    std::array<std::uint64_t, 5> class_cycles_{};
    std::vector<std::uint64_t> op_counts_;
    std::uint64_t finish_cycle_ = 0;
    std::uint32_t exit_code_ = 0;
    std::optional<TrapReport> trap_;
    std::vector<Decision> decisions_;
    std::size_t next_decision_ = 0;
    noc::PayloadPool pool_;
    std::vector<std::vector<std::uint8_t>> staging_;  ///< buffers of finished transfers, for reuse
    Observer* observer_ = nullptr;
    sc_core::sc_event resume_;
};

}  // namespace npuvp::core
