#include "trace/signals.h"

namespace npuvp::trace {

namespace {

struct Field {
    const char* type;
    const char* name;
    State state;
    View view;
    std::uint8_t width;
    std::uint32_t kinds;
    const char* description;
};

constexpr std::uint32_t instruction = bit(Kind::instruction);
constexpr std::uint32_t mark = bit(Kind::mark);

// clang-format off
constexpr Field fields[] = {
    {"core", "pc", State::pc, View::vector, 32, instruction, "address of the last issued instruction"},
    {"core", "op", State::operation, View::vector, 16, instruction, "its operation number"},
    {"core", "mnemonic", State::operation, View::string, 0, instruction, "its mnemonic"},
    {"core", "stall", State::stall, View::vector, 3, bit(Kind::stall), "why nothing issues: 0 none, then operand, unit, dma, noc, memory, synchronisation"},
    {"core", "stall_cause", State::stall, View::string, 0, bit(Kind::stall), "the same as a word"},
    {"core", "layer", State::layer, View::vector, 32, mark, "last layer mark"},
    {"core", "layer_name", State::layer, View::string, 0, mark, "the same as a word"},
    {"core", "block", State::block, View::vector, 32, mark, "last block mark"},
    {"core", "block_name", State::block, View::string, 0, mark, "the same as a word"},
    {"core", "step", State::step, View::vector, 32, mark, "last denoising step mark"},
    {"core", "step_name", State::step, View::string, 0, mark, "the same as a word"},
    {"core", "call", State::call, View::vector, 32, mark, "last forward call mark"},
    {"core", "call_name", State::call, View::string, 0, mark, "the same as a word"},
    {"core", "op_mark", State::op_mark, View::vector, 32, mark, "last model operation mark"},
    {"core", "op_name", State::op_mark, View::string, 0, mark, "the same as a word"},
    {"core", "phase", State::phase, View::vector, 32, mark, "last phase mark"},
    {"core", "phase_name", State::phase, View::string, 0, mark, "the same as a word"},
    {"core", "trap", State::trap, View::bit, 1, bit(Kind::trap), "the core took a trap"},
    {"unit", "busy", State::active, View::bit, 1, bit(Kind::unit_busy), "an operation is under way"},
    {"unit", "active", State::active, View::vector, 16, bit(Kind::unit_busy), "operations under way"},
    {"unit", "pc", State::unit_pc, View::vector, 32, bit(Kind::unit_busy), "address of the operation that began last"},
    {"dma", "busy", State::active, View::bit, 1, bit(Kind::dma), "a descriptor is under way"},
    {"dma", "outstanding", State::active, View::vector, 16, bit(Kind::dma), "descriptors under way"},
    {"dma", "bytes", State::bytes, View::vector, 48, bit(Kind::dma), "bytes of the descriptors under way"},
    {"dma", "write", State::write, View::bit, 1, bit(Kind::dma), "direction of the descriptor that began last: 1 to memory"},
    {"dma", "bursts", State::bursts, View::vector, 16, bit(Kind::burst), "memory transactions under way"},
    {"memory", "busy", State::active, View::bit, 1, bit(Kind::memory), "data is transferred"},
    {"memory", "outstanding", State::active, View::vector, 16, bit(Kind::memory), "transfers under way"},
    {"memory", "write", State::write, View::bit, 1, bit(Kind::memory), "direction of the transfer that began last: 1 to memory"},
    {"memory", "command", State::command, View::vector, 8, bit(Kind::command), "last DRAM command"},
    {"memory", "command_name", State::command, View::string, 0, bit(Kind::command), "the same as a word"},
    {"memory", "bank", State::bank, View::vector, 16, bit(Kind::command), "bank of the last DRAM command"},
    {"memory", "row", State::row, View::vector, 32, bit(Kind::command), "row of the last DRAM command"},
    {"link", "busy", State::active, View::bit, 1, bit(Kind::link), "flits cross the link"},
    {"link", "network", State::network, View::vector, 4, bit(Kind::link), "virtual network of the packet that began last"},
    {"semaphore", "index", State::index, View::vector, 32, bit(Kind::semaphore), "semaphore that changed last"},
    {"semaphore", "value", State::value, View::vector, 32, bit(Kind::semaphore), "its value"},
    {"host", "doorbell", State::doorbell, View::bit, 1, bit(Kind::host), "rung and not yet answered by a launch"},
    {"host", "running", State::running, View::bit, 1, bit(Kind::host), "between launch and completion"},
    {"host", "irq", State::irq, View::bit, 1, bit(Kind::host), "completion interrupt, until the next doorbell or launch"},
    {"host", "word", State::word, View::vector, 32, bit(Kind::host), "last word pushed to the output FIFO"},
    {"host", "words", State::words, View::vector, 32, bit(Kind::host), "words pushed so far"},
};
// clang-format on

/// Whether there is a word for what the string signal shows.
bool has_words(State state, const Names& names) {
    switch (state) {
        case State::operation:
            return !names.operations.empty();
        case State::command:
            return !names.commands.empty();
        case State::stall:
            return true;
        default:
            return !names
                        .marks[static_cast<std::size_t>(state) -
                               static_cast<std::size_t>(State::layer)]
                        .empty();
    }
}

}  // namespace

const std::vector<std::string>& stall_names() {
    static const std::vector<std::string> names{"none", "operand", "unit",           "dma",
                                                "noc",  "memory",  "synchronisation"};
    return names;
}

std::vector<Signal> signal_catalog(const Hub& hub, const Names& names,
                                   const std::vector<std::string>& power_columns) {
    std::vector<Signal> catalog;
    const auto& sources = hub.sources();
    for (std::size_t i = 0; i < sources.size(); ++i)
        for (const Field& field : fields) {
            if (sources[i].type != field.type) continue;
            if (field.view == View::string && !has_words(field.state, names)) continue;
            catalog.push_back({sources[i].path + "." + field.name, i, field.kinds, field.state,
                               field.view, field.width, sources[i].type, field.description});
        }
    for (std::size_t i = 0; i < power_columns.size(); ++i) {
        const bool total = i + 1 == power_columns.size();
        catalog.push_back({total ? "power.total" : power_columns[i] + ".power", i, 0, State::power,
                           View::real, 64, "power", "watts, mean over the window that begins"});
    }
    return catalog;
}

}  // namespace npuvp::trace
