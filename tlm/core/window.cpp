// A core's window in the memory map: CSRs and SRAMs by global address.
#include <algorithm>
#include <cstring>

#include "core/core.h"
#include "numerics/bf16.h"

namespace npuvp::core {

namespace {
constexpr unsigned slots = 8;  // CSRs, Vector, Matrix, FP, INT SRAM, three reserved
}

unsigned Core::debug_access(bool write, std::uint64_t offset, std::uint8_t* data, unsigned bytes) {
    const std::uint64_t slot_bytes = env_.window_bytes / slots;
    const std::uint64_t slot = offset / slot_bytes;
    const std::uint64_t at = offset % slot_bytes;
    auto plain = [&](std::uint8_t* storage, std::uint64_t size) -> unsigned {
        if (at >= size) return 0;
        const auto count = static_cast<unsigned>(std::min<std::uint64_t>(bytes, size - at));
        if (write)
            std::memcpy(storage + at, data, count);
        else
            std::memcpy(data, storage + at, count);
        return count;
    };
    switch (slot) {
        case 0: {
            if (write || at % 4 || bytes != 4 || at / 4 >= csr_.size()) return 0;
            const std::uint32_t value = read_csr(static_cast<unsigned>(at / 4));
            std::memcpy(data, &value, 4);
            return 4;
        }
        case 1:
            return plain(vector_.data(), vector_.size());
        case 2:
            return plain(matrix_.data(), matrix_.size());
        case 3: {
            if (p_.fp_format == numerics::Format::fp32)
                return plain(reinterpret_cast<std::uint8_t*>(fp_sram_.data()), 4 * fp_sram_.size());
            unsigned done = 0;
            while (done + 2 <= bytes && (at + done) / 2 < fp_sram_.size() && at % 2 == 0) {
                float& word = fp_sram_[(at + done) / 2];
                std::uint16_t stored = static_cast<std::uint16_t>(numerics::float_bits(word) >> 16);
                if (write) {
                    std::memcpy(&stored, data + done, 2);
                    word = numerics::bf16_to_float(stored);
                } else {
                    std::memcpy(data + done, &stored, 2);
                }
                done += 2;
            }
            return done;
        }
        case 4:
            return plain(reinterpret_cast<std::uint8_t*>(int_sram_.data()), 4 * int_sram_.size());
        default:
            return 0;
    }
}

void Core::window_b_transport(tlm::tlm_generic_payload& payload, sc_core::sc_time& delay) {
    if (payload.get_byte_enable_ptr()) {
        payload.set_response_status(tlm::TLM_BYTE_ENABLE_ERROR_RESPONSE);
        return;
    }
    const unsigned bytes = payload.get_data_length();
    const unsigned done =
        debug_access(payload.is_write(), payload.get_address(), payload.get_data_ptr(), bytes);
    if (done != bytes) {
        payload.set_response_status(tlm::TLM_ADDRESS_ERROR_RESPONSE);
        return;
    }
    // An SRAM moves one row per cycle.
    delay += sc_core::sc_time::from_value(ps((bytes + row_bytes_ - 1) / row_bytes_));
    payload.set_response_status(tlm::TLM_OK_RESPONSE);
}

unsigned Core::window_debug(tlm::tlm_generic_payload& payload) {
    return debug_access(payload.is_write(), payload.get_address(), payload.get_data_ptr(),
                        payload.get_data_length());
}

}  // namespace npuvp::core
