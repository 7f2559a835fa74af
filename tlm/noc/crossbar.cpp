#include "noc/crossbar.h"

#include <algorithm>

namespace npuvp::noc {

Crossbar::Crossbar(sc_core::sc_module_name name, std::vector<Region> regions)
    : sc_module(name), in("in"), out("out"), regions_(std::move(regions)) {
    std::sort(regions_.begin(), regions_.end(),
              [](const Region& a, const Region& b) { return a.base < b.base; });
    in.register_b_transport(this, &Crossbar::b_transport);
    in.register_nb_transport_fw(this, &Crossbar::nb_transport_fw);
    in.register_transport_dbg(this, &Crossbar::transport_dbg);
    in.register_get_direct_mem_ptr(this, &Crossbar::get_direct_mem_ptr);
    out.register_nb_transport_bw(this, &Crossbar::nb_transport_bw);
}

const Region* Crossbar::find(std::uint64_t address, std::uint64_t bytes) const {
    auto after = std::upper_bound(regions_.begin(), regions_.end(), address,
                                  [](std::uint64_t a, const Region& r) { return a < r.base; });
    if (after == regions_.begin()) return nullptr;
    const Region& region = *std::prev(after);
    const std::uint64_t offset = address - region.base;
    return offset < region.bytes && bytes <= region.bytes - offset ? &region : nullptr;
}

const Region* Crossbar::decode(tlm::tlm_generic_payload& payload) {
    const Region* region = find(payload.get_address(), payload.get_data_length());
    if (region)
        payload.set_address(payload.get_address() - region->base);
    else
        payload.set_response_status(tlm::TLM_ADDRESS_ERROR_RESPONSE);
    return region;
}

void Crossbar::b_transport(int, tlm::tlm_generic_payload& payload, sc_core::sc_time& delay) {
    if (const Region* region = decode(payload)) {
        out[region->target]->b_transport(payload, delay);
        payload.set_address(payload.get_address() + region->base);
    }
}

tlm::tlm_sync_enum Crossbar::nb_transport_fw(int id, tlm::tlm_generic_payload& payload,
                                             tlm::tlm_phase& phase, sc_core::sc_time& delay) {
    if (phase != tlm::BEGIN_REQ)  // END_RESP: the address is the target's own by now
        return out[payload.get_extension<Route>()->target]->nb_transport_fw(payload, phase, delay);
    const Region* region = decode(payload);
    if (!region) return tlm::TLM_COMPLETED;
    Route* route = payload.get_extension<Route>();
    if (!route) {
        route = new Route;
        payload.set_auto_extension(route);
    }
    route->initiator = id;
    route->target = static_cast<int>(region->target);
    return out[region->target]->nb_transport_fw(payload, phase, delay);
}

tlm::tlm_sync_enum Crossbar::nb_transport_bw(int, tlm::tlm_generic_payload& payload,
                                             tlm::tlm_phase& phase, sc_core::sc_time& delay) {
    return in[payload.get_extension<Route>()->initiator]->nb_transport_bw(payload, phase, delay);
}

unsigned Crossbar::transport_dbg(int, tlm::tlm_generic_payload& payload) {
    const Region* region = decode(payload);
    if (!region) return 0;
    const unsigned count = out[region->target]->transport_dbg(payload);
    payload.set_address(payload.get_address() + region->base);
    return count;
}

bool Crossbar::get_direct_mem_ptr(int, tlm::tlm_generic_payload&, tlm::tlm_dmi&) {
    return false;
}

}  // namespace npuvp::noc
