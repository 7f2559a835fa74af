#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include <tlm_utils/multi_passthrough_target_socket.h>
#include <systemc>
#include <tlm>

#include "host/semaphore_bank.h"
#include "trace/hub.h"

namespace npuvp::host {

/// Semaphores and barriers of the cores, memory-mapped.
///
/// Semaphore i stands at 4 i:
///     4-byte write: signal, adds the word
///     8-byte write {count, core}: answered when `count` could be taken
///     4-byte read: the value
/// Barrier i stands at 0x8000 + 4 i:
///     8-byte write {count, core}: answered when `count` writes are there
///     8-byte debug read: {arrived, expected}
///
/// A request takes effect one cycle after it arrives, its answer takes another one. So all requests
/// of an instant are there when it comes; signals go first, then requests by core, and the order
/// depends on nothing else.
class Semaphores : public sc_core::sc_module {
  public:
    static constexpr std::uint64_t barriers = 0x8000;
    static constexpr std::uint64_t bytes = 0x10000;

    Semaphores(sc_core::sc_module_name name, std::uint32_t count, std::uint64_t period_ps,
               trace::Hub& hub);
    ~Semaphores() override;

    tlm_utils::multi_passthrough_target_socket<Semaphores> in;

  private:
    SC_HAS_PROCESS(Semaphores);

    struct Request {
        tlm::tlm_generic_payload* payload;
        int socket;
        bool barrier;
        std::uint32_t index;
        std::uint32_t count;
    };
    /// Time, signals before the others, core, order of arrival.
    struct Order {
        std::uint64_t time_ps;
        bool awaits;
        std::uint32_t core;
        std::uint64_t number;
        bool operator<(const Order& other) const;
    };

    tlm::tlm_sync_enum nb_transport_fw(int id, tlm::tlm_generic_payload& payload,
                                       tlm::tlm_phase& phase, sc_core::sc_time& delay);
    void b_transport(int id, tlm::tlm_generic_payload& payload, sc_core::sc_time& delay);
    unsigned transport_dbg(int id, tlm::tlm_generic_payload& payload);
    bool decode(tlm::tlm_generic_payload& payload, Request& request, std::uint32_t& core);
    void apply();
    void serve(std::uint64_t number, const Request& request);
    void answer(const Request& request, tlm::tlm_response_status status);
    void report(std::uint32_t index);

    SemaphoreBank bank_;
    std::uint64_t period_ps_;
    trace::Hub& hub_;
    std::uint16_t source_;
    std::map<Order, Request> arriving_;
    std::map<std::uint64_t, Request> waiting_;  ///< by number
    std::uint64_t next_number_ = 0;
    sc_core::sc_event apply_;
};

}  // namespace npuvp::host
