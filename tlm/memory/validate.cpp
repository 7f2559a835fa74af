#include "memory/validate.h"

#include <stdexcept>
#include <string>

namespace npuvp::memory {

std::uint64_t capacity_bytes(const Organization& o) {
    return std::uint64_t{o.channels} * o.pseudo_channels * o.stack_ids * o.bank_groups * o.banks *
           o.rows * o.columns * o.access_bytes;
}

void check_request(const Request& request, std::uint32_t access_bytes, std::uint64_t capacity) {
    const std::uint64_t offset = request.address % access_bytes;
    if (request.bytes == 0 || offset + request.bytes > access_bytes) {
        throw std::invalid_argument("memory request of " + std::to_string(request.bytes) +
                                    " bytes at address " + std::to_string(request.address) +
                                    ": it must have 1 to " + std::to_string(access_bytes) +
                                    " bytes inside one aligned access");
    }
    if (request.address >= capacity) {
        throw std::invalid_argument("memory request at address " + std::to_string(request.address) +
                                    ": the memory has " + std::to_string(capacity) + " bytes");
    }
}

void check_time(Picoseconds now, Picoseconds until) {
    if (until < now) {
        throw std::invalid_argument("memory: cannot go back from " + std::to_string(now) +
                                    " ps to " + std::to_string(until) + " ps");
    }
}

}  // namespace npuvp::memory
