#pragma once

#include <limits>
#include <map>
#include <string>
#include <vector>

#include "trace/event_queue.h"
#include "trace/file_writer.h"
#include "trace/hub.h"
#include "trace/signals.h"
#include "trace/window.h"

namespace npuvp::trace {

enum class LogForm : std::uint8_t { text, binary };

struct LogOptions {
    std::string path;
    LogForm form = LogForm::text;
    Time start = 0;
    Time stop = std::numeric_limits<Time>::max();  ///< last instant in the log
    Trigger on, off;               ///< instead of `start`, before `stop`: see Window
    Time lookback = 0;             ///< of `on`
    std::vector<bool> operations;  ///< which are logged; empty: all
};

/// What the log shows of an instruction beside its mnemonic: its text in the program, by pc.
using Listing = std::vector<std::string>;

/// One record of a binary log, little endian. The file is `log_magic`, the length of a header in
/// bytes (u32), that header (JSON: "record_bytes", "sources", "operations"), and records to the
/// end.
struct LogRecord {
    std::uint64_t begin;
    std::uint64_t end;   ///< completion; the value of a result
    std::uint32_t pc;    ///< kind of a mark
    std::uint32_t word;  ///< value of a mark; index of the place of a result
    std::uint16_t op;    ///< place of a result (Place)
    std::uint16_t source;
    std::uint32_t kind;  ///< Kind: instruction, mark, trap or result
};
static_assert(sizeof(LogRecord) == 32);

constexpr char log_magic[] = "NPUVLOG1";

/// Logs instructions in order of issue, with marks, traps and, where a core reports them, results.
/// Text: one line per instruction,
///     <issue ps> <completion ps> <core> <pc> <word> <text or mnemonic> [ -> place = value]..
/// and lines that start with '#' for marks and traps. Numbers are hexadecimal with 0x.
class LogSink : public Sink {
  public:
    /// `listings`: by source.
    LogSink(const Hub& hub, LogOptions options, Names names,
            std::map<std::uint16_t, Listing> listings);

    /// Chooses the cores to log; kinds wanted from each source, for Hub::attach.
    std::vector<std::uint32_t> choose(const std::vector<std::uint16_t>& sources);

    static constexpr std::uint32_t kinds =
        bit(Kind::instruction) | bit(Kind::mark) | bit(Kind::trap) | bit(Kind::result);

    void on_event(const Event& event) override;
    void advance(Time safe) override;
    void finish(Time end) override;

    std::uint64_t records() const { return records_; }

  private:
    void write(const Event& event);
    void write_text(const Event& event);
    void end_line();

    LogOptions options_;
    Window window_;
    std::vector<bool> chosen_, left_out_;  ///< by source
    Names names_;
    std::map<std::uint16_t, Listing> listings_;
    std::vector<std::string> sources_;
    FileWriter file_;
    EventQueue queue_;
    std::uint64_t records_ = 0;
    std::string line_;  ///< what is put together
    bool in_line_ = false, closed_ = false;
};

}  // namespace npuvp::trace
