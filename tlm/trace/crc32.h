#pragma once

#include <cstddef>
#include <cstdint>

namespace npuvp::trace {

/// The CRC-32 of zlib and PNG, so that any language can check a log.
std::uint32_t crc32(const void* data, std::size_t bytes);

}  // namespace npuvp::trace
