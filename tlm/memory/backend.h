#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "memory/config.h"

namespace npuvp::memory {

/// Simulated time in picoseconds since the start.
using Picoseconds = std::uint64_t;
inline constexpr Picoseconds kNever = std::numeric_limits<Picoseconds>::max();

/// Transactions of a socket that may wait for queues before its next request is held up.
inline constexpr std::uint32_t accepted_bursts = 8;

/// One access: at most `access_bytes()` long and inside one aligned unit of that size.
struct Request {
    std::uint64_t address = 0;
    std::uint32_t bytes = 0;
    bool write = false;
    std::uint64_t tag = 0;  ///< returned with the completion; the backend gives it no meaning
};

/// How far a run of accesses came.
struct Sent {
    std::uint64_t next = 0;  ///< address of the first one that was not accepted, or the run's end
    std::uint32_t accepted = 0;
};

/// The last data of a read has arrived at `time`.
struct Completion {
    std::uint64_t tag = 0;
    Picoseconds time = 0;
    std::uint64_t bytes = 0;  ///< that came over the data bus: none of a forwarded read
};

/// What happened since construction or `reset_statistics`. Counts are of commands on the command
/// buses, summed over all channels; they are what an energy model multiplies.
struct Statistics {
    std::uint64_t activates = 0;
    std::uint64_t reads = 0;
    std::uint64_t writes = 0;
    std::uint64_t precharges = 0;        ///< rows closed one by one, auto-precharge included
    std::uint64_t precharges_all = 0;    ///< commands that closed every bank of a pseudo-channel
    std::uint64_t refreshes_all = 0;     ///< all-bank refreshes, one per pseudo-channel
    std::uint64_t refreshes_bank = 0;    ///< per-bank refreshes
    std::uint64_t row_hits = 0;          ///< requests that found their row open
    std::uint64_t row_misses = 0;        ///< requests that found their bank closed
    std::uint64_t row_conflicts = 0;     ///< requests that found another row open
    std::uint64_t bytes_read = 0;        ///< over the data bus
    std::uint64_t bytes_written = 0;     ///< over the data bus
    std::uint64_t reads_forwarded = 0;   ///< reads answered by a waiting write
    std::uint64_t writes_coalesced = 0;  ///< writes absorbed by a waiting write
    std::uint64_t refused = 0;           ///< sends that found the queue full
    Picoseconds data_busy = 0;           ///< data-bus time, summed over pseudo-channels
    Picoseconds rows_open = 0;           ///< time with a row open, summed over pseudo-channels
    Picoseconds elapsed = 0;             ///< time that these figures cover
};

/// What goes over a DRAM's command buses.
enum class Command : std::uint8_t {
    activate,
    precharge,
    precharge_all,
    read,
    write,
    read_precharge,
    write_precharge,
    refresh_all,
    refresh_bank,
    count_
};

struct IssuedCommand {
    Picoseconds time;
    std::uint32_t channel;
    std::uint32_t bank;  ///< counted through the pseudo-channels
    Command command;
    std::uint64_t row;  ///< of what has one, else 0
};

void add(Statistics& sum, const Statistics& part);
void subtract(Statistics& sum, const Statistics& part);

/// A whole memory behind one interface, in plain C++: no thread, no coroutine, no SystemC.
///
/// The caller owns time. It calls `advance(now, done)` before it sends at `now`, sends, and wakes
/// again no later than `next_event()`:
///
///     memory->advance(now, done);          // everything up to and including `now` has happened
///     accepted = memory->send(request);    // arrives at `now`
///     wake_at(memory->next_event());
///
/// A read completes when its data is complete. Its completion is reported as soon as the time is
/// known, so `Completion::time` may lie after `until`, by up to `lookahead()`: a caller that has
/// nothing to send may advance in steps of `lookahead()` and still learns of every read in time.
/// A write is complete when it is accepted (it is posted): it never appears among the completions.
/// A refused request has left no trace; a queue may have room again at `next_event()`.
class Backend {
  public:
    virtual ~Backend() = default;

    /// True if accepted; false if its queue is full.
    /// @throws std::invalid_argument if the request crosses an access or lies outside the memory.
    virtual bool send(const Request& request) = 0;

    /// Offers a run of accesses of one channel until one is refused or `most` are accepted: in
    /// order of address, those of [first.address, end) that go to the channel of the first.
    /// `first.bytes` is not looked at: each access reaches to the end of its aligned unit, or of
    /// the run.
    virtual Sent send_run(const Request& first, std::uint64_t end, std::uint32_t most);

    /// Earliest time after `now()` at which anything can happen without a further send (a command
    /// issues, a completion is reported, a queue gets room), or `kNever` if all work is done and
    /// nothing periodic is left. It may be early, never late.
    virtual Picoseconds next_event() const = 0;

    /// Lets all happen that happens at or before `until` and appends the completions that became
    /// known. Going back in time is a std::invalid_argument; `until == now()` is allowed.
    virtual void advance(Picoseconds until, std::vector<Completion>& completions) = 0;

    /// Where the last `advance` ended.
    virtual Picoseconds now() const = 0;

    /// No accepted request is waiting or in service (writes included).
    virtual bool idle() const = 0;

    virtual Statistics statistics() const = 0;
    virtual void reset_statistics() = 0;

    /// From now on every command is appended to `to`, which the caller empties; null: no longer.
    /// Channels in turn, each in order of time. A backend without commands does nothing.
    virtual void record_commands(std::vector<IssuedCommand>* to) { (void)to; }

    /// Whole state as plain bytes, for checkpoints; `restore` needs the same configuration.
    /// @throws std::runtime_error if this backend cannot (`ramulator`) or the bytes do not fit.
    virtual std::vector<std::uint8_t> save() const = 0;
    virtual void restore(const std::vector<std::uint8_t>& state) = 0;

    /// Channels with queues of their own: a request that one refuses says nothing about the others.
    virtual std::uint32_t channels() const { return 1; }
    virtual std::uint32_t channel_of(std::uint64_t address) const {
        (void)address;
        return 0;
    }

    /// Bytes of one access: the burst of one pseudo-channel.
    virtual std::uint32_t access_bytes() const = 0;
    /// Whether an access of fewer bytes takes less of the data bus: no, where bursts are whole.
    virtual bool partial_bursts() const { return false; }
    virtual std::uint64_t capacity_bytes() const = 0;
    /// Of all data buses together, bytes per second.
    virtual double peak_bandwidth() const = 0;
    /// Shortest time from the instant that decides a read to the end of its data.
    virtual Picoseconds lookahead() const = 0;
    /// How long a caller that has more to send may leave full queues alone without loss: they do
    /// not run empty.
    virtual Picoseconds refill() const { return lookahead() / 2; }
};

/// @throws std::invalid_argument if there is no backend of that name or it is not part of this
/// build (the message says how to get it), or if the configuration is not valid for it.
std::unique_ptr<Backend> make_backend(const std::string& name, const Config& config);

/// Names that `make_backend` knows, available or not, in the order of documentation.
std::vector<std::string> backend_names();

/// Empty if the backend can be made, else what is missing and how to provide it.
std::string backend_unavailable_reason(const std::string& name);

}  // namespace npuvp::memory
