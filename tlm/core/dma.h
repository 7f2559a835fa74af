#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <queue>
#include <string>
#include <vector>

#include <tlm_utils/simple_initiator_socket.h>
#include <systemc>
#include <tlm>

#include "core/storage.h"
#include "noc/payload.h"
#include "trace/hub.h"

namespace npuvp::core {

class Digest;

/// A contiguous piece of memory that a descriptor moves, and its place in the staging buffer.
struct Segment {
    std::uint64_t address;
    std::uint32_t bytes;
    std::uint32_t staging;
};

/// Rows or words of an SRAM of this core that a transfer reads or writes: hazards are tracked on
/// them.
struct Range {
    Space space;
    std::uint64_t first;
    std::uint64_t count;
    bool written;
};

/// What one DMA instruction asks for.
struct Descriptor {
    std::uint64_t id = 0;
    std::uint64_t start_ps = 0;
    std::uint32_t pc = 0;
    std::uint8_t tag = 0;
    bool to_sram = true;  ///< memory -> SRAM, else SRAM -> memory
    std::vector<Range> ranges;
    // How `staging` is laid out: the elements of all rows, then their scales.
    std::uint64_t rows = 0;
    std::uint64_t row_bytes = 0;
    std::uint64_t scale_bytes = 0;       ///< of a row
    std::vector<std::uint64_t> numbers;  ///< of the rows, where an index says them
    std::vector<Segment> segments;
    std::vector<Segment> writes;  ///< from memory to memory: what is written when all is read
    /// Where the segments go as well, as distances from their addresses (writes alone).
    std::vector<std::uint64_t> copies;
    bool data = true;  ///< false: timing only, nothing is moved
    std::vector<std::uint8_t> staging;
    std::vector<bool> taint;  ///< per 32-bit word of staging, where words are integers; else empty
    /// Runs when all data is in `staging` (to_sram), or before the first write (from SRAM).
    std::function<void(Descriptor&)> convert;
};

/// "reading the scales of row 2 of 4": what of a transfer goes to or comes from an address.
std::string describe_part(const Descriptor& descriptor, std::uint64_t address);

/// A transfer that is not complete, as a debugger shows it.
struct PendingTransfer {
    std::uint32_t pc;
    unsigned tag;
    bool to_sram;
    std::uint64_t address;  ///< of the first segment; 0 without one
    std::uint64_t bytes;
    std::uint32_t in_flight;  ///< transactions
    std::vector<Range> ranges;
};

struct DmaTiming {
    std::uint64_t period_ps;
    std::uint32_t ports;
    std::uint32_t port_bytes;  ///< per cycle and port
    std::uint32_t burst_bytes;
    std::uint32_t outstanding_reads;   ///< per port
    std::uint32_t outstanding_writes;  ///< per port
    std::uint32_t queue_depth;
    std::uint32_t start_cycles;  ///< from issue to the first request
    std::uint64_t fj_per_byte;
    double static_watts;
};

/// Descriptor queue and burst engine of one core. Descriptors start in order and may overlap.
/// Transfers are striped over the ports beat by beat, so the ports act as one channel of their
/// summed width; each port contributes its limit of outstanding transactions. Bursts do not cross a
/// multiple of the burst size (AXI's 4 KB rule). The next request follows when the interconnect has
/// ended the one before.
class Dma : public sc_core::sc_module {
  public:
    Dma(sc_core::sc_module_name name, const DmaTiming& timing, trace::Hub& hub);

    tlm_utils::simple_initiator_socket<Dma> out;

    /// Called at the time of completion.
    std::function<void(Descriptor&)> on_done;
    /// Called where a transaction fails; the run ends there.
    std::function<void(const Descriptor&, std::uint64_t address, std::uint32_t bytes)> on_error;

    bool full() const { return pending_.size() >= timing_.queue_depth; }
    bool idle() const { return pending_.empty(); }
    /// A pending transfer writes or reads the SRAM rows [first, first + count) of `space`: a reader
    /// conflicts with the former, a writer with both.
    bool conflicts(Space space, std::uint64_t first, std::uint64_t count, bool write) const;
    bool tags_pending(std::uint32_t mask) const;
    std::uint64_t push(std::unique_ptr<Descriptor> descriptor);
    bool pending(std::uint64_t id) const;
    /// Pending transfers with one of these tags.
    std::string describe_pending(std::uint32_t tags = ~0u) const;
    std::vector<PendingTransfer> pending_transfers() const;
    void add_to(Digest& digest) const;

    std::uint64_t bytes_read() const { return bytes_read_; }
    std::uint64_t bytes_written() const { return bytes_written_; }
    std::uint64_t descriptors() const { return next_id_ - 1; }

    /// Where transactions spent their time, in ps: at the ports, on the interconnect, in memory.
    struct Spent {
        std::uint64_t dma = 0, noc = 0, memory = 0;
    };
    /// Of those that ended after `since_ps`; forgets all that ended so far. Kept while a run is
    /// traced.
    Spent take_spent(std::uint64_t since_ps);
    /// Tells sinks which instruction started a descriptor.
    void report_start(std::uint64_t id, std::uint64_t time_ps, std::uint32_t pc) {
        hub_.emit({time_ps, time_ps, pc, 0, static_cast<std::uint32_t>(id), source_,
                   trace::Kind::descriptor});
    }

  private:
    SC_HAS_PROCESS(Dma);

    struct Active {
        std::unique_ptr<Descriptor> descriptor;
        std::size_t segment = 0;   ///< next segment to request
        std::uint32_t offset = 0;  ///< bytes of it already requested
        std::uint32_t in_flight = 0;
        std::uint64_t done_ps = 0;
    };
    struct InFlight {
        std::uint64_t done_ps;
        std::uint64_t descriptor;
        std::uint64_t begin_ps;
        std::uint64_t address;
        std::uint32_t bytes;
        bool write;
        tlm::tlm_response_status status;
        std::uint64_t response_ps;
        std::uint64_t memory_ps;  ///< in the memory; known while a run is traced
        bool operator>(const InFlight& other) const { return done_ps > other.done_ps; }
    };

    void wake();
    void hold_trace();  ///< descriptors are reported when they are done
    bool issue_bursts(Active& active);
    void note_ended(const InFlight& burst);
    tlm::tlm_sync_enum nb_transport_bw(tlm::tlm_generic_payload& payload, tlm::tlm_phase& phase,
                                       sc_core::sc_time& delay);
    void answered(tlm::tlm_generic_payload& payload, std::uint64_t response_ps);
    Active* find(std::uint64_t id);
    void schedule();

    struct Tracked : tlm::tlm_extension<Tracked> {
        std::uint64_t descriptor = 0;
        std::uint64_t begin_ps = 0;
        std::uint64_t address = 0;
        tlm::tlm_extension_base* clone() const override { return new Tracked(*this); }
        void copy_from(const tlm::tlm_extension_base& other) override {
            *this = static_cast<const Tracked&>(other);
        }
    };

    DmaTiming timing_;
    trace::Hub& hub_;
    std::uint16_t source_;
    noc::PayloadPool pool_;
    noc::TimingOnly timing_only_;
    std::deque<Active> pending_;
    std::priority_queue<InFlight, std::vector<InFlight>, std::greater<InFlight>> in_flight_;
    tlm::tlm_generic_payload* requesting_ = nullptr;  ///< sent, and not ended
    std::uint32_t reads_ = 0;
    std::uint32_t writes_ = 0;
    std::uint64_t channel_free_ps_ = 0;
    std::uint64_t next_id_ = 1;
    std::uint64_t bytes_read_ = 0;
    std::uint64_t bytes_written_ = 0;
    struct Ended {
        std::uint64_t end_ps;
        Spent spent;
    };
    std::vector<Ended> ended_;
    sc_core::sc_event wake_;
};

}  // namespace npuvp::core
