#pragma once

#include <cstdint>
#include <vector>

namespace npuvp::core {

/// Energy coefficients of one core in femtojoules, and static power; from an energy table.
struct CoreEnergy {
    std::uint64_t issue_fj = 0;               ///< per instruction
    std::vector<std::uint64_t> operation_fj;  ///< by isa::TimingClass, whole row or tile
    std::vector<std::uint64_t> element_fj;    ///< by isa::TimingClass, per element
    std::uint64_t row_access_fj = 0;          ///< Vector SRAM, one row
    std::uint64_t matrix_row_fj = 0;          ///< Matrix SRAM, one row
    std::uint64_t dma_byte_fj = 0;
    std::uint64_t mac_fj = 0;  ///< one multiply-accumulate
    double scalar_static_watts = 0;
    double vector_static_watts = 0;
    double matrix_static_watts = 0;
    double sram_static_watts = 0;
    double dma_static_watts = 0;
    double control_static_watts = 0;
};

}  // namespace npuvp::core
