#pragma once

#include <deque>
#include <vector>

#include <tlm_utils/multi_passthrough_initiator_socket.h>
#include <tlm_utils/multi_passthrough_target_socket.h>

#include "noc/interconnect.h"
#include "noc/payload.h"

namespace npuvp::noc {

/// Address decoder without latency or contention: connects every initiator to every target. A
/// target that has not ended a request gets the next one when it has. Responses go straight on:
/// an initiator takes them at once. Copies of a multicast arrive one after another in no time.
class Crossbar : public Interconnect {
  public:
    Crossbar(sc_core::sc_module_name name, std::vector<Region> regions);

    tlm_utils::multi_passthrough_target_socket<Crossbar> in;
    tlm_utils::multi_passthrough_initiator_socket<Crossbar> out;

    void bind_initiator(tlm::tlm_base_initiator_socket<>& socket) override;
    void bind_target(tlm::tlm_base_target_socket_b<>& socket) override {
        out.bind(socket);
        channels_.emplace_back();
    }
    unsigned debug(const Region& region, tlm::tlm_generic_payload& payload) override;
    std::vector<std::string> waiting() const override;

  private:
    SC_HAS_PROCESS(Crossbar);

    /// Where later phases of a transaction go.
    struct Route : tlm::tlm_extension<Route> {
        int initiator = -1;
        int target = -1;
        std::uint64_t address = 0;  ///< global
        bool answered =
            false;  ///< the target is done; what follows is between us and the initiator
        tlm::tlm_extension_base* clone() const override { return new Route(*this); }
        void copy_from(const tlm::tlm_extension_base& other) override {
            *this = static_cast<const Route&>(other);
        }
    };

    /// A target's request channel.
    struct Channel {
        tlm::tlm_generic_payload* request = nullptr;  ///< sent and not ended
        std::deque<tlm::tlm_generic_payload*> queue;
        std::vector<std::uint32_t> unanswered;  ///< requests by initiator
    };

    const Region* decode(tlm::tlm_generic_payload& payload);
    bool copy_to_others(tlm::tlm_generic_payload& payload, sc_core::sc_time& delay);
    void b_transport(int id, tlm::tlm_generic_payload& payload, sc_core::sc_time& delay);
    tlm::tlm_sync_enum nb_transport_fw(int id, tlm::tlm_generic_payload& payload,
                                       tlm::tlm_phase& phase, sc_core::sc_time& delay);
    tlm::tlm_sync_enum nb_transport_bw(int id, tlm::tlm_generic_payload& payload,
                                       tlm::tlm_phase& phase, sc_core::sc_time& delay);
    unsigned transport_dbg(int id, tlm::tlm_generic_payload& payload);
    bool get_direct_mem_ptr(int id, tlm::tlm_generic_payload& payload, tlm::tlm_dmi& dmi);

    void send_next(int target);
    void send_waiting();

    PayloadPool pool_;
    std::vector<Channel> channels_;  // by target
    std::vector<std::string> initiators_;
    sc_core::sc_event ended_;
};

}  // namespace npuvp::noc
