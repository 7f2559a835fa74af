#pragma once

#include <cstdint>
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

/// A memory behind TLM-2.0 sockets: contents in a SparseStore, timing from a Backend. A transaction
/// of any length is split into the backend's accesses. Reads take effect on the contents when the
/// request arrives, and so do writes, which are posted. Any number of initiators may bind.
class Memory : public sc_core::sc_module {
  public:
    Memory(sc_core::sc_module_name name, std::unique_ptr<Backend> backend, trace::Hub& hub,
           double static_watts, std::uint64_t read_byte_fj, std::uint64_t write_byte_fj);

    tlm_utils::multi_passthrough_target_socket<Memory> in;

    SparseStore& contents() { return contents_; }
    const Backend& backend() const { return *backend_; }
    std::uint64_t bytes_read() const { return bytes_read_; }
    std::uint64_t bytes_written() const { return bytes_written_; }
    /// Transactions accepted and not yet answered.
    std::size_t outstanding() const { return bursts_.size() - free_.size(); }

  private:
    SC_HAS_PROCESS(Memory);

    struct Burst {
        tlm::tlm_generic_payload* payload;
        int socket;
        std::uint64_t next;  ///< address of the next access to send
        std::uint64_t end;
        std::uint32_t waiting;  ///< accesses sent and not complete
        Picoseconds begin;
        Picoseconds done;  ///< when the last complete access completed
    };

    void b_transport(int id, tlm::tlm_generic_payload& payload, sc_core::sc_time& delay);
    tlm::tlm_sync_enum nb_transport_fw(int id, tlm::tlm_generic_payload& payload,
                                       tlm::tlm_phase& phase, sc_core::sc_time& delay);
    unsigned transport_dbg(int id, tlm::tlm_generic_payload& payload);

    bool access(tlm::tlm_generic_payload& payload);
    void send_waiting();
    void collect();
    void report(const Burst& burst);
    void wake();
    void schedule();

    std::unique_ptr<Backend> backend_;
    SparseStore contents_;
    trace::Hub& hub_;
    std::uint16_t source_;
    std::uint64_t read_byte_fj_;
    std::uint64_t write_byte_fj_;
    std::vector<Burst> bursts_;
    std::vector<std::uint32_t> free_;
    std::deque<std::uint32_t> waiting_;    ///< bursts with accesses that were not accepted yet
    std::vector<std::uint32_t> finished_;  ///< bursts complete at a known time, in no order
    std::vector<Completion> completions_;
    sc_core::sc_event wake_;
    std::uint64_t bytes_read_ = 0;
    std::uint64_t bytes_written_ = 0;
};

}  // namespace npuvp::memory
