#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "trace/digits.h"
#include "trace/file_writer.h"
#include "trace/joined.h"
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
class VcdSink final : public Sink, public PowerListener {
  public:
    /// `signals` are those that the file shall hold, chosen from signal_catalog(hub, names, ..).
    /// `power`: where power signals come from, null if there are none; outlives the sink.
    VcdSink(const Hub& hub, VcdOptions options, Names names, std::vector<Signal> signals,
            PowerSink* power);

    /// Kinds wanted from each source, for Hub::attach.
    const std::vector<std::uint32_t>& kinds() const { return kinds_; }

    void on_event(const Event& event) override;
    void on_events(const Event* first, const Event* last, const Wanted& wanted) override;
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
    /// All lines of a track for one value, ready to be written.
    struct Ready {
        char text[63];
        std::uint8_t length;  ///< 0: too long
    };
    struct Track {
        std::uint64_t value = 0, written = 0;
        Time set_at = 0;  ///< when something that began set it last
        bool known = true, written_known = true;
        std::uint8_t lines = 0;
        Line line[3];
        std::vector<Ready> ready;  ///< by value, for tracks of words
    };
    enum class Action : std::uint32_t {
        set,
        end,    ///< a set that loses against one of the same instant
        add,    ///< to a count
        issue,  ///< sets operation (upper half of the value) and, of the next track, pc
    };
    struct Change {
        Time time;
        std::uint64_t value;
        std::uint32_t track;
        Action action;
    };

    void write_header(const std::vector<Signal>& signals);
    void prepare_words(Track& track);
    std::int32_t track_of(std::uint16_t source, State state) const {
        return track_of_[source * static_cast<std::size_t>(State::count_) +
                         static_cast<std::size_t>(state)];
    }
    void push(Time time, Action action, std::int32_t track, std::uint64_t value) {
        pending_.push_back({time, value, static_cast<std::uint32_t>(track), action});
    }
    void set(const Event& event, State state, std::uint64_t value);
    void issue(const Event& event);
    void span(const Event& event, State state, std::uint64_t amount);
    void on_host(const Event& event);
    void process(Time limit);
    void process_slice(Time limit);
    void apply(const Change& change);
    void touch(std::uint32_t track);
    void write_instant(Time time);
    void dump(Time time);
    void stamp(Time time);
    char* stamp(char* out, Time time);
    char* write_line(char* out, const Track& track, const Line& line) const;
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
    std::vector<std::uint64_t> words_of_;                  ///< FIFO words per source
    std::vector<std::pair<std::int32_t, Joined>> joined_;  ///< of the tracks that count: track
    std::vector<std::int32_t> joined_of_;                  ///< per track; -1: none
    std::vector<Change> pending_, later_;
    RadixOrder order_;
    std::vector<std::uint64_t> touched_;               ///< bit per track
    std::size_t touched_first_ = 0, touched_end_ = 0;  ///< words of it that are not 0
    std::size_t most_track_bytes_ = 0;
    DecimalDigits ticks_;
    std::size_t process_at_;
    Time done_ = 0;  ///< all instants before are written
    Time last_stamp_ = 0;
    std::uint64_t changes_ = 0;
    bool dumped_ = false, closed_ = false, limit_reached_ = false;
};

}  // namespace npuvp::trace
