#include "trace/timeline.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "trace/digits.h"
#include "trace/json.h"

namespace npuvp::trace {

namespace {

constexpr std::size_t mark_kinds = static_cast<std::size_t>(MarkKind::count_);
/// How marks nest, outermost first, and where each kind stands in that.
constexpr MarkKind nesting[mark_kinds] = {MarkKind::block, MarkKind::step, MarkKind::call,
                                          MarkKind::layer, MarkKind::op,   MarkKind::phase};
constexpr const char* mark_names[mark_kinds] = {"layer", "block", "step", "call", "op", "phase"};
constexpr const char* host_names[] = {"doorbell", "word", "launch", "done"};

/// Tracks of a process: marks and stalls first, then the lanes of its components.
constexpr std::uint32_t marks_track = 1;
constexpr std::uint32_t stall_track = 2;
constexpr std::uint32_t lanes_per_component = 64;

std::uint32_t lane_track(std::uint16_t source, std::size_t lane) {
    return (source + 1u) * lanes_per_component + static_cast<std::uint32_t>(lane);
}

std::size_t depth_of(MarkKind kind) {
    return static_cast<std::size_t>(std::find(nesting, nesting + mark_kinds, kind) - nesting);
}

}  // namespace

TimelineSink::TimelineSink(const Hub& hub, TimelineOptions options, Names names, PowerSink* power)
    : options_(std::move(options)),
      window_{options_.start, options_.stop, options_.on, options_.off, options_.lookback},
      names_(std::move(names)),
      power_(power),
      file_(options_.path),
      bandwidth_(2 * std::max<std::size_t>(hub.sources().size(), 1),
                 std::max<Time>(options_.bandwidth_window, 1), options_.origin),
      bytes_(2 * std::max<std::size_t>(hub.sources().size(), 1), 0) {
    if (options_.start >= options_.stop)
        throw std::invalid_argument("timeline window: start " + std::to_string(options_.start) +
                                    " ps is not before stop " + std::to_string(options_.stop) +
                                    " ps");
    if (options_.bandwidth_window == 0)
        throw std::invalid_argument("bandwidth window of 0 ps: at least 1 ps is needed");
    for (const Source& source : hub.sources()) {
        const std::size_t dot = source.path.find('.');
        const std::string top = source.path.substr(0, dot);
        auto found = std::find(processes_.begin(), processes_.end(), top);
        if (found == processes_.end()) {
            processes_.push_back(top);
            process_has_memory_.push_back(false);
            found = processes_.end() - 1;
        }
        const auto process = static_cast<std::uint32_t>(found - processes_.begin());
        if (source.type == "memory") process_has_memory_[process] = true;
        const std::string leaf =
            dot == std::string::npos ? source.path : source.path.substr(dot + 1);
        components_.push_back({source.path,
                               leaf,
                               process,
                               2 * process,
                               {},
                               std::vector<std::int32_t>(mark_kinds, -1),
                               std::vector<std::uint64_t>(mark_kinds, mark_ends)});
    }
    // Transactions of a memory and the transfers of its channels are the same bytes.
    for (Component& component : components_)
        component.counts = component.name == component.leaf ||
                           std::none_of(components_.begin(), components_.end(), [&](const auto& c) {
                               return c.name == processes_[component.process];
                           });
    const auto quoted = [](const std::string& text) {
        std::string line;
        append_json(line, text);
        return line;
    };
    stalls_.resize(processes_.size());
    for (const std::string& name : names_.operations) operations_.push_back(quoted(name));
    for (const std::string& name : stall_names()) stall_causes_.push_back(quoted(name));
    for (const Component& component : components_) leaves_.push_back(quoted(component.leaf));
    file_.append('[');
    for (std::size_t i = 0; i < processes_.size(); ++i) {
        file_.append(i == 0 ? "\n" : ",\n");
        std::string line =
            "{\"ph\":\"M\",\"name\":\"process_name\",\"pid\":" + std::to_string(i + 1) +
            ",\"args\":{\"name\":";
        append_json(line, processes_[i]);
        line += "}}";
        file_.append(line);
    }
    file_.flush();
    if (power_) power_->listen(*this);
}

std::vector<std::uint32_t> TimelineSink::wanted() {
    std::vector<std::uint32_t> wanted(components_.size(),
                                      kinds | (options_.commands ? bit(Kind::command) : 0));
    window_.arm(wanted);
    return wanted;
}

void TimelineSink::on_event(const Event& event) {
    if (closed_) return;
    window_.observe(event);
    const bool command = event.kind == Kind::command && options_.commands;
    if (!command && !((kinds >> static_cast<unsigned>(event.kind)) & 1u)) return;
    queue_.push(event);
    if (event.kind == Kind::memory && components_[event.source].counts)
        bandwidth_.spread(components_[event.source].memory + (event.c ? 1 : 0), event.begin,
                          event.end, event.b);
}

void TimelineSink::on_window(Time begin, const std::vector<std::uint64_t>& units) {
    if (!closed_) power_rows_.push_back({begin, units});
}

void TimelineSink::advance(Time safe) {
    if (closed_ || (!queue_.is_long() && !file_.flush_is_due())) return;
    process(window_.ready(power_ ? std::min(safe, power_->complete_until()) : safe));
    file_.flush();
}

void TimelineSink::process(Time limit) {
    std::size_t row = 0;
    // In the order of time, and so the same however far each call goes.
    const auto counters_until = [&](Time time) {
        for (;;) {
            const bool power = row < power_rows_.size() && power_rows_[row].begin <= time;
            const Time over = bandwidth_.end();
            if (over <= time && (!power || over <= power_rows_[row].begin))
                write_bandwidth();
            else if (power)
                write_power(power_rows_[row++]);
            else
                return;
        }
    };
    queue_.drain(limit, [&](const Event& event) {
        counters_until(event.begin);
        write(event);
    });
    counters_until(limit);
    power_rows_.erase(power_rows_.begin(), power_rows_.begin() + static_cast<std::ptrdiff_t>(row));
}

void TimelineSink::write(const Event& event) {
    // A mark where the window opens takes the place of those that it ends.
    const bool opens = event.kind != Kind::mark || event.begin > window_.start;
    if (!opened_ && opens && shown(event.begin)) open_held_marks();
    if (event.kind == Kind::mark) {
        write_mark(event);
        return;
    }
    if (!shown(event.begin)) return;
    switch (event.kind) {
        case Kind::unit_busy:
            begin_slice(
                event, event.b < operations_.size() ? operations_[event.b] : leaves_[event.source]);
            argument("\"pc\":", event.a);
            file_.append("}}");
            break;
        case Kind::stall:
            if (event.end <= event.begin) break;
            begin_slice(event, stall_causes_.at(event.b + 1));
            argument("\"pc\":", event.a);
            file_.append("}}");
            break;
        case Kind::dma: {
            static const std::string load = "\"load\"", store = "\"store\"";
            begin_slice(event, event.c ? store : load);
            argument("\"bytes\":", event.b);
            argument(",\"tag\":", event.a);
            file_.append("}}");
            break;
        }
        case Kind::memory: {
            static const std::string read = "\"read\"", write = "\"write\"";
            begin_slice(event, event.c ? write : read);
            argument("\"bytes\":", event.b);
            file_.append("}}");
            break;
        }
        case Kind::link:
            begin_slice(event, "\"network " + std::to_string(event.c) + "\"");
            argument("\"flits\":", event.b);
            file_.append("}}");
            break;
        case Kind::host:
            write_instant(event, event.a < std::size(host_names) ? host_names[event.a] : "unknown");
            break;
        case Kind::trap:
            write_instant(event, "trap");
            break;
        case Kind::command:
            write_command(event);
            break;
        default:
            break;
    }
}

void TimelineSink::write_mark(const Event& event) {
    if (event.a >= mark_kinds)
        throw std::out_of_range("mark of unknown kind " + std::to_string(event.a));
    const std::size_t depth = depth_of(static_cast<MarkKind>(event.a));
    if (!opened_) {
        std::vector<std::uint64_t>& held = components_[event.source].held_marks;
        std::fill(held.begin() + static_cast<std::ptrdiff_t>(depth), held.end(), mark_ends);
        held[depth] = event.b;
        return;
    }
    close_marks(event.source, depth, event.begin);
    if (event.b != mark_ends && shown(event.begin))
        open_mark(event.source, depth, event.b, event.begin);
}

void TimelineSink::open_held_marks() {
    opened_ = true;
    for (std::size_t source = 0; source < components_.size(); ++source)
        for (std::size_t depth = 0; depth < mark_kinds; ++depth)
            if (components_[source].held_marks[depth] != mark_ends)
                open_mark(static_cast<std::uint16_t>(source), depth,
                          components_[source].held_marks[depth], window_.start);
}

void TimelineSink::open_mark(std::uint16_t source, std::size_t depth, std::uint64_t value,
                             Time time) {
    Component& component = components_[source];
    const auto kind = static_cast<std::size_t>(nesting[depth]);
    component.open_marks[depth] = static_cast<std::int32_t>(kind);
    const auto& words = names_.marks[kind];
    name_track(component.process, marks_track, "program");
    begin_record("B", component.process, marks_track, time);
    std::string line = ",\"name\":";
    append_json(line, value < words.size() ? words[value]
                                           : mark_names[kind] + (" " + std::to_string(value)));
    line += ",\"args\":{\"kind\":\"";
    line += mark_names[kind];
    line += "\",\"value\":" + std::to_string(value) + "}}";
    file_.append(line);
}

void TimelineSink::close_marks(std::uint16_t source, std::size_t depth, Time time) {
    Component& component = components_[source];
    for (std::size_t at = mark_kinds; at-- > depth;) {
        if (component.open_marks[at] < 0) continue;
        component.open_marks[at] = -1;
        begin_record("E", component.process, marks_track, time);
        file_.append('}');
    }
}

/// Slices of one track must not overlap: each goes to the first free lane.
TimelineSink::Lane& TimelineSink::lane_of(const Event& event) {
    Component& component = components_[event.source];
    const auto made = [&](Lane& lane, std::uint32_t track, const std::string& name) {
        if (!lane.place.empty()) return;
        name_track(component.process, track, name);
        lane.place = "\"pid\":" + std::to_string(component.process + 1) +
                     ",\"tid\":" + std::to_string(track) + ",\"ts\":";
    };
    if (event.kind == Kind::stall) {
        Lane& lane = stalls_[component.process];
        made(lane, stall_track, "stall");
        return lane;
    }
    std::vector<Lane>& lanes = component.lanes;
    std::size_t at = 0;
    while (at < lanes.size() && lanes[at].free > event.begin) ++at;
    at = std::min<std::size_t>(at, lanes_per_component - 2);
    if (at == lanes.size()) lanes.emplace_back();
    made(lanes[at], lane_track(event.source, at),
         at == 0 ? component.leaf : component.leaf + " " + std::to_string(at + 1));
    lanes[at].free = std::max(lanes[at].free, event.end);
    return lanes[at];
}

void TimelineSink::begin_slice(const Event& event, const std::string& name) {
    const Lane& lane = lane_of(event);
    file_.append(",\n{\"ph\":\"X\",");
    file_.append(lane.place);
    append_time(event.begin);
    file_.append(",\"dur\":");
    append_time(std::max(event.end, event.begin) - event.begin);
    file_.append(",\"name\":");
    file_.append(name);
    file_.append(",\"args\":{");
    ++records_;
}

void TimelineSink::write_instant(const Event& event, const std::string& name) {
    const Component& component = components_[event.source];
    const std::uint32_t track = lane_track(event.source, 0);
    name_track(component.process, track, component.leaf);
    begin_record("i", component.process, track, event.begin);
    std::string line = ",\"s\":\"p\",\"name\":";
    append_json(line, name);
    line += ",\"args\":{\"value\":" + std::to_string(event.kind == Kind::trap ? event.a : event.b) +
            "}}";
    file_.append(line);
}

void TimelineSink::write_command(const Event& event) {
    const Component& component = components_[event.source];
    const std::uint32_t track = lane_track(event.source, lanes_per_component - 1);
    name_track(component.process, track, component.leaf + " commands");
    begin_record("i", component.process, track, event.begin);
    std::string line = ",\"s\":\"t\",\"name\":";
    append_json(line, event.b < names_.commands.size() ? names_.commands[event.b] : "command");
    line += ",\"args\":{\"bank\":" + std::to_string(event.a) +
            ",\"row\":" + std::to_string(event.c) + "}}";
    file_.append(line);
}

void TimelineSink::write_bandwidth() {
    const Time begin = bandwidth_.begin();
    std::fill(bytes_.begin(), bytes_.end(), 0);
    bandwidth_.pop(bytes_);
    if (!shown(begin)) return;
    for (std::size_t i = 0; i < processes_.size(); ++i) {
        if (!process_has_memory_[i]) continue;
        begin_record("C", static_cast<std::uint32_t>(i), 0, begin);
        // 1 byte per ps is 10^3 GB/s
        std::string line = ",\"name\":\"GB/s\",\"args\":{\"read\":";
        append_decimal(line, scaled(bytes_[2 * i], 1'000'000, options_.bandwidth_window), 3);
        line += ",\"write\":";
        append_decimal(line, scaled(bytes_[2 * i + 1], 1'000'000, options_.bandwidth_window), 3);
        line += "}}";
        file_.append(line);
    }
}

void TimelineSink::write_power(const PowerRow& row) {
    if (!shown(row.begin)) return;
    for (std::size_t i = 0; i < row.units.size(); ++i) {
        const bool total = i + 1 == row.units.size();
        std::string name = total ? "total" : power_->columns()[i].name;
        const auto found =
            std::find(processes_.begin(), processes_.end(), name.substr(0, name.find('.')));
        const auto process = found == processes_.end() ? 0 : found - processes_.begin();
        begin_record("C", static_cast<std::uint32_t>(process), 0, row.begin);
        std::string line = ",\"name\":";
        append_json(line, "power " + name);
        line += ",\"args\":{\"W\":";
        append_decimal(line, row.units[i], power_->decimals());
        line += "}}";
        file_.append(line);
    }
}

void TimelineSink::name_track(std::uint32_t process, std::uint32_t track, const std::string& name) {
    bool& named = named_tracks_[(std::uint64_t{process} << 32) | track];
    if (named) return;
    named = true;
    const std::string place =
        "\"pid\":" + std::to_string(process + 1) + ",\"tid\":" + std::to_string(track);
    std::string line =
        ",\n{\"ph\":\"M\",\"name\":\"thread_name\"," + place + ",\"args\":{\"name\":";
    append_json(line, name);
    line += "}},\n{\"ph\":\"M\",\"name\":\"thread_sort_index\"," + place +
            ",\"args\":{\"sort_index\":" + std::to_string(track) + "}}";
    file_.append(line);
}

void TimelineSink::begin_record(const char* phase, std::uint32_t process, std::uint32_t track,
                                Time time) {
    file_.append(",\n{\"ph\":\"");
    file_.append(phase);
    file_.append("\",\"pid\":");
    file_.append_number(process + 1);
    file_.append(",\"tid\":");
    file_.append_number(track);
    file_.append(",\"ts\":");
    append_time(time);
    ++records_;
}

void TimelineSink::append_time(Time time) {
    // Microseconds, without trailing zeros.
    const std::uint64_t whole = time / 1'000'000;
    auto fraction = static_cast<std::uint32_t>(time - whole * 1'000'000);
    file_.append_number(whole);
    if (fraction == 0) return;
    char* const out = file_.room(8);
    out[0] = '.';
    std::memcpy(out + 1, thousands.text[fraction / 1000], 4);
    std::memcpy(out + 4, thousands.text[fraction % 1000], 4);
    std::size_t digits = 6;
    while (out[digits] == '0') --digits;
    file_.advance(1 + digits);
}

void TimelineSink::finish(Time end) {
    if (closed_) return;
    if (power_) power_->finish(end);
    process(end + 1);
    if (bandwidth_.begin() < end) {
        bandwidth_.fold();
        write_bandwidth();
    }
    for (std::size_t i = 0; i < components_.size(); ++i)
        close_marks(static_cast<std::uint16_t>(i), 0, std::min(end, window_.stop));
    file_.append("\n]\n");
    file_.close();
    closed_ = true;
}

}  // namespace npuvp::trace
