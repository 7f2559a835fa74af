#include "noc/payload.h"

namespace npuvp::noc {

PayloadPool::~PayloadPool() = default;

tlm::tlm_generic_payload& PayloadPool::acquire(tlm::tlm_command command, std::uint64_t address,
                                               unsigned char* data, unsigned bytes) {
    if (idle_.empty()) {
        all_.push_back(std::make_unique<tlm::tlm_generic_payload>(this));
        idle_.push_back(all_.back().get());
    }
    tlm::tlm_generic_payload& payload = *idle_.back();
    idle_.pop_back();
    payload.acquire();
    payload.set_command(command);
    payload.set_address(address);
    payload.set_data_ptr(data);
    payload.set_data_length(bytes);
    payload.set_streaming_width(bytes);
    payload.set_byte_enable_ptr(nullptr);
    payload.set_dmi_allowed(false);
    payload.set_response_status(tlm::TLM_INCOMPLETE_RESPONSE);
    return payload;
}

void PayloadPool::free(tlm::tlm_generic_payload* payload) {
    payload->reset();  // drops auto-extensions
    idle_.push_back(payload);
}

}  // namespace npuvp::noc
