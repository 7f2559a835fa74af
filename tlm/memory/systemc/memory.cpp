#include "memory/systemc/memory.h"

#include <algorithm>

#include "noc/payload.h"

namespace npuvp::memory {

namespace {
Picoseconds now_ps() {
    return sc_core::sc_time_stamp().value();
}
sc_core::sc_time ps(Picoseconds t) {
    return sc_core::sc_time::from_value(t);
}
}  // namespace

Memory::Memory(sc_core::sc_module_name name, std::unique_ptr<Backend> backend, trace::Hub& hub,
               double static_watts, std::uint64_t read_byte_fj, std::uint64_t write_byte_fj)
    : sc_module(name),
      in("in"),
      backend_(std::move(backend)),
      hub_(hub),
      source_(hub.add_source(this->name(), "memory", static_watts)),
      read_byte_fj_(read_byte_fj),
      write_byte_fj_(write_byte_fj) {
    in.register_b_transport(this, &Memory::b_transport);
    in.register_nb_transport_fw(this, &Memory::nb_transport_fw);
    in.register_transport_dbg(this, &Memory::transport_dbg);
    SC_METHOD(wake);
    sensitive << wake_;
    dont_initialize();
}

/// Moves the data of a transaction. False, with the response set, where it cannot be served.
bool Memory::access(tlm::tlm_generic_payload& payload) {
    const std::uint64_t bytes = payload.get_data_length();
    if (payload.get_address() > backend_->capacity_bytes() ||
        bytes > backend_->capacity_bytes() - payload.get_address()) {
        payload.set_response_status(tlm::TLM_ADDRESS_ERROR_RESPONSE);
        return false;
    }
    if (payload.get_byte_enable_ptr()) {
        payload.set_response_status(tlm::TLM_BYTE_ENABLE_ERROR_RESPONSE);
        return false;
    }
    if (payload.get_streaming_width() < bytes) {
        payload.set_response_status(tlm::TLM_BURST_ERROR_RESPONSE);
        return false;
    }
    const bool move = !payload.get_extension<noc::TimingOnly>();
    if (auto* taint = payload.get_extension<noc::WordTaint>()) {
        for (std::uint64_t i = 0; i < bytes / 4; ++i) {
            const std::uint64_t word = payload.get_address() + 4 * i;
            if (payload.is_write())
                contents_.set_word_taint(word, (*taint->words)[taint->first + i]);
            else
                (*taint->words)[taint->first + i] = contents_.word_tainted(word);
        }
    }
    if (payload.is_read()) {
        if (move) contents_.read(payload.get_address(), payload.get_data_ptr(), bytes);
        bytes_read_ += bytes;
    } else if (payload.is_write()) {
        if (move) contents_.write(payload.get_address(), payload.get_data_ptr(), bytes);
        bytes_written_ += bytes;
    }
    payload.set_response_status(tlm::TLM_OK_RESPONSE);
    return true;
}

unsigned Memory::transport_dbg(int, tlm::tlm_generic_payload& payload) {
    const std::uint64_t capacity = backend_->capacity_bytes();
    if (payload.get_address() >= capacity) return 0;
    const auto bytes = static_cast<unsigned>(
        std::min<std::uint64_t>(payload.get_data_length(), capacity - payload.get_address()));
    if (payload.is_read())
        contents_.read(payload.get_address(), payload.get_data_ptr(), bytes);
    else if (payload.is_write())
        contents_.write(payload.get_address(), payload.get_data_ptr(), bytes);
    return bytes;
}

tlm::tlm_sync_enum Memory::nb_transport_fw(int id, tlm::tlm_generic_payload& payload,
                                           tlm::tlm_phase& phase, sc_core::sc_time& delay) {
    if (phase == tlm::END_RESP) return tlm::TLM_COMPLETED;
    if (!access(payload)) return tlm::TLM_COMPLETED;
    payload.acquire();
    std::uint32_t index;
    if (free_.empty()) {
        index = static_cast<std::uint32_t>(bursts_.size());
        bursts_.emplace_back();
    } else {
        index = free_.back();
        free_.pop_back();
    }
    const std::uint64_t address = payload.get_address();
    bursts_[index] = {&payload, id,       address, address + payload.get_data_length(),
                      0,        now_ps(), now_ps()};
    waiting_.push_back(index);
    backend_->advance(now_ps(), completions_);
    send_waiting();
    backend_->advance(now_ps(), completions_);
    collect();
    // The answer may be known by now (a posted write, a memory of fixed latency): early completion.
    const auto known = std::find(finished_.begin(), finished_.end(), index);
    if (known != finished_.end()) {
        finished_.erase(known);
        Burst& burst = bursts_[index];
        report(burst);
        delay += ps(burst.done - now_ps());
        burst.payload = nullptr;
        free_.push_back(index);
        payload.release();
        schedule();
        return tlm::TLM_COMPLETED;
    }
    schedule();
    phase = tlm::END_REQ;
    return tlm::TLM_UPDATED;
}

/// Hands accesses to the backend in order, until one is refused.
void Memory::send_waiting() {
    const std::uint64_t unit = backend_->access_bytes();
    while (!waiting_.empty()) {
        const std::uint32_t index = waiting_.front();
        Burst& burst = bursts_[index];
        const bool write = burst.payload->is_write();
        while (burst.next < burst.end) {
            const std::uint64_t stop = std::min(burst.end, burst.next / unit * unit + unit);
            Request request{burst.next, static_cast<std::uint32_t>(stop - burst.next), write,
                            index};
            if (!backend_->send(request)) return;
            if (!write) ++burst.waiting;
            burst.next = stop;
        }
        waiting_.pop_front();
        if (burst.waiting == 0) {
            burst.done = now_ps();
            finished_.push_back(index);
        }
    }
}

void Memory::collect() {
    for (const Completion& completion : completions_) {
        const auto index = static_cast<std::uint32_t>(completion.tag);
        Burst& burst = bursts_[index];
        burst.done = std::max(burst.done, completion.time);
        if (--burst.waiting == 0 && burst.next == burst.end) finished_.push_back(index);
    }
    completions_.clear();
}

void Memory::report(const Burst& burst) {
    const std::uint64_t bytes = burst.payload->get_data_length();
    if (hub_.wants(source_, trace::Kind::memory))
        hub_.emit({burst.begin, burst.done, bytes, burst.payload->is_write() ? 1u : 0u, 0, source_,
                   trace::Kind::memory});
    hub_.energy(source_, burst.begin, burst.done,
                bytes * (burst.payload->is_write() ? write_byte_fj_ : read_byte_fj_));
}

void Memory::wake() {
    const Picoseconds now = now_ps();
    backend_->advance(now, completions_);
    send_waiting();
    backend_->advance(now, completions_);
    collect();
    for (std::size_t i = 0; i < finished_.size();) {
        const std::uint32_t index = finished_[i];
        Burst burst = bursts_[index];
        if (burst.done > now) {
            ++i;
            continue;
        }
        finished_[i] = finished_.back();
        finished_.pop_back();
        bursts_[index].payload = nullptr;
        free_.push_back(index);
        report(burst);
        tlm::tlm_phase phase = tlm::BEGIN_RESP;
        sc_core::sc_time delay = sc_core::SC_ZERO_TIME;
        in[burst.socket]->nb_transport_bw(*burst.payload, phase, delay);
        burst.payload->release();
    }
    schedule();
}

void Memory::schedule() {
    Picoseconds next = kNever;
    for (std::uint32_t index : finished_) next = std::min(next, bursts_[index].done);
    if (outstanding() > finished_.size()) next = std::min(next, backend_->next_event());
    if (next == kNever) return;
    wake_.notify(ps(next - std::min(next, now_ps())));
}

void Memory::b_transport(int, tlm::tlm_generic_payload& payload, sc_core::sc_time& delay) {
    if (!access(payload)) return;
    // Loosely timed initiators see an unloaded memory: they run ahead of the kernel, so the state
    // of the queues at their local time is not known.
    const double bytes = payload.get_data_length();
    const double transfer = bytes / backend_->peak_bandwidth() * 1e12;
    delay += ps(backend_->lookahead() + static_cast<Picoseconds>(transfer + 0.5));
    hub_.energy(source_, now_ps(), now_ps() + delay.value(),
                payload.get_data_length() * (payload.is_write() ? write_byte_fj_ : read_byte_fj_));
}

}  // namespace npuvp::memory
