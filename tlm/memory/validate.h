#pragma once

#include <cstdint>

#include "memory/backend.h"

namespace npuvp::memory {

std::uint64_t capacity_bytes(const Organization& organization);

/// @throws std::invalid_argument if the request is empty, crosses an access or leaves the memory.
void check_request(const Request& request, std::uint32_t access_bytes, std::uint64_t capacity);

/// @throws std::invalid_argument if `until` is before `now`.
void check_time(Picoseconds now, Picoseconds until);

/// The parts that every DRAM backend relies on.
/// @throws std::invalid_argument naming every fault.
void check_dram_config(const Config& config);

}  // namespace npuvp::memory
