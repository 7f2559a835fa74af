#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "trace/file_writer.h"
#include "trace/power.h"
#include "trace/radix_order.h"
#include "trace/signals.h"
#include "trace/window.h"

namespace npuvp::trace {

struct VcdOptions {
    std::string path;
    Time tick = 1;   ///< picoseconds per VCD time unit: a power of ten up to one second
    Time start = 0;  ///< first instant in the file, which holds the state at that instant
    Time stop = std::numeric_limits<Time>::max();  ///< last instant in the file
    std::uint64_t limit_bytes = 0;                 ///< 0: none
    Trigger on, off;    ///< instead of `start`, before `stop`: see Window
    Time lookback = 0;  ///< of `on`
};

/// The coarsest tick that all periods (in picoseconds) are multiples of.
Time coarsest_tick(const std::vector<Time>& periods);

/// Writes a value change dump while the run goes on. What is on disk is valid at any time, up to
/// the last instant flushed. Within one instant only the net change counts, in the order of the
/// declarations, so the bytes do not depend on how far cores run ahead of each other.
class VcdSink : public Sink, public PowerListener {
  public:
    /// `signals` are those that the file shall hold, chosen from signal_catalog(hub, names, ..).
    /// `power`: where power signals come from, null if there are none; outlives the sink.
    VcdSink(const Hub& hub, VcdOptions options, Names names, std::vector<Signal> signals,
            PowerSink* power);

    /// Kinds wanted from each source, for Hub::attach.
    const std::vector<std::uint32_t>& kinds() const { return kinds_; }

    void on_event(const Event& event) override;
    void on_window(Time begin, const std::vector<std::uint64_t>& units) override;
    void advance(Time safe) override;
    void finish(Time end) override;

    std::uint64_t bytes() const { return file_.size(); }
    /// Value changes in the file, initial values not counted.
    std::uint64_t changes() const { return changes_; }
    bool limit_reached() const { return limit_reached_; }
    /// Where the limit was reached, and where what is written began.
    Time limit_at() const { return last_stamp_; }
    const Window& window() const { return window_; }

  private:
    struct Line {
        View view;
        std::uint8_t width;
        std::uint8_t id_length;
        char id[5];  ///< what ends the line: space (not for a bit), identifier, newline
        const std::vector<std::string>* names;
    };
    struct Track {
        std::uint64_t value = 0, written = 0;
        bool known = true, written_known = true, touched = false;
        std::uint8_t lines = 0;
        Line line[3];
    };
    enum class Action : std::uint32_t { set, add };
    struct Change {
        std::uint64_t key;  ///< 2 * time, + 1 for what begins: it wins over what ends there
        std::uint64_t value;
        std::uint32_t track;
        Action action;
    };

    void write_header(const std::vector<Signal>& signals);
    void set(const Event& event, State state, std::uint64_t value, Time time, bool begins = true);
    void span(const Event& event, State state, std::uint64_t amount);
    void on_host(const Event& event);
    void process(Time limit);
    void process_slice(Time limit);
    void write_instant(Time time);
    void dump(Time time);
    void stamp(Time time);
    void write_line(const Track& track, const Line& line);
    void end_file(Time time);

    VcdOptions options_;
    Window window_;
    Names names_;
    std::vector<std::uint32_t> kinds_;
    PowerSink* power_;
    FileWriter file_;
    std::vector<Track> tracks_;
    std::vector<std::int32_t> track_of_;  ///< per source and State; -1: not shown
    std::vector<std::int32_t> power_track_of_;
    std::vector<std::uint64_t> words_of_;  ///< FIFO words per source
    std::vector<Change> pending_, later_;
    RadixOrder order_;
    std::vector<std::uint32_t> touched_;
    std::size_t process_at_;
    Time done_ = 0;  ///< all instants before are written
    Time last_stamp_ = 0;
    std::uint64_t changes_ = 0;
    bool dumped_ = false, closed_ = false, limit_reached_ = false;
};

}  // namespace npuvp::trace
