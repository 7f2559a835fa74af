#include "trace/log.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <stdexcept>

#include "trace/json.h"

namespace npuvp::trace {

namespace {

const char* mark_name(std::uint32_t kind) {
    static const char* const names[] = {"layer", "block", "step", "call", "op", "phase"};
    return kind < std::size(names) ? names[kind] : "unknown";
}

void append_hex(std::string& out, std::uint64_t value, int digits) {
    char text[16];
    int at = 16;
    while (value != 0 || 16 - at < digits) {
        text[--at] = "0123456789abcdef"[value % 16];
        value /= 16;
    }
    out += "0x";
    out.append(text + at, static_cast<std::size_t>(16 - at));
}

void append_number(std::string& out, std::uint64_t value) {
    char digits[20];
    out.append(digits, std::to_chars(digits, digits + sizeof digits, value).ptr);
}

/// "gp3", "f1", "v[12]" (a row), "fp[8:40]" (words 8 to 39), "int[3]".
void append_place(std::string& out, const Event& event) {
    static const char* const names[] = {"gp", "f", "v[", "fp[", "int["};
    const std::uint64_t place = event.c >> 32, first = event.c & 0xffffffffu;
    out += names[std::min<std::uint64_t>(place, std::size(names) - 1)];
    append_number(out, first);
    if (place < static_cast<std::uint64_t>(Place::vector_rows)) return;
    if (event.b >> 32 > 1) out += ":" + std::to_string(first + (event.b >> 32));
    out += ']';
}

}  // namespace

LogSink::LogSink(const Hub& hub, LogOptions options, Names names,
                 std::map<std::uint16_t, Listing> listings)
    : options_(std::move(options)),
      window_{options_.start, options_.stop, options_.on, options_.off, options_.lookback},
      names_(std::move(names)),
      listings_(std::move(listings)),
      file_(options_.path) {
    if (options_.start >= options_.stop)
        throw std::invalid_argument("log window: start " + std::to_string(options_.start) +
                                    " ps is not before stop " + std::to_string(options_.stop) +
                                    " ps");
    for (const Source& source : hub.sources()) sources_.push_back(source.path);
    left_out_.assign(sources_.size(), false);
    if (options_.form == LogForm::text) {
        file_.append("# issue_ps completion_ps core pc word instruction\n");
    } else {
        std::string header = "{\"record_bytes\": 32, \"sources\": ";
        append_json(header, sources_);
        header += ", \"operations\": ";
        append_json(header, names_.operations);
        header += "}";
        const auto length = static_cast<std::uint32_t>(header.size());
        char bytes[4];
        for (int i = 0; i < 4; ++i) bytes[i] = static_cast<char>(length >> (8 * i));
        file_.append({log_magic, 8});
        file_.append({bytes, 4});
        file_.append(header);
    }
    file_.flush();
}

std::vector<std::uint32_t> LogSink::choose(const std::vector<std::uint16_t>& sources) {
    std::vector<std::uint32_t> wanted(sources_.size(), 0);
    chosen_.assign(sources_.size(), false);
    for (std::uint16_t source : sources) {
        wanted.at(source) = kinds;
        chosen_.at(source) = true;
    }
    window_.arm(wanted);
    return wanted;
}

void LogSink::on_event(const Event& event) {
    if (closed_) return;
    window_.observe(event);
    if (!chosen_[event.source] || !((kinds >> static_cast<unsigned>(event.kind)) & 1u)) return;
    queue_.push(event);
}

void LogSink::advance(Time safe) {
    if (closed_ || (!queue_.is_long() && !file_.flush_is_due())) return;
    queue_.drain(window_.ready(safe), [&](const Event& event) { write(event); });
    file_.flush();
}

void LogSink::write(const Event& event) {
    if (!window_.contains(event.begin)) return;
    if (event.kind == Kind::instruction)
        left_out_[event.source] = !options_.operations.empty() && !options_.operations.at(event.b);
    if ((event.kind == Kind::instruction || event.kind == Kind::result) && left_out_[event.source])
        return;
    ++records_;
    if (options_.form == LogForm::text) {
        write_text(event);
        return;
    }
    LogRecord record{event.begin,
                     event.end,
                     event.a,
                     static_cast<std::uint32_t>(event.c),
                     0,
                     event.source,
                     static_cast<std::uint32_t>(event.kind)};
    if (event.kind == Kind::instruction) record.op = static_cast<std::uint16_t>(event.b);
    if (event.kind == Kind::result) {
        record.end = event.b;
        record.op = static_cast<std::uint16_t>(event.c >> 32);
    }
    if (event.kind == Kind::mark) record.word = static_cast<std::uint32_t>(event.b);
    char bytes[sizeof record];
    std::memcpy(bytes, &record, sizeof record);
    file_.append({bytes, sizeof bytes});
}

void LogSink::write_text(const Event& event) {
    std::string& line = line_;
    line.clear();
    if (event.kind == Kind::result) {
        line = in_line_ ? "  -> " : "# result ";
        append_place(line, event);
        line += " = ";
        append_hex(line, event.b & 0xffffffffu, 8);
        file_.append(line);
        if (!in_line_) file_.append('\n');
        return;
    }
    end_line();
    const std::string& source = sources_[event.source];
    if (event.kind == Kind::mark) {
        const auto& words = names_.marks.at(event.a);
        line = "# " + std::to_string(event.begin) + " " + source + " " + mark_name(event.a) + " ";
        line += event.b < words.size() ? words[event.b] : std::to_string(event.b);
        line += '\n';
        file_.append(line);
        return;
    }
    if (event.kind == Kind::trap) {
        line = "# " + std::to_string(event.begin) + " " + source + " trap at pc ";
        append_hex(line, event.a, 4);
        line += '\n';
        file_.append(line);
        return;
    }
    append_number(line, event.begin);
    line += ' ';
    append_number(line, event.end);
    line += ' ';
    line += source;
    line += ' ';
    append_hex(line, event.a, 4);
    line += ' ';
    append_hex(line, event.c, 8);
    line += ' ';
    const auto listing = listings_.find(event.source);
    if (listing != listings_.end() && event.a < listing->second.size())
        line += listing->second[event.a];
    else if (event.b < names_.operations.size())
        line += names_.operations[event.b];
    else
        line += "op" + std::to_string(event.b);
    file_.append(line);
    in_line_ = true;
}

void LogSink::end_line() {
    if (in_line_) file_.append('\n');
    in_line_ = false;
}

void LogSink::finish(Time end) {
    if (closed_) return;
    queue_.drain(end + 1, [&](const Event& event) { write(event); });
    end_line();
    file_.close();
    closed_ = true;
}

}  // namespace npuvp::trace
