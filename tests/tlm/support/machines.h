#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <utility>

#include "isa/decode.h"
#include "platform/machine.h"

namespace npuvp::support {

constexpr std::uint64_t window = 1ull << 20;
constexpr std::uint64_t cores_at = 1ull << 30;
constexpr std::uint64_t host_at = 1ull << 31;
constexpr std::uint64_t semaphores_at = host_at + 0x10000;

/// An instruction: fields that are not named are 0.
inline std::uint32_t word(isa::Op op,
                          std::initializer_list<std::pair<isa::Field, std::uint32_t>> fields = {}) {
    std::uint32_t result = isa::info(op).match;
    for (const auto& [field, value] : fields) result |= value << isa::info(field).low;
    return result;
}

/// rd <- value, of up to 18 bits.
inline std::uint32_t set(unsigned rd, std::uint32_t value) {
    return word(isa::Op::s_addi_int, {{isa::Field::rd, rd}, {isa::Field::imm18, value}});
}

/// Cores of 16 lanes on an ideal memory of 1 MiB.
inline platform::MachineDescription small(unsigned cores) {
    platform::MachineDescription m;
    m.name = "test";
    m.core_window = window;
    for (unsigned i = 0; i < cores; ++i) {
        platform::CoreDescription core;
        core.name = "core" + std::to_string(i);
        core.base = cores_at + i * window;
        core.parameters.vlen = 16;
        core.parameters.mlen = 16;
        core.parameters.blen = 4;
        core.parameters.hlen = 4;
        core.parameters.vector_sram_bytes = 64 * 32;
        core.parameters.matrix_sram_bytes = 2 * 512;
        core.parameters.fp_sram_words = 64;
        core.parameters.int_sram_words = 64;
        core.parameters.prefetch_v_rows = 4;
        core.parameters.prefetch_m_rows = 16;
        core.parameters.act_format = numerics::MxFormat::bf16;
        core.parameters.weight_format = numerics::MxFormat::bf16;
        core.energy.operation_fj.resize(isa::timing_class_count, 1);
        core.energy.element_fj.resize(isa::timing_class_count, 1);
        core.energy.mac_fj = 1;
        m.cores.push_back(core);
    }
    platform::MemoryDescription memory;
    memory.name = "hbm";
    memory.bytes = 1 << 20;
    memory.backend = "ideal";
    memory.config.name = "hbm";
    memory.config.organization = {1, 1, 1, 1, 1, 256, 1, 4096};
    memory.config.controller.queue_depth = 1u << 20;
    memory.config.ideal = {10.0, 32e9};
    m.memories.push_back(memory);
    m.host_base = host_at;
    m.semaphore_base = semaphores_at;
    m.semaphores = 8;
    m.regions = {{"hbm", 0, 1 << 20}};
    return m;
}

}  // namespace npuvp::support
