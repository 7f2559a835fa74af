#include "noc/mesh.h"

#include <algorithm>
#include <map>

namespace npuvp::noc {

namespace {
std::uint64_t now_ps() {
    return sc_core::sc_time_stamp().value();
}
sc_core::sc_time ps(std::uint64_t t) {
    return sc_core::sc_time::from_value(t);
}
std::vector<Node> nodes(const std::vector<Endpoint>& endpoints) {
    std::vector<Node> result;
    for (const Endpoint& endpoint : endpoints) result.push_back(endpoint.node);
    return result;
}
}  // namespace

/// Reports what crosses links, and what it costs.
struct Mesh::Observer : MeshObserver {
    trace::Hub& hub;
    const std::uint64_t period_ps;
    const std::uint64_t hop_fj;
    const std::uint16_t mesh;
    std::vector<std::uint16_t> sources;  ///< by link

    Observer(trace::Hub& h, std::uint64_t period, std::uint64_t fj, std::uint16_t source)
        : hub(h), period_ps(period), hop_fj(fj), mesh(source) {}
    void passed(std::uint32_t link, Network network, Cycle begin, Cycle end,
                std::uint32_t flits) override {
        hub.energy(mesh, begin * period_ps, end * period_ps, flits * hop_fj);
        if (hub.active() && hub.wants(sources[link], trace::Kind::link))
            hub.emit({begin * period_ps, end * period_ps, flits,
                      static_cast<std::uint64_t>(network), 0, sources[link], trace::Kind::link});
    }
};

Mesh::Mesh(sc_core::sc_module_name name, std::vector<Region> regions, MeshDescription description,
           trace::Hub& hub)
    : Interconnect(name, std::move(regions)),
      in("in"),
      out("out"),
      description_(std::move(description)),
      period_ps_(description_.period_ps),
      timing_(description_.shape, nodes(description_.endpoints)),
      hub_(hub),
      source_(hub.add_source(this->name(), "noc")),
      at_target_(description_.targets.size()),
      target_queue_(description_.targets.size()),
      responding_(description_.initiators.size()),
      response_queue_(description_.initiators.size()),
      queued_(description_.initiators.size()) {
    in.register_b_transport(this, &Mesh::b_transport);
    in.register_nb_transport_fw(this, &Mesh::nb_transport_fw);
    in.register_transport_dbg(this, &Mesh::transport_dbg);
    in.register_get_direct_mem_ptr(this, &Mesh::get_direct_mem_ptr);
    out.register_nb_transport_bw(this, &Mesh::nb_transport_bw);
    observer_ = std::make_unique<Observer>(hub, period_ps_, description_.hop_fj, source_);
    for (std::uint32_t link = 0; link < timing_.link_count(); ++link)
        observer_->sources.push_back(
            hub.add_source(std::string(this->name()) + "." + link_name(link), "link"));
    timing_.observe(observer_.get());
    SC_METHOD(wake);
    sensitive << wake_;
    dont_initialize();
}

Mesh::~Mesh() = default;

std::string Mesh::link_name(std::uint32_t link) const {
    const std::string plain = timing_.link_name(link);
    if (!timing_.is_endpoint_link(link)) return plain;
    // "r0c1.in3" -> "r0c1.core0_in"
    const std::size_t dot = plain.find('.');
    const bool inward = plain.compare(dot + 1, 2, "in") == 0;
    const std::size_t digits = dot + (inward ? 3 : 4);
    const auto endpoint = static_cast<std::size_t>(std::stoul(plain.substr(digits)));
    return plain.substr(0, dot + 1) + description_.endpoints[endpoint].name +
           (inward ? "_in" : "_out");
}

std::uint32_t Mesh::flits(const tlm::tlm_generic_payload& payload, bool carries_data) const {
    const std::uint32_t bytes = carries_data ? payload.get_data_length() : 0;
    return 1 + (bytes + description_.flit_bytes - 1) / description_.flit_bytes;
}

Mesh::Flight& Mesh::make_flight(tlm::tlm_generic_payload& payload, int initiator) {
    if (idle_.empty()) {
        flights_.push_back(std::make_unique<Flight>());
        flights_.back()->index = static_cast<std::uint32_t>(flights_.size() - 1);
        idle_.push_back(flights_.back().get());
    }
    Flight& flight = *idle_.back();
    idle_.pop_back();
    flight.payload = &payload;
    flight.initiator = initiator;
    flight.target = -1;
    flight.owes_end_req = flight.taken = flight.owes_end_resp = flight.with_target = false;
    flight.owns_slot = true;
    flight.parent = nullptr;
    flight.copies.clear();
    flight.copies_pending = 0;
    payload.set_extension(&flight);
    return flight;
}

void Mesh::later(Action::What what, Flight& flight, std::uint64_t time_ps) {
    if (what == Action::What::respond) flight.with_target = false;
    actions_.push({time_ps, order_++, what, &flight});
    schedule();
}

tlm::tlm_sync_enum Mesh::nb_transport_fw(int id, tlm::tlm_generic_payload& payload,
                                         tlm::tlm_phase& phase, sc_core::sc_time& delay) {
    if (phase == tlm::END_RESP) {
        response_ended(*payload.get_extension<Flight>());
        return tlm::TLM_COMPLETED;
    }
    const Region* region = map.find(payload.get_address(), payload.get_data_length());
    if (!region) {
        payload.set_response_status(tlm::TLM_ADDRESS_ERROR_RESPONSE);
        return tlm::TLM_COMPLETED;
    }
    if (const auto* multicast = payload.get_extension<Multicast>())
        for (const std::uint64_t address : multicast->others)
            if (!map.find(address, payload.get_data_length())) {
                payload.set_response_status(tlm::TLM_ADDRESS_ERROR_RESPONSE);
                return tlm::TLM_COMPLETED;
            }
    payload.acquire();
    Flight& flight = make_flight(payload, id);
    const auto initiator = static_cast<std::size_t>(id);
    flight.base = region->base;
    flight.target = static_cast<int>(region->target_of(payload.get_address()));
    const std::uint64_t at = now_ps() + delay.value();
    const bool full =
        queued_[initiator] + timing_.queued(description_.initiators[initiator], Network::request) >=
        injection_queue;
    ++queued_[initiator];
    flight.owes_end_req = full;
    later(Action::What::inject, flight, cycle_at(at) * period_ps_);
    if (full) return tlm::TLM_ACCEPTED;
    phase = tlm::END_REQ;
    return tlm::TLM_UPDATED;
}

/// One copy per place, each with a payload of its own.
bool Mesh::make_copies(Flight& flight, const Multicast& multicast) {
    tlm::tlm_generic_payload& payload = *flight.payload;
    std::vector<std::uint64_t> addresses = multicast.others;
    addresses.insert(addresses.begin(), payload.get_address());
    for (const std::uint64_t address : addresses) {
        tlm::tlm_generic_payload& own = pool_.acquire(
            payload.get_command(), address, payload.get_data_ptr(), payload.get_data_length());
        if (payload.get_extension<TimingOnly>()) own.set_extension(&timing_only_);
        Flight& copy = make_flight(own, flight.initiator);
        const Region* region = map.find(address, payload.get_data_length());
        copy.base = region->base;
        copy.target = static_cast<int>(region->target_of(address));
        copy.parent = &flight;
        flight.copies.push_back(&copy);
    }
    flight.copies_pending = static_cast<std::uint32_t>(flight.copies.size());
    return true;
}

void Mesh::inject(Flight& flight) {
    const auto initiator = static_cast<std::size_t>(flight.initiator);
    --queued_[initiator];
    const std::uint32_t from = description_.initiators[initiator];
    tlm::tlm_generic_payload& payload = *flight.payload;
    const std::uint32_t length = flits(payload, payload.is_write());
    if (const auto* multicast = payload.get_extension<Multicast>()) {
        make_copies(flight, *multicast);
        std::vector<std::uint32_t> to;
        for (Flight* copy : flight.copies) {
            const auto endpoint = description_.targets[static_cast<std::size_t>(copy->target)];
            copy->owns_slot = std::find(to.begin(), to.end(), endpoint) == to.end();
            if (copy->owns_slot) to.push_back(endpoint);
        }
        timing_.multicast(from, to, Network::request, length, flight.index, flight.owes_end_req);
        return;
    }
    timing_.inject(from, description_.targets[static_cast<std::size_t>(flight.target)],
                   Network::request, length, flight.index, flight.owes_end_req);
}

void Mesh::perform(const Action& action) {
    Flight& flight = *action.flight;
    switch (action.what) {
        case Action::What::inject:
            inject(flight);
            return;
        case Action::What::end_request:
            request_ended(flight);
            return;
        case Action::What::next_response: {
            const auto initiator = static_cast<std::size_t>(flight.initiator);
            if (responding_[initiator]) return;
            response_queue_[initiator].pop_front();
            send_response(flight);
            return;
        }
        case Action::What::respond:
            if (flight.owes_end_resp) {
                flight.owes_end_resp = false;
                tlm::tlm_phase phase = tlm::END_RESP;
                sc_core::sc_time delay = sc_core::SC_ZERO_TIME;
                out[flight.target]->nb_transport_fw(*flight.payload, phase, delay);
            }
            timing_.inject(description_.targets[static_cast<std::size_t>(flight.target)],
                           description_.initiators[static_cast<std::size_t>(flight.initiator)],
                           Network::response, flits(*flight.payload, flight.payload->is_read()),
                           flight.index);
            return;
    }
}

void Mesh::wake() {
    waking_ = true;
    const std::uint64_t now = now_ps();
    const Cycle cycle = now / period_ps_;
    while (true) {
        deliveries_.clear();
        timing_.advance(cycle, deliveries_);
        // Only now: what the calls below ask for happens at this cycle, after what is past.
        bool acted = false;
        while (!actions_.empty() && actions_.top().time_ps <= now) {
            const Action action = actions_.top();
            actions_.pop();
            perform(action);
            acted = true;
        }
        // By index: what a delivery sets off is put off while we are here.
        for (std::size_t i = 0; i < deliveries_.size(); ++i) deliver(deliveries_[i]);
        if (!acted && deliveries_.empty()) break;
    }
    waking_ = false;
    schedule();
}

void Mesh::schedule() {
    if (waking_) return;
    std::uint64_t next = actions_.empty() ? ~0ull : actions_.top().time_ps;
    const Cycle cycle = timing_.next_event();
    if (cycle != kNeverCycle) next = std::min(next, cycle * period_ps_);
    if (hub_.active()) {
        if (timing_.in_flight())
            hub_.hold(source_, timing_.now() * period_ps_);
        else
            hub_.release(source_);
    }
    if (next != ~0ull) wake_.notify(ps(next - std::min(next, now_ps())));
}

void Mesh::deliver(const Delivery& delivery) {
    Flight& flight = *flights_[delivery.tag];
    if (delivery.departed) {
        flight.owes_end_req = false;
        tlm::tlm_phase phase = tlm::END_REQ;
        sc_core::sc_time delay = sc_core::SC_ZERO_TIME;
        in[flight.initiator]->nb_transport_bw(*flight.payload, phase, delay);
        return;
    }
    ++delivered_;
    if (delivery.network == Network::response) {
        response_arrived(flight);
        return;
    }
    if (flight.copies.empty()) {
        request_arrived(flight);
        return;
    }
    for (Flight* copy : flight.copies)
        if (description_.targets[static_cast<std::size_t>(copy->target)] == delivery.endpoint)
            request_arrived(*copy);
}

void Mesh::request_arrived(Flight& flight) {
    const auto target = static_cast<std::size_t>(flight.target);
    if (at_target_[target])
        target_queue_[target].push_back(&flight);
    else
        send_request(flight);
}

void Mesh::send_request(Flight& flight) {
    tlm::tlm_generic_payload& payload = *flight.payload;
    at_target_[static_cast<std::size_t>(flight.target)] = &flight;
    flight.with_target = true;
    payload.set_address(payload.get_address() - flight.base);
    tlm::tlm_phase phase = tlm::BEGIN_REQ;
    sc_core::sc_time delay = sc_core::SC_ZERO_TIME;
    const tlm::tlm_sync_enum answer = out[flight.target]->nb_transport_fw(payload, phase, delay);
    const std::uint64_t at = now_ps() + delay.value();
    if (answer == tlm::TLM_ACCEPTED) return;
    if (answer == tlm::TLM_COMPLETED || phase == tlm::BEGIN_RESP) {
        flight.owes_end_resp = answer != tlm::TLM_COMPLETED;
        later(Action::What::respond, flight, cycle_at(at) * period_ps_);
        request_ended(flight);
    } else if (at > now_ps()) {
        later(Action::What::end_request, flight, at);
    } else {
        request_ended(flight);
    }
}

/// The target can take another request.
void Mesh::request_ended(Flight& flight) {
    if (flight.taken) return;
    flight.taken = true;
    const auto target = static_cast<std::size_t>(flight.target);
    at_target_[target] = nullptr;
    if (flight.owns_slot) timing_.accept(description_.targets[target]);
    if (!target_queue_[target].empty()) {
        Flight& next = *target_queue_[target].front();
        target_queue_[target].pop_front();
        send_request(next);
    }
    schedule();
}

tlm::tlm_sync_enum Mesh::nb_transport_bw(int, tlm::tlm_generic_payload& payload,
                                         tlm::tlm_phase& phase, sc_core::sc_time& delay) {
    Flight& flight = *payload.get_extension<Flight>();
    const std::uint64_t at = now_ps() + delay.value();
    if (phase == tlm::END_REQ) {
        later(Action::What::end_request, flight, at);
        return tlm::TLM_ACCEPTED;
    }
    // BEGIN_RESP ends the request too, where that has not happened.
    if (!flight.taken) later(Action::What::end_request, flight, at);
    later(Action::What::respond, flight, cycle_at(at) * period_ps_);
    return tlm::TLM_COMPLETED;
}

void Mesh::response_arrived(Flight& flight) {
    flight.payload->set_address(flight.payload->get_address() + flight.base);
    if (Flight* whole = flight.parent) {
        if (!flight.payload->is_response_ok() || whole->copies_pending == whole->copies.size())
            whole->payload->set_response_status(flight.payload->get_response_status());
        if (--whole->copies_pending > 0) return;
        for (Flight* copy : whole->copies) {
            copy->payload->clear_extension(&timing_only_);
            finish(*copy);
        }
        whole->copies.clear();
        response_arrived(*whole);
        return;
    }
    const auto initiator = static_cast<std::size_t>(flight.initiator);
    if (responding_[initiator] || !response_queue_[initiator].empty())
        response_queue_[initiator].push_back(&flight);
    else
        send_response(flight);
}

void Mesh::send_response(Flight& flight) {
    responding_[static_cast<std::size_t>(flight.initiator)] = &flight;
    tlm::tlm_phase phase = tlm::BEGIN_RESP;
    sc_core::sc_time delay = sc_core::SC_ZERO_TIME;
    if (in[flight.initiator]->nb_transport_bw(*flight.payload, phase, delay) != tlm::TLM_ACCEPTED)
        response_ended(flight);
}

void Mesh::response_ended(Flight& flight) {
    const auto initiator = static_cast<std::size_t>(flight.initiator);
    responding_[initiator] = nullptr;
    finish(flight);
    // Not now: the initiator may be in the middle of a call.
    if (!response_queue_[initiator].empty())
        later(Action::What::next_response, *response_queue_[initiator].front(), now_ps());
}

void Mesh::finish(Flight& flight) {
    flight.payload->clear_extension(&flight);
    flight.payload->release();
    idle_.push_back(&flight);
}

void Mesh::b_transport(int id, tlm::tlm_generic_payload& payload, sc_core::sc_time& delay) {
    std::vector<std::uint64_t> addresses{payload.get_address()};
    if (const auto* multicast = payload.get_extension<Multicast>())
        addresses.insert(addresses.end(), multicast->others.begin(), multicast->others.end());
    const std::uint32_t from = description_.initiators[static_cast<std::size_t>(id)];
    sc_core::sc_time latest = delay;
    tlm::tlm_response_status status = tlm::TLM_OK_RESPONSE;
    for (const std::uint64_t address : addresses) {
        const Region* region = map.find(address, payload.get_data_length());
        if (!region) {
            payload.set_response_status(tlm::TLM_ADDRESS_ERROR_RESPONSE);
            return;
        }
        const unsigned target = region->target_of(address);
        const std::uint32_t to = description_.targets[target];
        sc_core::sc_time own = delay;
        own += ps(period_ps_ *
                  timing_.zero_load_latency(from, to, flits(payload, payload.is_write())));
        payload.set_address(address - region->base);
        out[static_cast<int>(target)]->b_transport(payload, own);
        own +=
            ps(period_ps_ * timing_.zero_load_latency(to, from, flits(payload, payload.is_read())));
        latest = std::max(latest, own);
        if (!payload.is_response_ok()) status = payload.get_response_status();
    }
    payload.set_address(addresses.front());
    payload.set_response_status(status);
    delay = latest;
}

unsigned Mesh::debug(const Region& region, tlm::tlm_generic_payload& payload) {
    const std::uint64_t address = payload.get_address();
    payload.set_address(address - region.base);
    const unsigned count = out[static_cast<int>(region.target_of(address))]->transport_dbg(payload);
    payload.set_address(address);
    return count;
}

unsigned Mesh::transport_dbg(int, tlm::tlm_generic_payload& payload) {
    const Region* region = map.find(payload.get_address(), payload.get_data_length());
    return region ? debug(*region, payload) : 0;
}

bool Mesh::get_direct_mem_ptr(int, tlm::tlm_generic_payload&, tlm::tlm_dmi&) {
    return false;
}

std::vector<std::string> Mesh::waiting() const {
    std::vector<std::string> lines;
    const auto name = [&](std::uint32_t endpoint) { return description_.endpoints[endpoint].name; };
    // First where it comes from, then what it holds up.
    std::map<std::pair<int, int>, std::size_t> unanswered;  // by target and initiator
    for (const auto& flight : flights_)
        if (flight->with_target) ++unanswered[{flight->target, flight->initiator}];
    for (const auto& [pair, requests] : unanswered) {
        const auto target = static_cast<unsigned>(pair.first);
        const Region* region = map.of_target(target);
        if (region && !region->patient)
            lines.push_back(
                not_answered(name(description_.targets[target]), requests,
                             name(description_.initiators[static_cast<std::size_t>(pair.second)])));
    }
    for (std::size_t target = 0; target < at_target_.size(); ++target)
        if (at_target_[target])
            lines.push_back(name(description_.targets[target]) + " takes no further request, " +
                            std::to_string(target_queue_[target].size()) + " wait behind the last");
    for (const Waiting& packet : timing_.waiting()) {
        const char* kind = packet.network == Network::request ? "request" : "response";
        std::string line = std::string(kind) + " from " + name(packet.from) + " to " +
                           name(packet.to) + " waits for ";
        if (packet.blocked_by != ~0u)
            line += "room at " + name(packet.blocked_by);
        else if (packet.holder_from != ~0u)
            line += "link " + link_name(packet.link) + ", held by a " + kind + " from " +
                    name(packet.holder_from) + " to " + name(packet.holder_to);
        else
            line += "a credit of link " + link_name(packet.link);
        lines.push_back(std::move(line));
    }
    return lines;
}

}  // namespace npuvp::noc
