#pragma once

#include <limits>
#include <string>
#include <unordered_map>
#include <vector>

#include "trace/event_queue.h"
#include "trace/file_writer.h"
#include "trace/power.h"
#include "trace/signals.h"
#include "trace/window.h"
#include "trace/window_sums.h"

namespace npuvp::trace {

struct TimelineOptions {
    std::string path;
    Time start = 0;
    Time stop = std::numeric_limits<Time>::max();  ///< slices that begin later are left out
    Time bandwidth_window = 1'000'000;             ///< of the bandwidth counters
    Time origin = 0;                               ///< begin of the first of those windows
    bool commands = false;                         ///< show DRAM commands
    Trigger on, off;    ///< instead of `start`, before `stop`: see Window
    Time lookback = 0;  ///< of `on`
};

/// Writes a timeline that Perfetto and Chrome's tracing open: JSON, one event per line, in order of
/// time, readable even if the end is missing. A process per top-level component; in it a track
/// per unit, DMA queue slot, memory channel and link, one for stalls and one for marks, whose
/// slices nest (block, step, call, layer, operation, phase); counters of bandwidth (bytes of memory
/// transfers per window and top-level component) and of power.
class TimelineSink : public Sink, public PowerListener {
  public:
    /// `power`: source of the power counters, null if there are none; outlives the sink.
    TimelineSink(const Hub& hub, TimelineOptions options, Names names, PowerSink* power);

    static constexpr std::uint32_t kinds = bit(Kind::unit_busy) | bit(Kind::stall) |
                                           bit(Kind::dma) | bit(Kind::memory) | bit(Kind::link) |
                                           bit(Kind::mark) | bit(Kind::host) | bit(Kind::trap);

    /// Kinds wanted from each source, for Hub::attach.
    std::vector<std::uint32_t> wanted();

    void on_event(const Event& event) override;
    void on_window(Time begin, const std::vector<std::uint64_t>& units) override;
    void advance(Time safe) override;
    void finish(Time end) override;

    /// Slices, instants and counter values written.
    std::uint64_t records() const { return records_; }

  private:
    /// A track of slices, which must not overlap.
    struct Lane {
        Time free = 0;
        std::string place;  ///< its process and number, as every record of it begins with
    };
    struct Component {
        std::string name, leaf;
        std::uint32_t process;
        std::size_t memory = 0;                 ///< column of its process in bandwidth_
        std::vector<Lane> lanes;                ///< parallel tracks
        std::vector<std::int32_t> open_marks;   ///< values of the open slices by depth; -1: closed
        std::vector<std::uint64_t> held_marks;  ///< by depth, before the window opens
        bool counts = true;                     ///< its bytes count in bandwidth_
    };
    struct PowerRow {
        Time begin;
        std::vector<std::uint64_t> units;
    };

    void process(Time limit);
    void write(const Event& event);
    void write_mark(const Event& event);
    /// Begins the slice of a mark.
    void open_mark(std::uint16_t source, std::size_t depth, std::uint64_t value, Time time);
    /// Begins the slices of the marks that hold where the window opens.
    void open_held_marks();
    /// A slice up to its arguments; `name` is a JSON string.
    void begin_slice(const Event& event, const std::string& name);
    template <std::size_t size>
    void argument(const char (&key)[size], std::uint64_t value) {
        file_.append(key);
        file_.append_number(value);
    }
    Lane& lane_of(const Event& event);
    void write_instant(const Event& event, const std::string& name);
    void write_command(const Event& event);
    void write_bandwidth();
    void write_power(const PowerRow& row);
    void close_marks(std::uint16_t source, std::size_t depth, Time time);
    void name_track(std::uint32_t process, std::uint32_t track, const std::string& name);
    void begin_record(const char* phase, std::uint32_t process, std::uint32_t track, Time time);
    void append_time(Time time);
    bool shown(Time time) const { return window_.contains(time); }

    TimelineOptions options_;
    Window window_;
    Names names_;
    PowerSink* power_;
    FileWriter file_;
    std::vector<Component> components_;
    std::vector<std::string> processes_;
    std::vector<bool> process_has_memory_;
    std::unordered_map<std::uint64_t, bool> named_tracks_;
    std::vector<Lane> stalls_;                                     ///< by process
    std::vector<std::string> operations_, leaves_, stall_causes_;  ///< as JSON strings
    WindowSums bandwidth_;  ///< bytes read and written per process
    std::vector<std::uint64_t> bytes_;
    std::vector<PowerRow> power_rows_;
    EventQueue queue_;
    std::uint64_t records_ = 0;
    bool opened_ = false, closed_ = false;
};

}  // namespace npuvp::trace
