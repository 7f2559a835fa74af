#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "trace/hub.h"

namespace npuvp::trace {

/// What is added up. Times are picoseconds of cores; the first ones, up to `idle`, part a core's
/// whole time.
enum class Sum : std::uint8_t {
    own,      ///< an instruction's issue slots (in blocking mode: all that it takes)
    operand,  ///< the stalls, in the order of StallCause
    unit,
    dma,
    noc,
    memory,
    synchronisation,
    idle,  ///< after the core has halted
    instructions,
    scalar_busy,
    vector_busy,
    matrix_busy,
    lane_operations,  ///< of the vector unit: its lanes, once per instruction
    macs,
    bytes_read,  ///< of memory
    bytes_written,
    energy,  ///< femtojoules of events of the core, its units, SRAMs and DMA
    count_
};
constexpr std::size_t sum_count = static_cast<std::size_t>(Sum::count_);
using Sums = std::array<std::uint64_t, sum_count>;

/// An address range that counts as memory.
struct MemoryRange {
    std::uint64_t base, bytes;
};

/// Something over time, in windows that are merged in pairs when there are too many: exact sums in
/// memory of a fixed size, however long the run.
class Series {
  public:
    static constexpr std::size_t most_windows = 1024;
    explicit Series(Time window = 1000) : window_(window) {}
    void spread(Time begin, Time end, std::uint64_t amount);
    /// Merges until windows are this long.
    void widen(Time window);
    Time window() const { return window_; }
    const std::vector<std::uint64_t>& sums() const { return sums_; }

  private:
    void merge();
    Time window_;
    std::vector<std::uint64_t> sums_;
};

/// Where the time, the traffic and the energy of cores go: by instruction (core and pc), and by the
/// marks that hold (layer, block, step, call, op, phase). Each of the two adds up to the whole,
/// exactly. What a transfer moves and takes belongs to the instruction that started it and to the
/// marks that held then. Keeps numbers, writes no file.
class ProfileSink : public Sink {
  public:
    ProfileSink(const Hub& hub, std::vector<MemoryRange> memory);

    /// Kinds wanted from each source, for Hub::attach.
    const std::vector<std::uint32_t>& kinds() const { return kinds_; }

    void on_event(const Event& event) override;
    void advance(Time) override {}
    void finish(Time end) override;

    /// What belongs to no instruction: idle time, accesses from outside.
    static constexpr std::uint32_t no_pc = ~0u;
    /// No mark of a kind yet.
    static constexpr std::uint64_t no_mark = ~0ull;
    using Marks = std::array<std::uint64_t, static_cast<std::size_t>(MarkKind::count_)>;

    struct PcRow {
        std::uint16_t core;  ///< index of its source
        std::uint32_t pc;
        Sums sums;
    };
    struct MarksRow {
        std::uint16_t core;
        Marks marks;
        Sums sums;
    };
    const std::vector<PcRow>& by_pc() const { return pc_rows_; }
    const std::vector<MarksRow>& by_marks() const { return marks_rows_; }
    /// Bytes read and written by memory, and energy of events, over time: by source.
    const std::map<std::uint16_t, std::array<Series, 2>>& traffic() const { return traffic_; }
    const std::map<std::uint16_t, Series>& energy() const { return energy_; }

  private:
    /// Rows that something is charged to.
    struct Place {
        std::uint32_t pc_row = 0, marks_row = 0;
    };
    struct Core {
        std::uint16_t source = 0;
        Time until = 0;  ///< all before is charged
        bool halted = false;
        Marks marks{};
        std::uint32_t marks_row = 0;
        Place last;     ///< the last instruction
        Place outside;  ///< what belongs to none
        std::vector<std::int32_t> row_of_pc;
        std::map<Marks, std::uint32_t> row_of_marks;
        std::vector<Place> descriptors;  ///< by number, from 1
    };

    Place place(Core& core, std::uint32_t pc);
    std::uint32_t row_of(Core& core, const Marks& marks);
    void charge(const Place& place, Sum what, std::uint64_t amount);
    void charge_until(Core& core, const Place& place, Sum what, Time until);
    bool is_memory(std::uint64_t address) const;

    std::vector<std::uint32_t> kinds_;
    std::vector<std::int32_t> core_of_;  ///< by source: index in cores_, -1: of none
    std::vector<Sum> busy_of_;           ///< by source of a unit; count_: of none
    std::vector<bool> is_dma_;
    std::vector<Core> cores_;
    std::vector<MemoryRange> memory_;
    std::vector<PcRow> pc_rows_;
    std::vector<MarksRow> marks_rows_;
    std::map<std::uint16_t, std::array<Series, 2>> traffic_;
    std::map<std::uint16_t, Series> energy_;
    bool finished_ = false;
};

}  // namespace npuvp::trace
