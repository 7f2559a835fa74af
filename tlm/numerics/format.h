#pragma once

#include <cstdint>

namespace npuvp::numerics {

/// Storage format of a register file or an SRAM (architecture: "Numbers are defined").
enum class Format : std::uint8_t { bf16, fp32 };

}  // namespace npuvp::numerics
