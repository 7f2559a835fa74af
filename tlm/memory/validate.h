#pragma once

#include <cstdint>

#include "memory/backend.h"

namespace npuvp::memory {

std::uint64_t capacity_bytes(const Organization& organization);

[[noreturn]] void refuse_request(const Request& request, std::uint32_t access_bytes,
                                 std::uint64_t capacity);

/// `access_bytes` is a power of two. Inline: it stands before every access.
/// @throws std::invalid_argument if the request is empty, crosses an access or leaves the memory.
inline void check_request(const Request& request, std::uint32_t access_bytes,
                          std::uint64_t capacity) {
    const std::uint64_t end = (request.address & (access_bytes - 1)) + request.bytes;
    if (request.bytes == 0 || end > access_bytes || request.address >= capacity) {
        refuse_request(request, access_bytes, capacity);
    }
}

/// @throws std::invalid_argument if `until` is before `now`.
void check_time(Picoseconds now, Picoseconds until);

/// The parts that every DRAM backend relies on.
/// @throws std::invalid_argument naming every fault.
void check_dram_config(const Config& config);

}  // namespace npuvp::memory
