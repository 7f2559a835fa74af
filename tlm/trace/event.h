#pragma once

#include <cstdint>

namespace npuvp::trace {

/// Simulated time in picoseconds.
using Time = std::uint64_t;

/// What modules report. One event per fact, whatever is listening.
enum class Kind : std::uint8_t {
    instruction,  ///< core: [issue, completion); a = pc, b = operation (isa::Op), c = word
    unit_busy,    ///< core.scalar, core.vector, ...: [begin, end); a = pc, b = operation
    stall,  ///< core: [begin, end) without an issue; a = pc that waits, b = cause (StallCause)
    dma,    ///< core.dma: one descriptor [issue, completion); a = tag, b = bytes, c = 1 for a write
    burst,  ///< core.dma: one memory transaction [request, response); b = bytes, c = 1 for a write
    memory,     ///< memory channel: [begin, end) of data transfer; b = bytes, c = 1 for a write
    link,       ///< NoC link: [begin, end); b = flits, c = virtual network
    command,    ///< DRAM command at begin; a = bank, b = command, c = row
    sram,       ///< core SRAM access: [begin, end); a = first row, b = rows, c = 1 for a write
    semaphore,  ///< a = index, b = new value
    mark,       ///< core: a = kind (layer, block, step, call, op, phase), b = value
    host,       ///< host interface: a = 0 doorbell, 1 word pushed, 2 launch, 3 done; b = value
    trap,       ///< core: a = pc
    result,     ///< core: register written by an instruction, at its issue; a = pc, b = value, c =
                ///< register (0..15 integer, 16.. floating point, its float32 bits)
    energy,     ///< any component: b = femtojoules spent evenly over [begin, end)
    count_
};

/// Why nothing issued (Kind::stall).
enum class StallCause : std::uint8_t { operand, unit, dma, noc, memory, synchronisation, count_ };

/// What a mark names (Kind::mark, Event::a). A mark holds until the next one of its kind.
enum class MarkKind : std::uint8_t { layer, block, step, call, op, phase, count_ };

/// What happened at the host interface (Kind::host, Event::a).
enum class HostEvent : std::uint8_t { doorbell, word, launch, done, count_ };

constexpr std::uint32_t bit(Kind kind) {
    return 1u << static_cast<unsigned>(kind);
}

/// `source` is an index into Hub's table of components.
struct Event {
    Time begin;
    Time end;
    std::uint64_t b;
    std::uint64_t c;
    std::uint32_t a;
    std::uint16_t source;
    Kind kind;
};

}  // namespace npuvp::trace
