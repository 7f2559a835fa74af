#include "host/semaphores.h"

#include <algorithm>
#include <cstring>
#include <tuple>

namespace npuvp::host {

namespace {
std::uint64_t now_ps() {
    return sc_core::sc_time_stamp().value();
}
}  // namespace

bool Semaphores::Order::operator<(const Order& other) const {
    return std::tie(time_ps, awaits, core, number) <
           std::tie(other.time_ps, other.awaits, other.core, other.number);
}

Semaphores::Semaphores(sc_core::sc_module_name name, std::uint32_t count, std::uint64_t period_ps,
                       trace::Hub& hub)
    : sc_module(name),
      in("in"),
      bank_(count),
      period_ps_(period_ps),
      hub_(hub),
      source_(hub.add_source(this->name(), "semaphore")) {
    in.register_nb_transport_fw(this, &Semaphores::nb_transport_fw);
    in.register_b_transport(this, &Semaphores::b_transport);
    in.register_transport_dbg(this, &Semaphores::transport_dbg);
    SC_METHOD(apply);
    sensitive << apply_;
    dont_initialize();
}

Semaphores::~Semaphores() {
    for (auto& [order, request] : arriving_) request.payload->release();
    for (auto& [number, request] : waiting_) request.payload->release();
}

/// What a write asks for; false, with the response set, where it is nothing.
bool Semaphores::decode(tlm::tlm_generic_payload& payload, Request& request, std::uint32_t& core) {
    const std::uint64_t address = payload.get_address();
    request.barrier = address >= barriers;
    request.index = static_cast<std::uint32_t>((address % barriers) / 4);
    std::uint32_t words[2] = {0, 0};
    const unsigned length = payload.get_data_length();
    if (address % 4 != 0 || address >= bytes || request.index >= bank_.size()) {
        payload.set_response_status(tlm::TLM_ADDRESS_ERROR_RESPONSE);
        return false;
    }
    if (!payload.is_write() || payload.get_byte_enable_ptr() ||
        !(length == 8 || (length == 4 && !request.barrier))) {
        payload.set_response_status(payload.is_write() ? tlm::TLM_BURST_ERROR_RESPONSE
                                                       : tlm::TLM_COMMAND_ERROR_RESPONSE);
        return false;
    }
    std::memcpy(words, payload.get_data_ptr(), length);
    request.count = words[0];
    core = words[1];
    return true;
}

tlm::tlm_sync_enum Semaphores::nb_transport_fw(int id, tlm::tlm_generic_payload& payload,
                                               tlm::tlm_phase& phase, sc_core::sc_time& delay) {
    if (phase == tlm::END_RESP) return tlm::TLM_COMPLETED;
    Request request{&payload, id, false, 0, 0};
    std::uint32_t core = 0;
    if (!decode(payload, request, core)) return tlm::TLM_COMPLETED;
    payload.acquire();
    const std::uint64_t time = now_ps() + delay.value() + period_ps_;
    arriving_.emplace(Order{time, payload.get_data_length() == 8, core, next_number_++}, request);
    apply_.notify(sc_core::sc_time::from_value(arriving_.begin()->first.time_ps - now_ps()));
    phase = tlm::END_REQ;
    return tlm::TLM_UPDATED;
}

/// Signals alone: who waits needs the non-blocking interface.
void Semaphores::b_transport(int, tlm::tlm_generic_payload& payload, sc_core::sc_time& delay) {
    Request request{nullptr, 0, false, 0, 0};
    std::uint32_t core = 0;
    delay += sc_core::sc_time::from_value(period_ps_);
    if (payload.is_read()) {
        const bool known = transport_dbg(0, payload) == payload.get_data_length();
        payload.set_response_status(known ? tlm::TLM_OK_RESPONSE : tlm::TLM_ADDRESS_ERROR_RESPONSE);
        return;
    }
    if (!decode(payload, request, core)) return;
    if (payload.get_data_length() != 4) {
        payload.set_response_status(tlm::TLM_COMMAND_ERROR_RESPONSE);
        return;
    }
    std::vector<SemaphoreBank::Requester> granted;
    const bool fits = bank_.signal(request.index, request.count, granted);
    payload.set_response_status(fits ? tlm::TLM_OK_RESPONSE : tlm::TLM_GENERIC_ERROR_RESPONSE);
    report(request.index);
    for (const auto number : granted) {
        answer(waiting_.at(number), tlm::TLM_OK_RESPONSE);
        waiting_.erase(number);
    }
}

void Semaphores::apply() {
    while (!arriving_.empty() && arriving_.begin()->first.time_ps <= now_ps()) {
        const auto first = arriving_.begin();
        const std::uint64_t number = first->first.number;
        const Request request = first->second;
        arriving_.erase(first);
        serve(number, request);
    }
    if (!arriving_.empty())
        apply_.notify(sc_core::sc_time::from_value(arriving_.begin()->first.time_ps - now_ps()));
}

void Semaphores::serve(std::uint64_t number, const Request& request) {
    std::vector<SemaphoreBank::Requester> granted;
    const bool awaits = request.payload->get_data_length() == 8;
    bool accepted = true;
    waiting_.emplace(number, request);
    if (request.barrier)
        accepted = bank_.arrive(request.index, request.count, number, granted);
    else if (awaits)
        bank_.wait(request.index, request.count, number, granted);
    else
        accepted = bank_.signal(request.index, request.count, granted);
    if (!request.barrier) report(request.index);
    if (!awaits && accepted) granted.insert(granted.begin(), number);
    if (!accepted) {
        waiting_.erase(number);
        answer(request, tlm::TLM_GENERIC_ERROR_RESPONSE);
    }
    for (const auto who : granted) {
        const Request answered = waiting_.at(who);
        waiting_.erase(who);
        answer(answered, tlm::TLM_OK_RESPONSE);
    }
}

void Semaphores::answer(const Request& request, tlm::tlm_response_status status) {
    request.payload->set_response_status(status);
    tlm::tlm_phase phase = tlm::BEGIN_RESP;
    sc_core::sc_time delay = sc_core::sc_time::from_value(period_ps_);
    in[request.socket]->nb_transport_bw(*request.payload, phase, delay);
    request.payload->release();
}

void Semaphores::report(std::uint32_t index) {
    if (hub_.wants(source_, trace::Kind::semaphore))
        hub_.emit(
            {now_ps(), now_ps(), bank_.value(index), 0, index, source_, trace::Kind::semaphore});
}

unsigned Semaphores::transport_dbg(int, tlm::tlm_generic_payload& payload) {
    const std::uint64_t address = payload.get_address();
    const bool barrier = address >= barriers;
    const auto index = static_cast<std::uint32_t>((address % barriers) / 4);
    if (address % 4 != 0 || address >= bytes || index >= bank_.size()) return 0;
    std::uint32_t words[2] = {bank_.value(index), 0};
    if (barrier) {
        words[0] = bank_.arrived(index);
        words[1] = bank_.expected(index);
    }
    const unsigned length = std::min(payload.get_data_length(), 8u);
    if (payload.is_read()) {
        std::memcpy(payload.get_data_ptr(), words, length);
        return length;
    }
    if (barrier || length < 4) return 0;
    std::memcpy(words, payload.get_data_ptr(), 4);
    std::vector<SemaphoreBank::Requester> granted;
    bank_.set(index, words[0], granted);
    for (const auto number : granted) {
        answer(waiting_.at(number), tlm::TLM_OK_RESPONSE);
        waiting_.erase(number);
    }
    return length;
}

}  // namespace npuvp::host
