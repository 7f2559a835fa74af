#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <systemc>
#include <tlm>

namespace npuvp::noc {

/// Memories with several nodes spread over them in pieces of this size.
inline constexpr std::uint64_t kInterleaveBytes = 4096;

/// A range of global addresses and the targets that own it.
struct Region {
    std::string owner;
    std::uint64_t base;
    std::uint64_t bytes;
    unsigned target;       ///< index of the (first) target in order of binding
    unsigned nodes = 1;    ///< targets `target`, `target` + 1, ... take pieces in turn
    bool patient = false;  ///< answers when others have done their part, as semaphores do
    /// The target of an address.
    unsigned target_of(std::uint64_t address) const {
        return nodes == 1
                   ? target
                   : target + static_cast<unsigned>((address - base) / kInterleaveBytes % nodes);
    }
};

/// Which region holds an address.
class AddressMap {
  public:
    explicit AddressMap(std::vector<Region> regions);
    /// The region that holds [address, address + bytes), or nullptr.
    const Region* find(std::uint64_t address, std::uint64_t bytes) const;
    /// The region that a target serves, or nullptr.
    const Region* of_target(unsigned target) const;

  private:
    std::vector<Region> regions_;  // ascending by base
};

/// "hbm has not answered 2 requests of core0.dma".
std::string not_answered(const std::string& target, std::size_t requests,
                         const std::string& initiator);

/// What connects initiators with targets by global address. The address that a target sees counts
/// from the start of its region. A transaction must lie in one region; anything else is answered
/// with TLM_ADDRESS_ERROR_RESPONSE. All speak b_transport, nb_transport and transport_dbg.
class Interconnect : public sc_core::sc_module {
  public:
    Interconnect(sc_core::sc_module_name name, std::vector<Region> regions)
        : sc_module(name), map(std::move(regions)) {}
    const AddressMap map;

    virtual void bind_initiator(tlm::tlm_base_initiator_socket<>& socket) = 0;
    /// Targets are numbered in the order of these calls.
    virtual void bind_target(tlm::tlm_base_target_socket_b<>& socket) = 0;
    /// transport_dbg, by global address and without the map's check.
    virtual unsigned debug(const Region& region, tlm::tlm_generic_payload& payload) = 0;
    /// What waits inside, one line each, for the message of a run that cannot go on.
    virtual std::vector<std::string> waiting() const = 0;
};

}  // namespace npuvp::noc
