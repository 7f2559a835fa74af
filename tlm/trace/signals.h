#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "trace/hub.h"

namespace npuvp::trace {

/// What a sink needs to show a number as a word. An empty table: that string signal is left out.
struct Names {
    std::vector<std::string> operations;  ///< mnemonic by operation number (Kind::instruction, b)
    std::vector<std::string> commands;    ///< DRAM command by number (Kind::command, b)
    std::array<std::vector<std::string>, static_cast<std::size_t>(MarkKind::count_)> marks;
};

/// What is tracked of a source. A signal is a view of one of these.
enum class State : std::uint8_t {
    pc,
    operation,
    stall,
    layer,
    block,
    step,
    call,
    op_mark,
    phase,
    trap,
    active,  ///< intervals under way
    unit_pc,
    bytes,
    write,
    bursts,
    command,
    bank,
    row,
    network,
    index,
    value,
    doorbell,
    irq,
    running,
    word,
    words,
    power,
    count_
};

/// How a signal shows its state.
enum class View : std::uint8_t { bit, vector, string, real };

struct Signal {
    std::string path;     ///< full name: "core0.vector.busy"
    std::size_t owner;    ///< index of the source, or of the power column for State::power
    std::uint32_t kinds;  ///< events it is made of, bit per Kind
    State state;
    View view;
    std::uint8_t width;  ///< bits of a vector
    std::string type;    ///< type of the source
    std::string description;
};

/// Every signal that the sources of `hub` and the power columns (the last one is the total) can
/// show, in the order of the sources. Power signals are called "<column>.power", "power.total".
std::vector<Signal> signal_catalog(const Hub& hub, const Names& names,
                                   const std::vector<std::string>& power_columns);

/// Words of the stall signal: "none", then StallCause in order.
const std::vector<std::string>& stall_names();

}  // namespace npuvp::trace
