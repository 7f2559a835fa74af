#include "noc/crossbar.h"

#include <algorithm>

namespace npuvp::noc {

Crossbar::Crossbar(sc_core::sc_module_name name, std::vector<Region> regions)
    : Interconnect(name, std::move(regions)), in("in"), out("out") {
    in.register_b_transport(this, &Crossbar::b_transport);
    in.register_nb_transport_fw(this, &Crossbar::nb_transport_fw);
    in.register_transport_dbg(this, &Crossbar::transport_dbg);
    in.register_get_direct_mem_ptr(this, &Crossbar::get_direct_mem_ptr);
    out.register_nb_transport_bw(this, &Crossbar::nb_transport_bw);
    SC_METHOD(send_waiting);
    sensitive << ended_;
    dont_initialize();
}

void Crossbar::bind_initiator(tlm::tlm_base_initiator_socket<>& socket) {
    socket.bind(in);
    initiators_.emplace_back(socket.get_parent_object()->name());
}

const Region* Crossbar::decode(tlm::tlm_generic_payload& payload) {
    const Region* region = map.find(payload.get_address(), payload.get_data_length());
    if (region)
        payload.set_address(payload.get_address() - region->base);
    else
        payload.set_response_status(tlm::TLM_ADDRESS_ERROR_RESPONSE);
    return region;
}

/// Writes the copies of a multicast. False, with the response set, where one fails.
bool Crossbar::copy_to_others(tlm::tlm_generic_payload& payload, sc_core::sc_time& delay) {
    const auto* multicast = payload.get_extension<Multicast>();
    if (!multicast) return true;
    sc_core::sc_time latest = delay;
    bool ok = true;
    for (const std::uint64_t address : multicast->others) {
        tlm::tlm_generic_payload& copy = pool_.acquire(
            payload.get_command(), address, payload.get_data_ptr(), payload.get_data_length());
        TimingOnly timing_only;
        if (payload.get_extension<TimingOnly>()) copy.set_extension(&timing_only);
        sc_core::sc_time own = delay;
        if (const Region* region = decode(copy)) {
            out[static_cast<int>(region->target_of(address))]->b_transport(copy, own);
        }
        latest = std::max(latest, own);
        ok = ok && copy.is_response_ok();
        if (!copy.is_response_ok()) payload.set_response_status(copy.get_response_status());
        copy.clear_extension(&timing_only);
        copy.release();
    }
    delay = latest;
    return ok;
}

void Crossbar::b_transport(int, tlm::tlm_generic_payload& payload, sc_core::sc_time& delay) {
    if (!copy_to_others(payload, delay)) return;
    const std::uint64_t address = payload.get_address();
    if (const Region* region = decode(payload)) {
        out[static_cast<int>(region->target_of(address))]->b_transport(payload, delay);
        payload.set_address(address);
    }
}

tlm::tlm_sync_enum Crossbar::nb_transport_fw(int id, tlm::tlm_generic_payload& payload,
                                             tlm::tlm_phase& phase, sc_core::sc_time& delay) {
    if (phase != tlm::BEGIN_REQ) {  // END_RESP: the address is the target's own by now
        Route& route = *payload.get_extension<Route>();
        if (route.answered) {
            payload.release();
            return tlm::TLM_COMPLETED;
        }
        return out[route.target]->nb_transport_fw(payload, phase, delay);
    }
    if (!copy_to_others(payload, delay)) return tlm::TLM_COMPLETED;
    const std::uint64_t address = payload.get_address();
    const Region* region = decode(payload);
    if (!region) return tlm::TLM_COMPLETED;
    Route* route = payload.get_extension<Route>();
    if (!route) {
        route = new Route;
        payload.set_auto_extension(route);
    }
    route->initiator = id;
    route->target = static_cast<int>(region->target_of(address));
    route->address = address;
    route->answered = false;
    Channel& channel = channels_[region->target_of(address)];
    channel.unanswered.resize(std::max(channel.unanswered.size(), initiators_.size()));
    ++channel.unanswered[static_cast<std::size_t>(id)];
    if (channel.request || !channel.queue.empty()) {
        payload.acquire();
        channel.queue.push_back(&payload);
        return tlm::TLM_ACCEPTED;
    }
    channel.request = &payload;
    const tlm::tlm_sync_enum answer = out[route->target]->nb_transport_fw(payload, phase, delay);
    if (answer != tlm::TLM_ACCEPTED) channel.request = nullptr;
    if (answer == tlm::TLM_COMPLETED || phase == tlm::BEGIN_RESP) {
        payload.set_address(address);
        --channel.unanswered[static_cast<std::size_t>(id)];
    }
    return answer;
}

void Crossbar::send_waiting() {
    for (std::size_t i = 0; i < channels_.size(); ++i) send_next(static_cast<int>(i));
}

/// A request that waited for the one before it: its answers go backward.
void Crossbar::send_next(int target) {
    Channel& channel = channels_[static_cast<std::size_t>(target)];
    while (!channel.request && !channel.queue.empty()) {
        tlm::tlm_generic_payload& payload = *channel.queue.front();
        channel.queue.pop_front();
        channel.request = &payload;
        Route& route = *payload.get_extension<Route>();
        tlm::tlm_phase phase = tlm::BEGIN_REQ;
        sc_core::sc_time delay = sc_core::SC_ZERO_TIME;
        const tlm::tlm_sync_enum answer = out[target]->nb_transport_fw(payload, phase, delay);
        if (answer == tlm::TLM_ACCEPTED) {
            payload.release();
            return;
        }
        channel.request = nullptr;
        if (answer == tlm::TLM_COMPLETED) {
            route.answered = true;
            phase = tlm::BEGIN_RESP;
        }
        if (phase == tlm::BEGIN_RESP) {
            payload.set_address(route.address);
            --channel.unanswered[static_cast<std::size_t>(route.initiator)];
        }
        if (in[route.initiator]->nb_transport_bw(payload, phase, delay) == tlm::TLM_ACCEPTED &&
            answer == tlm::TLM_COMPLETED)
            continue;  // released at END_RESP
        payload.release();
    }
}

tlm::tlm_sync_enum Crossbar::nb_transport_bw(int id, tlm::tlm_generic_payload& payload,
                                             tlm::tlm_phase& phase, sc_core::sc_time& delay) {
    Channel& channel = channels_[static_cast<std::size_t>(id)];
    const bool ended = channel.request == &payload;  // END_REQ, or a response that implies it
    const Route& route = *payload.get_extension<Route>();
    if (phase == tlm::BEGIN_RESP) {
        payload.set_address(route.address);
        --channel.unanswered[static_cast<std::size_t>(route.initiator)];
    }
    const tlm::tlm_sync_enum answer = in[route.initiator]->nb_transport_bw(payload, phase, delay);
    if (ended) {
        channel.request = nullptr;
        // Not now: the target is in the middle of a call.
        if (!channel.queue.empty()) ended_.notify(sc_core::SC_ZERO_TIME);
    }
    return answer;
}

std::vector<std::string> Crossbar::waiting() const {
    std::vector<std::string> lines;
    for (unsigned target = 0; target < channels_.size(); ++target) {
        const Channel& channel = channels_[target];
        const Region* region = map.of_target(target);
        if (!region || region->patient) continue;
        for (std::size_t i = 0; i < channel.unanswered.size(); ++i)
            if (channel.unanswered[i] > 0)
                lines.push_back(not_answered(region->owner, channel.unanswered[i], initiators_[i]));
        if (channel.request)
            lines.push_back(region->owner + " takes no further request, " +
                            std::to_string(channel.queue.size()) + " wait behind the last");
    }
    return lines;
}

unsigned Crossbar::debug(const Region& region, tlm::tlm_generic_payload& payload) {
    const std::uint64_t address = payload.get_address();
    payload.set_address(address - region.base);
    const unsigned count = out[static_cast<int>(region.target_of(address))]->transport_dbg(payload);
    payload.set_address(address);
    return count;
}

unsigned Crossbar::transport_dbg(int, tlm::tlm_generic_payload& payload) {
    const Region* region = map.find(payload.get_address(), payload.get_data_length());
    return region ? debug(*region, payload) : 0;
}

bool Crossbar::get_direct_mem_ptr(int, tlm::tlm_generic_payload&, tlm::tlm_dmi&) {
    return false;
}

}  // namespace npuvp::noc
