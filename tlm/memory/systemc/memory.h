#pragma once

#include <deque>
#include <memory>
#include <vector>

#include <tlm_utils/multi_passthrough_target_socket.h>
#include <systemc>
#include <tlm>

#include "memory/backend.h"
#include "memory/sparse.h"
#include "trace/hub.h"

namespace npuvp::memory {

/// Energy of a memory. A backend that counts commands is charged for them; of any other, a byte
/// costs `read_byte_fj` or `write_byte_fj` and nothing else does.
struct MemoryEnergy {
    double static_watts = 0;
    std::uint64_t read_byte_fj = 0;
    std::uint64_t write_byte_fj = 0;
    bool by_command = false;
    std::uint64_t activate_fj = 0;
    std::uint64_t read_command_byte_fj = 0;  ///< array and interface
    std::uint64_t write_command_byte_fj = 0;
    std::uint64_t refresh_fj = 0;       ///< of all banks of a pseudo-channel
    std::uint64_t refresh_bank_fj = 0;  ///< of one bank
};

/// A memory behind TLM-2.0 sockets: contents in a SparseStore, timing from backends. Addresses
/// spread over the backends in pieces of `interleave` bytes, as the nodes of a mesh do: each
/// backend is the channels behind one node. A transaction of any length is split into the backends'
/// accesses; one whose queue is full waits, and holds up no other channel. Reads take effect on the
/// contents when the request arrives, and so do writes, which are posted: a write is answered when
/// all of it is in the queues. A socket's request ends when fewer than `accepted_bursts` of its
/// transactions still wait for queues. Any number of initiators may bind.
class Memory : public sc_core::sc_module {
  public:
    Memory(sc_core::sc_module_name name, std::vector<std::unique_ptr<Backend>> backends,
           std::uint64_t interleave, trace::Hub& hub, const MemoryEnergy& energy);

    tlm_utils::multi_passthrough_target_socket<Memory> in;

    SparseStore& contents() { return contents_; }
    std::uint64_t capacity_bytes() const { return capacity_; }
    double peak_bandwidth() const;
    Statistics statistics() const;
    std::uint64_t bytes_read() const { return bytes_read_; }
    std::uint64_t bytes_written() const { return bytes_written_; }
    /// Transactions accepted and not yet answered.
    std::size_t outstanding() const { return bursts_.size() - free_.size(); }
    /// The run ends now: what commands have cost so far is charged.
    void finish(Picoseconds end);

  private:
    SC_HAS_PROCESS(Memory);

    struct Burst {
        tlm::tlm_generic_payload* payload = nullptr;
        int socket = 0;
        std::uint32_t unsent = 0;  ///< runs that wait for a queue
        std::uint32_t unread = 0;  ///< reads sent and not complete
        Picoseconds begin = 0;
        Picoseconds done = 0;  ///< when the last complete access completed
        bool counted = false;  ///< among those that its socket waits for
    };
    /// What one channel has still to be sent of a transaction: from `address` on, as the backend
    /// counts, those accesses before `end` that are its own.
    struct Run {
        std::uint64_t address;
        std::uint64_t end;
        std::uint32_t burst;
        bool write;
    };
    struct Channel {
        std::deque<Run> waiting;
        std::uint64_t split = 0;  ///< the last split that has met this channel
        std::uint16_t source = 0;
        Picoseconds last_begin = 0;  ///< of the last event
    };
    /// The channels behind one node.
    struct Part {
        std::unique_ptr<Backend> backend;
        Picoseconds now = 0;        ///< of the backend
        Picoseconds lookahead = 0;  ///< the same; it is asked once
        Picoseconds refill = 0;
        std::uint32_t first_channel = 0;
        std::uint32_t channels = 0;
        std::uint64_t unsent = 0;
        std::uint64_t unread = 0;
        bool fresh = false;  ///< has accepted something since it last advanced
    };
    struct Socket {
        std::uint32_t waiting = 0;                       ///< transactions with unsent accesses
        tlm::tlm_generic_payload* unended = nullptr;     ///< its END_REQ is still to come
        tlm::tlm_generic_payload* responding = nullptr;  ///< sent, no END_RESP yet
        std::deque<tlm::tlm_generic_payload*> responses;
    };

    void b_transport(int id, tlm::tlm_generic_payload& payload, sc_core::sc_time& delay);
    tlm::tlm_sync_enum nb_transport_fw(int id, tlm::tlm_generic_payload& payload,
                                       tlm::tlm_phase& phase, sc_core::sc_time& delay);
    unsigned transport_dbg(int id, tlm::tlm_generic_payload& payload);

    bool access(tlm::tlm_generic_payload& payload);
    std::uint32_t new_burst(tlm::tlm_generic_payload& payload, int socket);
    void split(std::uint32_t index);
    void send(Part& part, std::uint32_t channel);
    bool offer(Part& part, std::uint32_t channel, Run& run);
    void advance(Part& part, Picoseconds now);
    void finish_sending(std::uint32_t index);
    void report(const Burst& burst);
    Picoseconds bus_time(std::uint64_t bytes) const;
    void report_transfer(Channel& channel, Picoseconds end, Picoseconds time, std::uint64_t bytes,
                         bool write);
    void charge_commands(Picoseconds until);
    void look_for_sinks();
    void catch_up();
    void report_commands(const Part& part);
    void respond(int socket, tlm::tlm_generic_payload& payload);
    void wake();
    void schedule();
    Socket& socket(int id);

    std::vector<Part> parts_;
    std::vector<Channel> channels_;
    std::vector<std::uint32_t> part_of_channel_;
    std::uint64_t interleave_;
    std::uint64_t capacity_;
    double byte_ps_;                 ///< of a channel's data bus
    std::uint32_t whole_burst_ = 0;  ///< bytes that every access takes of it; 0: its own
    SparseStore contents_;
    trace::Hub& hub_;
    std::uint16_t source_;
    MemoryEnergy energy_;
    Statistics charged_;
    Picoseconds charged_until_ = 0;
    trace::Flag traced_;
    trace::Flag recording_;  ///< a sink wants DRAM commands
    std::vector<IssuedCommand> commands_;
    std::vector<Burst> bursts_;
    std::vector<std::uint32_t> free_;
    std::deque<Socket> sockets_;
    std::vector<std::uint32_t> finished_;  ///< bursts complete at a known time, in no order
    std::vector<Completion> completions_;
    std::uint64_t splits_ = 0;
    sc_core::sc_event wake_;
    std::uint64_t bytes_read_ = 0;
    std::uint64_t bytes_written_ = 0;
};

}  // namespace npuvp::memory
