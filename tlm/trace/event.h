#pragma once

#include <cstdint>

namespace npuvp::trace {

/// Simulated time in picoseconds.
using Time = std::uint64_t;

/// What modules report. One event per fact, whatever is listening.
enum class Kind : std::uint8_t {
    instruction,  ///< core: [issue, completion); a = pc, b = operation (isa::Op), c = word
    unit_busy,    ///< core.scalar, core.vector, ...: [begin, end); a = pc, b = operation, c = work:
                  ///< multiply-accumulates of the matrix unit, else lanes
    stall,  ///< core: [begin, end) without an issue; a = pc that waits, b = cause (StallCause), c =
            ///< 1 for what follows a halt, which may be empty and ends the core's time
    dma,    ///< core.dma: one descriptor [issue, completion); a = tag, b = bytes, c = 1 for a write
    burst,  ///< core.dma: one memory transaction [request, response); a = descriptor, b = bytes,
            ///< c = 2 * address, + 1 for a write
    memory,      ///< memory channel: [begin, end) of data transfer; b = bytes, c = 1 for a write
    link,        ///< NoC link: [begin, end); b = flits, c = virtual network
    command,     ///< DRAM command at begin; a = bank, b = command (memory::Command), c = row
    descriptor,  ///< core.dma: an instruction starts a transfer; a = its number, b = pc
    semaphore,   ///< a = index, b = new value
    mark,        ///< core: a = kind (layer, block, step, call, op, phase), b = value
    host,        ///< host interface: a = 0 doorbell, 1 word pushed, 2 launch, 3 done; b = value
    trap,        ///< core: a = pc
    result,      ///< core: what an instruction wrote, at its issue; a = pc, b = value, c = place
                 ///< (Place)
    energy,      ///< any component: b = femtojoules spent evenly over [begin, end); a = what for:
                 ///< the descriptor of a DMA; of a core and its parts 0 for the instruction that
                 ///< was reported last, 1 for an access from outside
    count_
};

/// Why nothing issued (Kind::stall).
enum class StallCause : std::uint8_t { operand, unit, dma, noc, memory, synchronisation, count_ };

/// Where a result stands (Kind::result, Event::c): the kind of place in the upper 32 bits, its
/// index in the lower. A register's value is its bits (float32 of a floating-point one), and so is
/// a word's. Of several words, and of rows, the value is the CRC-32 of their bytes in storage
/// (words: as 32 bits, little endian), with their number in the upper 32 bits of Event::b.
enum class Place : std::uint8_t { gp, fp, vector_rows, fp_words, int_words, count_ };

/// What a mark names (Kind::mark, Event::a). A mark holds until the next one of its kind.
enum class MarkKind : std::uint8_t { layer, block, step, call, op, phase, count_ };
/// Its value where none of its kind holds any more.
constexpr std::uint64_t mark_ends = 0xffffffff;

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
