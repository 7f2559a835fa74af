#pragma once

#include <string>
#include <vector>

#include <tlm_utils/multi_passthrough_initiator_socket.h>
#include <tlm_utils/multi_passthrough_target_socket.h>
#include <systemc>
#include <tlm>

namespace npuvp::noc {

/// A range of global addresses and the target that owns it.
struct Region {
    std::string owner;
    std::uint64_t base;
    std::uint64_t bytes;
    unsigned target;  ///< index of the target in order of binding
};

/// Address decoder without latency or contention: connects every initiator to every target. The
/// address that a target sees counts from the start of its region. A transaction must lie in one
/// region; anything else is answered with TLM_ADDRESS_ERROR_RESPONSE.
class Crossbar : public sc_core::sc_module {
  public:
    Crossbar(sc_core::sc_module_name name, std::vector<Region> regions);

    tlm_utils::multi_passthrough_target_socket<Crossbar> in;
    tlm_utils::multi_passthrough_initiator_socket<Crossbar> out;

    /// The region that holds [address, address + bytes), or nullptr.
    const Region* find(std::uint64_t address, std::uint64_t bytes) const;

  private:
    /// Where later phases of a transaction go.
    struct Route : tlm::tlm_extension<Route> {
        int initiator = -1;
        int target = -1;
        tlm::tlm_extension_base* clone() const override { return new Route(*this); }
        void copy_from(const tlm::tlm_extension_base& other) override {
            *this = static_cast<const Route&>(other);
        }
    };

    const Region* decode(tlm::tlm_generic_payload& payload);
    void b_transport(int id, tlm::tlm_generic_payload& payload, sc_core::sc_time& delay);
    tlm::tlm_sync_enum nb_transport_fw(int id, tlm::tlm_generic_payload& payload,
                                       tlm::tlm_phase& phase, sc_core::sc_time& delay);
    tlm::tlm_sync_enum nb_transport_bw(int id, tlm::tlm_generic_payload& payload,
                                       tlm::tlm_phase& phase, sc_core::sc_time& delay);
    unsigned transport_dbg(int id, tlm::tlm_generic_payload& payload);
    bool get_direct_mem_ptr(int id, tlm::tlm_generic_payload& payload, tlm::tlm_dmi& dmi);

    std::vector<Region> regions_;  // ascending by base
};

}  // namespace npuvp::noc
