#pragma once

#include <cstdint>
#include <utility>
#include <vector>

namespace npuvp::estimate {

/// A panel of weights that meets a group of rows. Cycles, but for the counts.
class Stage {
  public:
    struct Figures {
        double products = 0.0;      ///< Of a tile up to its last product, by way.
        double stream = 0.0;        ///< For which a product's operands stream,
        double skew = 0.0;          ///< and from there to its sums.
        double row = 0.0;           ///< From one row of inputs to the next: instructions.
        std::int64_t rows = 1;      ///< Such places in a tile of one way to work on results at.
        std::vector<double> tails;  ///< Instructions behind the last product, by way.
        std::int64_t sets = 1;      ///< Of accumulators.
        double port = 0.0;          ///< For which a write-out takes the way to Vector SRAM.
        std::int64_t tiles = 1;     ///< Of a stage.
        double between = 0.0;       ///< Instructions between two stages,
        double last = 0.0;          ///< more where the panel is a chunk's last,
        double around = 0.0;        ///< and between two panels.
    };

    explicit Stage(Figures figures);

    const Figures& figures() const { return f_; }
    std::int64_t ways() const { return static_cast<std::int64_t>(f_.tails.size()); }

    /// Places in a stage at which results are worked on.
    std::int64_t slices() const { return f_.tiles * f_.rows * ways(); }

    /// Of a stage without work on results.
    double cycles() const { return cycles_; }

    /// By how much an unbroken row of stages ends earlier than their sum: two tiles follow each
    /// other at once where two sets of accumulators take turns, and then the next two.
    double early(std::int64_t stages) const;

    /// Cycles that a tile takes longer with work on results in one place, an average over all.
    double more(double extra) const;

  private:
    double alone(double extra, double behind) const;
    double tile(double extra, double behind) const;

    Figures f_;
    double in_turn_;  // the set that a tile needs is that of the tile before the last one
    double plain_;    // a tile without work on results
    double cycles_;
};

/// What work on results takes.
struct ResultCosts {
    double row = 0.0;         ///< Cycles of a row,
    double entry = 0.0;       ///< of the instructions around the rows worked on at a time,
    double finish = 0.0;      ///< of those behind the last row of a group,
    double finish_all = 0.0;  ///< and of those that find and leave a group done at one go.
    bool whole = false;       ///< Whether it is done behind a chunk only.
    bool untouched = false;   ///< Whether rows are counted only, before they are there.
};

/// Columns of results that are made before others.
struct Chunk {
    Stage stage;
    std::int64_t panels;   ///< Of weights.
    std::int64_t at_once;  ///< Rows of results that are worked on at a time.
    std::int64_t times;    ///< Such chunks.
};

/// Weights on their way through the DMA engine, but for what the memory takes.
struct Weights {
    double panels = 0.0;           ///< The last one perhaps not a whole one.
    std::int64_t pieces = 1;       ///< Of a panel.
    std::int64_t descriptors = 1;  ///< Of a piece.
    double descriptor = 1.0;       ///< Cycles in which one is issued,
    double issue = 0.0;            ///< all of a piece,
    double due = 0.0;              ///< what finds that a piece is due,
    double begin = 0.0;            ///< and the words of the first one.
};

/// The memory as a product meets it, in cycles.
struct ProductMemory {
    double latency = 0.0;     ///< From issue to first data.
    std::int64_t queue = 1;   ///< Transfers that wait in the DMA engine.
    double panel = 0.0;       ///< For which a panel keeps it,
    double loading = 0.0;     ///< rows that a chunk's results are added to (0: there are none),
    double storing = 0.0;     ///< a chunk's results,
    double arriving = 0.0;    ///< and what was asked for before.
    std::int64_t before = 0;  ///< Transfers that the latter is.
};

struct ProductTime {
    double cycles;  ///< Of the core.
    double behind;  ///< For which the memory then still works on results.
};

/// A tile of rows times a matrix whose panels are asked for piece by piece while the panel before
/// is multiplied (npuvp.compiler.products; closed form of a core with a scoreboard).
class Product {
  public:
    struct Figures {
        std::vector<Chunk> chunks;
        std::int64_t group = 1;         ///< Rows of a group.
        std::int64_t hidden_tiles = 0;  ///< Whose results have not left the array.
        ResultCosts costs;
        Weights weights;
        double words = 0.0;  ///< Of the first chunk and the first group of results.
        double drain = 0.0;  ///< From the last product of a tile to its rows in Vector SRAM.
    };

    explicit Product(Figures figures) : f_(std::move(figures)) {}

    /// Of a tile of so many rows, with `clear` cycles of the core for lanes that will not all be
    /// written.
    ProductTime time(std::int64_t rows, double clear, const ProductMemory& memory) const;

  private:
    /// A chunk of several.
    struct Passed {
        double once;   // the first
        double again;  // one behind others
        double end;    // what is left to do behind the last
        double lumps;  // what is done at one go between the products of one behind others
    };
    struct Begin {
        double products;  // where the first panel's may be thought to begin if none of them waits
        double asked;     // the memory's first data
    };
    struct Period {
        double core;
        double memory;
    };
    /// Of a product that goes on beside the stream of its weights.
    struct Load {
        double core;    // cycles of a panel's products and instructions
        double loaded;  // panels that are multiplied while others are loaded
        double lumps;   // cycles of groups that are finished at one go
        double places;  // pieces that are asked for behind such work
    };

    Passed pass(const Chunk& chunk, std::int64_t rows) const;
    Begin begin(const ProductMemory& memory, double stage, double cleared) const;
    Period period(const ProductMemory& memory, double core, double lead, double other,
                  double transfers) const;
    double waits(const ProductMemory& memory, const Load& load, std::int64_t groups) const;
    double each(const ProductMemory& memory) const;
    double backlog(const ProductMemory& memory) const;
    std::int64_t groups_of(std::int64_t rows) const { return (rows + f_.group - 1) / f_.group; }

    Figures f_;
};

}  // namespace npuvp::estimate
