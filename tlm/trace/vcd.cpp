#include "trace/vcd.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <map>
#include <numeric>
#include <sstream>
#include <stdexcept>

namespace npuvp::trace {

namespace {

constexpr std::size_t state_count = static_cast<std::size_t>(State::count_);
constexpr std::size_t batch = 1 << 13;
constexpr Time alignment = 4096;  // keys stay multiples of the powers of two that times are
constexpr std::uint64_t limit_reserve = 256;
constexpr std::size_t stamp_bytes = DecimalDigits::most + 2;
constexpr Time longest_slice = Time{1} << 30;                      // keys of 32 bits order it
constexpr std::size_t most_signals = 94 + 94 * 94 + 94 * 94 * 94;  // identifiers of 1 to 3 letters
constexpr Time second = 1'000'000'000'000;

/// States that have no value before their first event.
bool starts_unknown(State state) {
    switch (state) {
        case State::pc:
        case State::operation:
        case State::layer:
        case State::block:
        case State::step:
        case State::call:
        case State::op_mark:
        case State::phase:
        case State::unit_pc:
        case State::command:
        case State::bank:
        case State::row:
        case State::network:
        case State::index:
        case State::value:
        case State::word:
            return true;
        default:
            return false;
    }
}

const std::vector<std::string>* words_of(State state, const Names& names) {
    switch (state) {
        case State::operation:
            return &names.operations;
        case State::command:
            return &names.commands;
        case State::stall:
            return &stall_names();
        default:
            return &names.marks[static_cast<std::size_t>(state) -
                                static_cast<std::size_t>(State::layer)];
    }
}

/// Signals that change most get the shortest identifiers.
int rank(const Signal& signal) {
    if (signal.type == "core") return 0;
    if (signal.type == "unit") return 1;
    return signal.type == "link" ? 3 : 2;
}

std::string identifier(std::size_t index) {
    std::string id;
    do {
        id += static_cast<char>('!' + index % 94);
        index /= 94;
    } while (index-- > 0);
    return id;
}

std::string tick_name(Time tick) {
    static const char* const units[] = {"ps", "ns", "us", "ms", "s"};
    std::size_t unit = 0;
    while (tick >= 1000) {
        tick /= 1000;
        ++unit;
    }
    return std::to_string(tick) + " " + units[unit];
}

void check_word(const std::string& word) {
    bool plain = !word.empty();
    for (char c : word) plain = plain && c > ' ' && c < 0x7f;
    if (!plain)
        throw std::invalid_argument("'" + word +
                                    "' cannot be the value of a VCD string signal: printable ASCII "
                                    "without spaces is needed");
}

void check(const VcdOptions& options, const Names& names, const std::vector<Signal>& signals,
           const PowerSink* power) {
    Time tick = options.tick;
    while (tick > 1 && tick % 10 == 0) tick /= 10;
    if (tick != 1 || options.tick > second)
        throw std::invalid_argument("VCD time unit of " + std::to_string(options.tick) +
                                    " ps: a power of ten from 1 ps to 1 s is needed");
    for (Time time : {options.start, options.stop})
        if (time % options.tick != 0 && time != std::numeric_limits<Time>::max())
            throw std::invalid_argument("VCD window: " + std::to_string(time) +
                                        " ps is no multiple of the time unit, " +
                                        tick_name(options.tick));
    if (options.start >= options.stop)
        throw std::invalid_argument("VCD window: start " + std::to_string(options.start) +
                                    " ps is not before stop " + std::to_string(options.stop) +
                                    " ps");
    for (const auto* table : {&names.operations, &names.commands})
        for (const std::string& word : *table) check_word(word);
    for (const auto& table : names.marks)
        for (const std::string& word : table) check_word(word);
    if (signals.empty()) throw std::invalid_argument("a VCD needs at least one signal");
    if (signals.size() > most_signals)
        throw std::invalid_argument(std::to_string(signals.size()) + " VCD signals: at most " +
                                    std::to_string(most_signals) + " are possible");
    for (const Signal& signal : signals) {
        if (signal.path.find('.') == std::string::npos)
            throw std::invalid_argument("signal '" + signal.path + "' belongs to no component");
        if (signal.state == State::power && !power)
            throw std::invalid_argument("signal '" + signal.path +
                                        "' needs a power trace, and there is none");
        std::istringstream parts(signal.path);
        for (std::string part; std::getline(parts, part, '.');) check_word(part);
    }
}

struct Scope {
    std::map<std::string, std::size_t> children;
    std::vector<std::size_t> order, signals;
};

}  // namespace

Time coarsest_tick(const std::vector<Time>& periods) {
    Time divisor = 0;
    for (Time period : periods) divisor = std::gcd(divisor, period);
    if (divisor == 0) return 1;
    Time tick = 1;
    while (tick < second && divisor % (tick * 10) == 0) tick *= 10;
    return tick;
}

VcdSink::VcdSink(const Hub& hub, VcdOptions options, Names names, std::vector<Signal> signals,
                 PowerSink* power)
    : options_((check(options, names, signals, power), std::move(options))),
      window_{options_.start, options_.stop, options_.on, options_.off, options_.lookback},
      names_(std::move(names)),
      kinds_(hub.sources().size(), 0),
      power_(power),
      file_(options_.path),
      track_of_(hub.sources().size() * state_count, -1),
      words_of_(hub.sources().size(), 0),
      process_at_(batch) {
    std::stable_sort(signals.begin(), signals.end(),
                     [](const Signal& a, const Signal& b) { return rank(a) < rank(b); });
    if (power_) power_track_of_.assign(power_->columns().size() + 1, -1);
    for (std::size_t i = 0; i < signals.size(); ++i) {
        const Signal& signal = signals[i];
        std::int32_t* slot;
        if (signal.state == State::power) {
            slot = &power_track_of_.at(signal.owner);
        } else {
            slot =
                &track_of_.at(signal.owner * state_count + static_cast<std::size_t>(signal.state));
            kinds_[signal.owner] |= signal.kinds;
        }
        if (*slot < 0) {
            *slot = static_cast<std::int32_t>(tracks_.size());
            tracks_.emplace_back();
            joined_of_.push_back(-1);
            tracks_.back().known = tracks_.back().written_known = !starts_unknown(signal.state);
        }
        Track& track = tracks_[static_cast<std::size_t>(*slot)];
        Line line{signal.view, signal.width, 0, {}, nullptr};
        const std::string end = (signal.view == View::bit ? "" : " ") + identifier(i) + "\n";
        if (track.lines == std::size(track.line))
            throw std::invalid_argument("signal '" + signal.path + "' was chosen twice");
        std::memcpy(line.id, end.data(), end.size());
        line.id_length = static_cast<std::uint8_t>(end.size());
        if (signal.view == View::string) line.names = words_of(signal.state, names_);
        track.line[track.lines++] = line;
    }
    touched_.assign((tracks_.size() + 63) / 64, 0);
    for (Track& track : tracks_) prepare_words(track);
    for (std::size_t source = 0; source < kinds_.size(); ++source)
        for (const State state : {State::active, State::bytes, State::bursts}) {
            const std::int32_t at = track_of(static_cast<std::uint16_t>(source), state);
            if (at < 0) continue;
            const Track& track = tracks_[static_cast<std::size_t>(at)];
            const bool bit = std::all_of(track.line, track.line + track.lines,
                                         [](const Line& line) { return line.view == View::bit; });
            joined_of_[static_cast<std::size_t>(at)] = static_cast<std::int32_t>(joined_.size());
            joined_.emplace_back(at, Joined(bit));
        }
    window_.arm(kinds_);
    write_header(signals);
    if (power_) power_->listen(*this);
}

void VcdSink::write_header(const std::vector<Signal>& signals) {
    std::vector<Scope> scopes(1);
    std::vector<std::string> leaves;
    for (std::size_t i = 0; i < signals.size(); ++i) {
        std::size_t at = 0, from = 0;
        const std::string& path = signals[i].path;
        for (std::size_t dot; (dot = path.find('.', from)) != std::string::npos; from = dot + 1) {
            const std::string name = path.substr(from, dot - from);
            const auto [found, added] = scopes[at].children.emplace(name, scopes.size());
            const std::size_t child = found->second;
            if (added) {
                scopes[at].order.push_back(child);
                scopes.emplace_back();
            }
            at = child;
        }
        leaves.push_back(path.substr(from));
        scopes[at].signals.push_back(i);
    }
    file_.append("$version npuvp $end\n$timescale " + tick_name(options_.tick) + " $end\n");
    const auto declare = [&](const auto& self, std::size_t at) -> void {
        for (std::size_t i : scopes[at].signals) {
            const Signal& signal = signals[i];
            file_.append("$var ");
            if (signal.view == View::string)
                file_.append("string 1");
            else if (signal.view == View::real)
                file_.append("real 64");
            else
                file_.append("wire " + std::to_string(signal.view == View::bit ? 1 : signal.width));
            file_.append(" " + identifier(i) + " " + leaves[i]);
            file_.append(" $end\n");
        }
        for (std::size_t child : scopes[at].order) {
            const auto& names = scopes[at].children;
            const auto name = std::find_if(names.begin(), names.end(),
                                           [&](const auto& pair) { return pair.second == child; });
            file_.append("$scope module " + name->first + " $end\n");
            self(self, child);
            file_.append("$upscope $end\n");
        }
    };
    declare(declare, 0);
    file_.append("$enddefinitions $end\n");
    file_.flush();
}

/// Room for the lines of a track, and those of a track of words for every value.
void VcdSink::prepare_words(Track& track) {
    std::size_t bytes = sizeof(Ready);
    const std::vector<std::string>* names = nullptr;
    for (int i = 0; i < track.lines; ++i) {
        bytes += 1 + BinaryDigits::most + sizeof(Line::id);
        if (track.line[i].view != View::string) continue;
        names = track.line[i].names;
        for (const std::string& name : *names)
            bytes = std::max(bytes, sizeof(Ready) + 2 * BinaryDigits::most + name.size());
    }
    most_track_bytes_ = std::max(most_track_bytes_, bytes);
    if (!names) return;
    std::vector<char> text(bytes);
    Track shown = track;
    track.ready.resize(names->size());
    for (Ready& ready : track.ready) {
        shown.value = static_cast<std::uint64_t>(&ready - track.ready.data());
        shown.known = true;
        char* out = text.data();
        for (int i = 0; i < track.lines; ++i) out = write_line(out, shown, track.line[i]);
        const auto length = static_cast<std::size_t>(out - text.data());
        ready.length = 0;
        if (length > sizeof ready.text) continue;
        std::memcpy(ready.text, text.data(), length);
        ready.length = static_cast<std::uint8_t>(length);
    }
}

void VcdSink::set(const Event& event, State state, std::uint64_t value) {
    const std::int32_t track = track_of(event.source, state);
    if (track >= 0) push(event.begin, Action::set, track, value);
}

/// What issues most often takes one change for two tracks that stand beside each other.
void VcdSink::issue(const Event& event) {
    const std::int32_t operation = track_of(event.source, State::operation);
    const std::int32_t pc = track_of(event.source, State::pc);
    if (pc >= 0 && operation == pc + 1 && event.b >> 32 == 0) {
        push(event.begin, Action::issue, pc, event.b << 32 | event.a);
        return;
    }
    set(event, State::pc, event.a);
    set(event, State::operation, event.b);
}

void VcdSink::span(const Event& event, State state, std::uint64_t amount) {
    const std::int32_t track = track_of(event.source, state);
    if (track < 0 || event.end <= event.begin) return;
    const auto joined = static_cast<std::size_t>(joined_of_[static_cast<std::size_t>(track)]);
    joined_[joined].second.add(
        event.begin, event.end, amount,
        [&](Time time, std::uint64_t difference) { push(time, Action::add, track, difference); });
}

void VcdSink::on_events(const Event* first, const Event* last, const Wanted& wanted) {
    for (; first != last; ++first)
        if (wanted.has(*first)) on_event(*first);
}

void VcdSink::on_event(const Event& event) {
    if (closed_) return;
    if (event.begin < done_)
        throw std::logic_error("an event at " + std::to_string(event.begin) + " ps arrived after " +
                               std::to_string(done_) + " ps was called safe");
    window_.observe(event, options_.tick);
    switch (event.kind) {
        case Kind::instruction:
            issue(event);
            break;
        case Kind::unit_busy:
            span(event, State::active, 1);
            set(event, State::unit_pc, event.a);
            break;
        case Kind::stall:
            if (event.end <= event.begin) break;
            set(event, State::stall, event.b + 1);
            if (const std::int32_t track = track_of(event.source, State::stall); track >= 0)
                push(event.end, Action::end, track, 0);
            break;
        case Kind::dma:
            span(event, State::active, 1);
            span(event, State::bytes, event.b);
            set(event, State::write, event.c);
            break;
        case Kind::burst:
            span(event, State::bursts, 1);
            break;
        case Kind::memory:
            span(event, State::active, 1);
            set(event, State::write, event.c);
            break;
        case Kind::link:
            span(event, State::active, 1);
            set(event, State::network, event.c);
            break;
        case Kind::command:
            set(event, State::command, event.b);
            set(event, State::bank, event.a);
            set(event, State::row, event.c);
            break;
        case Kind::semaphore:
            set(event, State::index, event.a);
            set(event, State::value, event.b);
            break;
        case Kind::mark:
            if (event.a >= static_cast<std::uint32_t>(MarkKind::count_))
                throw std::out_of_range("mark of unknown kind " + std::to_string(event.a));
            set(event, static_cast<State>(static_cast<std::uint32_t>(State::layer) + event.a),
                event.b);
            break;
        case Kind::host:
            on_host(event);
            break;
        case Kind::trap:
            set(event, State::trap, 1);
            break;
        case Kind::energy:
        case Kind::result:
        case Kind::descriptor:
        case Kind::count_:
            break;
    }
}

void VcdSink::on_host(const Event& event) {
    switch (static_cast<HostEvent>(event.a)) {
        case HostEvent::doorbell:
            set(event, State::doorbell, 1);
            set(event, State::irq, 0);
            break;
        case HostEvent::word:
            set(event, State::word, event.b);
            set(event, State::words, ++words_of_[event.source]);
            break;
        case HostEvent::launch:
            set(event, State::doorbell, 0);
            set(event, State::irq, 0);
            set(event, State::running, 1);
            break;
        case HostEvent::done:
            set(event, State::running, 0);
            set(event, State::irq, 1);
            break;
        default:
            throw std::out_of_range("host event of unknown kind " + std::to_string(event.a));
    }
}

void VcdSink::on_window(Time begin, const std::vector<std::uint64_t>& units) {
    if (closed_) return;
    for (std::size_t i = 0; i < units.size(); ++i)
        if (power_track_of_[i] >= 0) push(begin, Action::set, power_track_of_[i], units[i]);
}

void VcdSink::advance(Time safe) {
    if (closed_) return;
    if (pending_.size() < process_at_ && !file_.flush_is_due()) return;
    process(window_.ready(power_ ? std::min(safe, power_->complete_until()) : safe));
    process_at_ = 2 * pending_.size() + batch;
}

void VcdSink::process(Time limit) {
    for (auto& [track, joined] : joined_)
        joined.settle(limit, [&, to = track](Time time, std::uint64_t difference) {
            push(time, Action::add, to, difference);
        });
    if (pending_.empty()) done_ = std::max(done_, limit);
    while (limit > done_ && !closed_) process_slice(std::min(limit, done_ + longest_slice));
    if (!closed_) file_.flush();
}

void VcdSink::process_slice(Time limit) {
    // What lies behind `limit` stays behind.
    order_.clear();
    later_.clear();
    const Time base = done_ - done_ % alignment;
    for (std::size_t i = 0; i < pending_.size(); ++i) {
        if (pending_[i].time < limit)
            order_.push(static_cast<std::uint32_t>(pending_[i].time - base),
                        static_cast<std::uint32_t>(i));
        else
            later_.push_back(pending_[i]);
    }
    order_.sort();
    for (std::size_t at = 0; at < order_.size() && !closed_;) {
        const Time time = pending_[order_[at]].time;
        if (!dumped_ && time > window_.start) dump(window_.start);
        if (time > window_.stop) {
            end_file(window_.stop);
            break;
        }
        for (; at < order_.size(); ++at) {
            const Change& change = pending_[order_[at]];
            if (change.time != time) break;
            apply(change);
        }
        write_instant(time);
    }
    pending_.swap(later_);
    done_ = limit;
}

void VcdSink::touch(std::uint32_t track) {
    const std::size_t word = track / 64;
    touched_[word] |= std::uint64_t{1} << (track % 64);
    touched_first_ = std::min(touched_first_, word);
    touched_end_ = std::max(touched_end_, word + 1);
}

void VcdSink::apply(const Change& change) {
    Track& track = tracks_[change.track];
    touch(change.track);
    track.known = true;
    switch (change.action) {
        case Action::set:
            track.value = change.value;
            track.set_at = change.time;
            break;
        case Action::end:
            if (track.set_at != change.time) track.value = change.value;
            break;
        case Action::add:
            track.value += change.value;
            break;
        case Action::issue: {
            track.value = change.value & 0xffffffffu;
            Track& operation = tracks_[change.track + 1];
            operation.value = change.value >> 32;
            operation.known = true;
            touch(change.track + 1);
            break;
        }
    }
}

void VcdSink::write_instant(Time time) {
    bool stamped = !dumped_;
    for (std::size_t word = touched_first_; word < touched_end_; ++word) {
        std::uint64_t tracks = touched_[word];
        touched_[word] = 0;
        if (!dumped_) continue;
        char* const begin = file_.room(stamp_bytes + 64 * most_track_bytes_);
        char* out = begin;
        for (; tracks; tracks &= tracks - 1) {
            Track& track = tracks_[word * 64 + static_cast<std::size_t>(__builtin_ctzll(tracks))];
            const bool same = track.known == track.written_known && track.value == track.written;
            if (same) continue;
            const Ready* const ready =
                track.value < track.ready.size() ? &track.ready[track.value] : nullptr;
            if (ready && ready->length > 0) {
                if (!stamped) out = stamp(out, time);
                stamped = true;
                std::memcpy(out, ready->text, sizeof ready->text);
                out += ready->length;
                changes_ += track.lines;
            } else {
                for (int i = 0; i < track.lines; ++i) {
                    const Line& line = track.line[i];
                    if (line.view == View::bit && (track.value != 0) == (track.written != 0))
                        continue;
                    if (!stamped) out = stamp(out, time);
                    stamped = true;
                    out = write_line(out, track, line);
                    ++changes_;
                }
            }
            track.written = track.value;
            track.written_known = track.known;
        }
        file_.advance(static_cast<std::size_t>(out - begin));
    }
    touched_first_ = touched_.size();
    touched_end_ = 0;
    if (options_.limit_bytes && file_.size() + limit_reserve > options_.limit_bytes) {
        file_.append("$comment the size limit of ");
        file_.append_number(options_.limit_bytes);
        file_.append(" bytes was reached at ");
        file_.append_number(time);
        file_.append(" ps: nothing after this instant is recorded $end\n");
        file_.close();
        closed_ = limit_reached_ = true;
    }
}
char* VcdSink::stamp(char* out, Time time) {
    if (time % options_.tick != 0)
        throw std::logic_error("an event at " + std::to_string(time) +
                               " ps does not stand on the VCD's time unit, " +
                               tick_name(options_.tick) + ": choose a finer one");
    last_stamp_ = time;
    *out++ = '#';
    out = ticks_.append(out, time / options_.tick);
    *out++ = '\n';
    return out;
}

void VcdSink::stamp(Time time) {
    char* const begin = file_.room(stamp_bytes);
    file_.advance(static_cast<std::size_t>(stamp(begin, time) - begin));
}

void VcdSink::dump(Time time) {
    stamp(time);
    file_.append("$dumpvars\n");
    for (Track& track : tracks_) {
        char* const begin = file_.room(most_track_bytes_);
        char* out = begin;
        for (int i = 0; i < track.lines; ++i) out = write_line(out, track, track.line[i]);
        file_.advance(static_cast<std::size_t>(out - begin));
        track.written = track.value;
        track.written_known = track.known;
    }
    file_.append("$end\n");
    dumped_ = true;
}

char* VcdSink::write_line(char* out, const Track& track, const Line& line) const {
    switch (line.view) {
        case View::bit:
            *out++ = !track.known ? 'x' : track.value ? '1' : '0';
            break;
        case View::vector:
            *out++ = 'b';
            if (!track.known) {
                *out++ = 'x';
                break;
            }
            if (line.width < 64 && track.value >> line.width)
                throw std::out_of_range("VCD value " + std::to_string(track.value) +
                                        " does not fit a signal of " + std::to_string(line.width) +
                                        " bits");
            out = BinaryDigits::append(out, track.value);
            break;
        case View::string:
            *out++ = 's';
            if (!track.known) {
                *out++ = '-';
            } else if (track.value < line.names->size()) {
                const std::string& name = (*line.names)[track.value];
                std::memcpy(out, name.data(), name.size());
                out += name.size();
            } else {
                out = std::to_chars(out, out + DecimalDigits::most, track.value).ptr;
            }
            break;
        case View::real: {
            std::string value = "r";
            append_decimal(value, track.value, power_->decimals());
            std::memcpy(out, value.data(), value.size());
            out += value.size();
            break;
        }
    }
    std::memcpy(out, line.id, sizeof line.id);
    return out + line.id_length;
}

void VcdSink::end_file(Time time) {
    time -= time % options_.tick;
    if (!dumped_ && time < window_.start)
        file_.append("$comment the run ended before this window began $end\n");
    if (!dumped_) dump(std::min(time, window_.start));
    if (time > last_stamp_) stamp(time);
    file_.close();
    closed_ = true;
}

void VcdSink::finish(Time end) {
    if (closed_) return;
    if (power_) power_->finish(end);
    process(end + 1);
    pending_.clear();
    if (!closed_) end_file(std::min(end, window_.stop));
}

}  // namespace npuvp::trace
