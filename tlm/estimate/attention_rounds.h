#pragma once

#include <cstdint>

namespace npuvp::estimate {

/// The output tiles of one product of a unit.
///
/// Cycles from a tile to the next one and from the last one's beginning to the end of the array's
/// work, and cycles in which the instructions of one are issued.
struct RoundTiles {
    double next = 0.0;
    double last = 0.0;
    double issue = 0.0;
};

/// What the rounds of attention issue; cycles on a core, but for the counts.
///
/// See npuvp.compiler.attention for the pipeline: in a round a unit enters, another one's scores
/// are made, another one is in softmax, and another one's outputs are made.
struct RoundCosts {
    std::int64_t rows = 0;      ///< Of a group of queries.
    std::int64_t outputs = 0;   ///< Output tiles of a unit.
    std::int64_t scores = 0;    ///< Score tiles of a unit.
    std::int64_t together = 1;  ///< Heads of a group.
    std::int64_t tiles = 1;     ///< Of keys, each a unit of its own.
    bool one_buffer = false;    ///< Of keys.
    RoundTiles output;
    RoundTiles score;
    double settled = 0.0;  ///< From the end of the array's work to rows in Vector SRAM.
    double row = 0.0;      ///< Softmax of a row.
    double alone = 0.0;    ///< Own lanes of a head, where no softmax stands beside them.
    double merged = 0.0;   ///< Outputs added to those of tiles before.
    double enter = 0.0;    ///< A group enters.
    double visit = 0.0;    ///< Other keys.
    double unit = 0.0;     ///< A unit enters.
    double begin = 0.0;    ///< Of every round.
    double before_outputs = 0.0;
    double mask = 0.0;  ///< Looking whether the mask is another one; 0: it never is.
    double ask_values = 0.0;
    double load_rows = 0.0;  ///< Issue of a load of keys or values.
    double before_scores = 0.0;
    double ask_next = 0.0;
    double load_group = 0.0;   ///< Issue of a load of queries.
    double finish = 0.0;       ///< Behind the softmax.
    double store_group = 0.0;  ///< Issue of a store of outputs.
    double after = 0.0;
};

/// The memory as the rounds meet it, in cycles.
struct RoundTransfers {
    double latency = 0.0;    ///< From issue to first data.
    std::int64_t queue = 1;  ///< Transfers that wait in the DMA engine.
    double debt = 0.0;       ///< For which the memory still works on what was stored before.
    // For which transfers keep the memory.
    double keys = 0.0;
    double values = 0.0;
    double queries = 0.0;
    double mask = 0.0;
    double written = 0.0;
    double store = 0.0;  ///< The last outputs, from issue to end.
};

/// Cycles from the first round to the last stores.
///
/// Units with other keys and values come again and again: when two such visits in a row take the
/// same time, so do all others. Of many groups of a visit, and of many heads of a group, some stand
/// for those that are left out.
///
/// @param visits Times that keys and values are loaded.
/// @param units Of a visit; a multiple of `together`.
double attention_rounds(const RoundCosts& costs, const RoundTransfers& transfers,
                        std::int64_t visits, std::int64_t units);

}  // namespace npuvp::estimate
