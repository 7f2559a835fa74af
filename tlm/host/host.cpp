#include "host/host.h"

#include <cstring>

namespace npuvp::host {

Host::Host(sc_core::sc_module_name name, std::uint32_t cores, std::uint32_t fifo_words,
           trace::Hub& hub)
    : sc_module(name),
      in("in"),
      cores_(cores),
      fifo_words_(fifo_words),
      hub_(hub),
      source_(hub.add_source(this->name(), "host")) {
    in.register_b_transport(this, &Host::b_transport);
    in.register_nb_transport_fw(this, &Host::nb_transport_fw);
    in.register_transport_dbg(this, &Host::transport_dbg);
}

void Host::access(tlm::tlm_generic_payload& payload, std::uint64_t time_ps) {
    const std::uint64_t core = payload.get_address() / page_bytes;
    const std::uint64_t offset = payload.get_address() % page_bytes;
    if (core >= cores_) {
        payload.set_response_status(tlm::TLM_ADDRESS_ERROR_RESPONSE);
        return;
    }
    if (payload.get_data_length() != 4 || payload.get_byte_enable_ptr()) {
        payload.set_response_status(tlm::TLM_BURST_ERROR_RESPONSE);
        return;
    }
    std::uint32_t value = 0;
    std::memcpy(&value, payload.get_data_ptr(), 4);
    payload.set_response_status(tlm::TLM_OK_RESPONSE);
    if (payload.is_write() && offset == push) {
        words_.push_back({time_ps, static_cast<std::uint32_t>(core), value});
        if (++in_fifo_ == fifo_words_) {
            ++full_interrupts_;
            in_fifo_ = 0;
        }
        report(trace::HostEvent::word, time_ps, value, core);
    } else if (payload.is_write() && offset == doorbell) {
        doorbells_.push_back({time_ps, static_cast<std::uint32_t>(core), value});
        report(trace::HostEvent::doorbell, time_ps, value, core);
    } else if (payload.is_write() && offset == console) {
        console_.push_back(static_cast<char>(value & 0xFF));
    } else if (payload.is_read() && offset == level) {
        std::memcpy(payload.get_data_ptr(), &in_fifo_, 4);
    } else {
        payload.set_response_status(tlm::TLM_COMMAND_ERROR_RESPONSE);
    }
}

void Host::report(trace::HostEvent what, std::uint64_t time_ps, std::uint32_t value,
                  std::uint64_t core) {
    if (hub_.wants(source_, trace::Kind::host))
        hub_.emit({time_ps, time_ps, value, core, static_cast<std::uint32_t>(what), source_,
                   trace::Kind::host});
}

void Host::b_transport(int, tlm::tlm_generic_payload& payload, sc_core::sc_time& delay) {
    access(payload, (sc_core::sc_time_stamp() + delay).value());
}

tlm::tlm_sync_enum Host::nb_transport_fw(int, tlm::tlm_generic_payload& payload, tlm::tlm_phase&,
                                         sc_core::sc_time& delay) {
    access(payload, (sc_core::sc_time_stamp() + delay).value());
    return tlm::TLM_COMPLETED;
}

unsigned Host::transport_dbg(int, tlm::tlm_generic_payload&) {
    return 0;
}

}  // namespace npuvp::host
