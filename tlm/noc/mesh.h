#pragma once

#include <deque>
#include <memory>
#include <queue>
#include <string>
#include <vector>

#include <tlm_utils/multi_passthrough_initiator_socket.h>
#include <tlm_utils/multi_passthrough_target_socket.h>

#include "noc/interconnect.h"
#include "noc/mesh_timing.h"
#include "noc/payload.h"
#include "trace/hub.h"

namespace npuvp::noc {

/// A port of the mesh: a component at a node. Its sockets share the port.
struct Endpoint {
    std::string name;
    Node node;
};

struct MeshDescription {
    MeshShape shape;
    std::uint64_t period_ps = 1000;
    std::uint32_t flit_bytes = 64;
    std::uint64_t hop_fj = 0;  ///< a flit through a router and the link behind it
    std::vector<Endpoint> endpoints;
    std::vector<std::uint32_t> initiators;  ///< endpoint by order of bind_initiator
    std::vector<std::uint32_t> targets;     ///< endpoint by order of bind_target
};

/// The mesh between TLM-2.0 sockets. A transaction is one packet to its target (a header flit, and
/// the data of a write) and one packet back (a header flit, and the data of a read). Time comes
/// from MeshTiming: this module turns calls into packets, deliveries into calls, and wakes at
/// deliveries.
///
/// Flow control: an initiator's request ends (END_REQ) when its port's queue has room; a target
/// gets a request when it has ended the one before, and until then requests wait in its port and
/// then in the network; responses wait for nothing but links and, where an initiator takes its time
/// for END_RESP, for that. b_transport is for initiators that run ahead of the kernel: it charges
/// the way without contention and meets nobody.
class Mesh : public Interconnect {
  public:
    Mesh(sc_core::sc_module_name name, std::vector<Region> regions, MeshDescription description,
         trace::Hub& hub);
    ~Mesh() override;

    tlm_utils::multi_passthrough_target_socket<Mesh> in;
    tlm_utils::multi_passthrough_initiator_socket<Mesh> out;

    void bind_initiator(tlm::tlm_base_initiator_socket<>& socket) override { socket.bind(in); }
    void bind_target(tlm::tlm_base_target_socket_b<>& socket) override { out.bind(socket); }
    unsigned debug(const Region& region, tlm::tlm_generic_payload& payload) override;
    std::vector<std::string> waiting() const override;

    const MeshTiming& timing() const { return timing_; }
    /// "r0c1.east", or "r0c1.core0_in" and "r0c1.core0_out" for the links of endpoints.
    std::string link_name(std::uint32_t link) const;
    std::uint64_t packets_delivered() const { return delivered_; }

    /// Requests that a port holds for an initiator before it is made to wait.
    static constexpr std::size_t injection_queue = 64;

  private:
    SC_HAS_PROCESS(Mesh);

    /// A transaction on its way; also the payload's extension.
    struct Flight : tlm::tlm_extension<Flight> {
        tlm::tlm_generic_payload* payload = nullptr;
        std::uint32_t index = 0;
        int initiator = 0;
        int target = 0;
        std::uint64_t base = 0;  ///< of the target's region
        bool owes_end_req = false;
        bool taken = false;        ///< the target has ended the request
        bool with_target = false;  ///< which has not answered it
        bool owes_end_resp = false;
        bool owns_slot = true;        ///< in its target's port; copies to one port share theirs
        Flight* parent = nullptr;     ///< of a copy of a multicast
        std::vector<Flight*> copies;  ///< of a multicast, to all places
        std::uint32_t copies_pending = 0;
        tlm::tlm_extension_base* clone() const override { return new Flight(*this); }
        void copy_from(const tlm::tlm_extension_base& other) override {
            *this = static_cast<const Flight&>(other);
        }
        void free() override {}  // pooled
    };
    struct Action {
        std::uint64_t time_ps;
        std::uint64_t order;
        enum class What : std::uint8_t { inject, end_request, respond, next_response } what;
        Flight* flight;
        bool operator>(const Action& other) const {
            return time_ps != other.time_ps ? time_ps > other.time_ps : order > other.order;
        }
    };
    struct Observer;

    void b_transport(int id, tlm::tlm_generic_payload& payload, sc_core::sc_time& delay);
    tlm::tlm_sync_enum nb_transport_fw(int id, tlm::tlm_generic_payload& payload,
                                       tlm::tlm_phase& phase, sc_core::sc_time& delay);
    tlm::tlm_sync_enum nb_transport_bw(int id, tlm::tlm_generic_payload& payload,
                                       tlm::tlm_phase& phase, sc_core::sc_time& delay);
    unsigned transport_dbg(int id, tlm::tlm_generic_payload& payload);
    bool get_direct_mem_ptr(int id, tlm::tlm_generic_payload& payload, tlm::tlm_dmi& dmi);

    void wake();
    void schedule();
    void later(Action::What what, Flight& flight, std::uint64_t time_ps);
    void perform(const Action& action);
    void inject(Flight& flight);
    bool make_copies(Flight& flight, const Multicast& multicast);
    void deliver(const Delivery& delivery);
    void request_arrived(Flight& flight);
    void send_request(Flight& flight);
    void request_ended(Flight& flight);
    void response_arrived(Flight& flight);
    void send_response(Flight& flight);
    void response_ended(Flight& flight);
    void finish(Flight& flight);
    Flight& make_flight(tlm::tlm_generic_payload& payload, int initiator);
    std::uint32_t flits(const tlm::tlm_generic_payload& payload, bool carries_data) const;
    Cycle cycle_at(std::uint64_t time_ps) const { return (time_ps + period_ps_ - 1) / period_ps_; }

    const MeshDescription description_;
    const std::uint64_t period_ps_;
    MeshTiming timing_;
    trace::Hub& hub_;
    std::uint16_t source_;
    std::unique_ptr<Observer> observer_;
    PayloadPool pool_;
    TimingOnly timing_only_;
    std::vector<std::unique_ptr<Flight>> flights_;
    std::vector<Flight*> idle_;
    std::vector<Flight*> at_target_;  ///< by target: request sent and not ended
    std::vector<std::deque<Flight*>> target_queue_;
    std::vector<Flight*> responding_;  ///< by initiator: response sent and not ended
    std::vector<std::deque<Flight*>> response_queue_;
    std::vector<std::uint32_t> queued_;  ///< by initiator: requests accepted and not injected yet
    std::priority_queue<Action, std::vector<Action>, std::greater<Action>> actions_;
    std::uint64_t order_ = 0;
    std::uint64_t delivered_ = 0;
    std::vector<Delivery> deliveries_;
    bool waking_ = false;
    sc_core::sc_event wake_;
};

}  // namespace npuvp::noc
