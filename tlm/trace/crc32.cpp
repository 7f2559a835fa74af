#include "trace/crc32.h"

#include <array>

namespace npuvp::trace {

namespace {

/// Table k advances a byte over k more bytes of zeros: eight bytes are taken at once.
using Tables = std::array<std::array<std::uint32_t, 256>, 8>;

Tables make_tables() {
    Tables tables{};
    for (std::uint32_t byte = 0; byte < 256; ++byte) {
        std::uint32_t value = byte;
        for (int i = 0; i < 8; ++i) value = value & 1u ? value >> 1 ^ 0xedb88320u : value >> 1;
        tables[0][byte] = value;
    }
    for (std::size_t k = 1; k < tables.size(); ++k)
        for (std::size_t byte = 0; byte < 256; ++byte) {
            const std::uint32_t value = tables[k - 1][byte];
            tables[k][byte] = value >> 8 ^ tables[0][value & 0xff];
        }
    return tables;
}

}  // namespace

std::uint32_t crc32(const void* data, std::size_t bytes) {
    static const Tables tables = make_tables();
    const auto* at = static_cast<const unsigned char*>(data);
    std::uint32_t crc = ~0u;
    for (; bytes >= 8; bytes -= 8, at += 8) {
        std::uint64_t word = crc;
        for (int i = 0; i < 8; ++i) word ^= std::uint64_t{at[i]} << (8 * i);
        crc = 0;
        for (int i = 0; i < 8; ++i)
            crc ^= tables[static_cast<std::size_t>(7 - i)][word >> (8 * i) & 0xff];
    }
    for (; bytes > 0; --bytes, ++at) crc = crc >> 8 ^ tables[0][(crc ^ *at) & 0xff];
    return ~crc;
}

}  // namespace npuvp::trace
