// A core's window in the memory map: CSRs and SRAMs by global address.
#include <algorithm>
#include <cstring>

#include "core/core.h"
#include "numerics/bf16.h"

namespace npuvp::core {

unsigned Core::debug_access(bool write, std::uint64_t offset, std::uint8_t* data, unsigned bytes) {
    const std::uint64_t slot_bytes = env_.window_bytes / window_slots;
    const std::uint64_t slot = offset / slot_bytes;
    const std::uint64_t at = offset % slot_bytes;
    auto note = [&](Space space, std::uint64_t unit, unsigned count) {
        if (write && check_written_ && count > 0)
            note_written(space, at / unit, (at + count - 1) / unit - at / unit + 1);
        return count;
    };
    auto plain = [&](Space space, std::uint8_t* storage, std::uint64_t size,
                     std::uint64_t unit) -> unsigned {
        if (at >= size) return 0;
        const auto count = static_cast<unsigned>(std::min<std::uint64_t>(bytes, size - at));
        if (write)
            std::memcpy(storage + at, data, count);
        else
            std::memcpy(data, storage + at, count);
        return note(space, unit, count);
    };
    switch (slot) {
        case 0: {
            if (write || at % 4 || bytes != 4 || at / 4 >= csr_.size()) return 0;
            const std::uint32_t value = read_csr(static_cast<unsigned>(at / 4), next_issue_);
            std::memcpy(data, &value, 4);
            return 4;
        }
        case 1:
            return plain(Space::vector, vector_.data(), vector_.size(), row_bytes_);
        case 2:
            return plain(Space::matrix, matrix_.data(), matrix_.size(),
                         mlen_ * numerics::bytes_of(p_.matrix_format));
        case 3: {
            if (p_.fp_format == numerics::Format::fp32)
                return plain(Space::fp, reinterpret_cast<std::uint8_t*>(fp_sram_.data()),
                             4 * fp_sram_.size(), 4);
            // Byte by byte: a transfer may begin or end within a word.
            unsigned done = 0;
            for (; done < bytes && (at + done) / 2 < fp_sram_.size(); ++done) {
                float& word = fp_sram_[(at + done) / 2];
                const unsigned shift = 16 + 8 * ((at + done) % 2);
                std::uint32_t stored = numerics::float_bits(word);
                if (write) {
                    stored &= ~(0xFFu << shift);
                    stored |= std::uint32_t{data[done]} << shift;
                    word = numerics::float_of_bits(stored);
                } else {
                    data[done] = static_cast<std::uint8_t>(stored >> shift);
                }
            }
            return note(Space::fp, 2, done);
        }
        case 4:
            return plain(Space::integer, reinterpret_cast<std::uint8_t*>(int_sram_.data()),
                         4 * int_sram_.size(), 4);
        default:
            return 0;
    }
}

/// Moves the data of a transaction; false, with the response set, where it cannot be served.
bool Core::window_access(tlm::tlm_generic_payload& payload, std::uint64_t& cycles) {
    const unsigned bytes = payload.get_data_length();
    const std::uint64_t slot_bytes = env_.window_bytes / window_slots;
    const std::uint64_t slot = payload.get_address() / slot_bytes;
    const std::uint64_t at = payload.get_address() % slot_bytes;
    if (payload.get_byte_enable_ptr()) {
        payload.set_response_status(tlm::TLM_BYTE_ENABLE_ERROR_RESPONSE);
        return false;
    }
    if (payload.get_extension<noc::TimingOnly>()) {
        const std::uint64_t sizes[] = {0,
                                       vector_.size(),
                                       matrix_.size(),
                                       fp_sram_.size() * numerics::bytes_of(p_.fp_format),
                                       4 * int_sram_.size(),
                                       0,
                                       0,
                                       0};
        if (at + bytes > sizes[slot]) {
            payload.set_response_status(tlm::TLM_ADDRESS_ERROR_RESPONSE);
            return false;
        }
    } else if (debug_access(payload.is_write(), payload.get_address(), payload.get_data_ptr(),
                            bytes) != bytes) {
        payload.set_response_status(tlm::TLM_ADDRESS_ERROR_RESPONSE);
        return false;
    }
    if (auto* taint = payload.get_extension<noc::WordTaint>(); taint && slot == 4)
        for (std::uint64_t i = 0; i < bytes / 4; ++i) {
            if (payload.is_write())
                set_int_taint(at / 4 + i, (*taint->words)[taint->first + i]);
            else
                (*taint->words)[taint->first + i] = int_tainted(at / 4 + i);
        }
    // An SRAM moves one row per cycle.
    cycles = (bytes + row_bytes_ - 1) / row_bytes_;
    payload.set_response_status(tlm::TLM_OK_RESPONSE);
    return true;
}

void Core::window_b_transport(tlm::tlm_generic_payload& payload, sc_core::sc_time& delay) {
    std::uint64_t cycles = 0;
    if (window_access(payload, cycles)) delay += sc_core::sc_time::from_value(ps(cycles));
}

/// Answers at once, with the time that the access takes; accesses of others follow one another.
tlm::tlm_sync_enum Core::window_nb_transport(tlm::tlm_generic_payload& payload,
                                             tlm::tlm_phase& phase, sc_core::sc_time& delay) {
    std::uint64_t cycles = 0;
    if (phase == tlm::END_RESP || !window_access(payload, cycles)) return tlm::TLM_COMPLETED;
    const std::uint64_t now = sc_core::sc_time_stamp().value();
    const std::uint64_t begin = std::max<std::uint64_t>(now + delay.value(), window_free_ps_);
    window_free_ps_ = begin + ps(cycles);
    hub_.energy(sram_source_, begin, window_free_ps_, cycles * energy_.row_access_fj, 1);
    delay = sc_core::sc_time::from_value(window_free_ps_ - now);
    return tlm::TLM_COMPLETED;
}

unsigned Core::window_debug(tlm::tlm_generic_payload& payload) {
    return debug_access(payload.is_write(), payload.get_address(), payload.get_data_ptr(),
                        payload.get_data_length());
}

}  // namespace npuvp::core
