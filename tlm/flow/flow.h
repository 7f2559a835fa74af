#pragma once

#include <cstdint>
#include <deque>
#include <queue>
#include <vector>

#include "memory/backend.h"
#include "noc/mesh_timing.h"

namespace npuvp::flow {

/// Cycles of the mesh's clock, of which a memory's ticks are parts.
using Time = double;

/// What an index of a memory's address counts, as far as bursts are concerned.
enum class Part : std::uint8_t { channel, bank, row, column };

struct Slice {
    Part part;
    std::uint32_t size;
};

/// A memory of banks at the granularity of bursts, in cycles.
struct BankTimes {
    Time access = 0;           ///< of the data bus per access
    Time activate = 0;         ///< from an activation to data commands
    Time precharge = 0;        ///< from closing a row to the next activation
    Time read_to_close = 0;    ///< from the last read of a row to closing it
    Time row_cycle = 0;        ///< from an activation of a bank to the next one
    Time data = 0;             ///< from a read command to its data
    Time refresh = 0;          ///< of all banks
    Time refresh_every = 0;    ///< from one to the next; 0: there is none
    std::uint32_t groups = 1;  ///< banks that a burst opens, whose accesses take turns
};

/// Where bursts go, and what they meet.
struct Machine {
    noc::MeshShape shape;
    std::vector<noc::Node> cores;
    std::vector<noc::Node> nodes;  ///< of the memory
    std::uint32_t flit_bytes = 1;
    std::uint32_t burst_bytes = 1;  ///< most of a burst, which ends at a multiple of them
    std::uint32_t reads = 1;        ///< bursts of a core under way
    std::uint32_t writes = 1;
    double port_bytes = 1;            ///< per cycle, of a core
    std::uint32_t interleave = 4096;  ///< bytes after which the next node has its turn
    std::uint32_t access_bytes = 32;
    std::uint32_t channels = 1;  ///< of a node, with data buses of their own
    std::uint32_t depth = 32;    ///< accesses that wait for a data bus
    Time latency = 0;            ///< of a memory without banks
    Time access = 0;             ///< of its data bus, per access of all channels
    bool banked = false;
    BankTimes banks;
    std::vector<Slice> slices;  ///< of the index of an access in a node, from the lowest
};

/// A stretch of memory that a core moves.
struct Stretch {
    std::uint64_t address = 0;
    std::uint64_t bytes = 0;
    bool write = false;
};

/// What several cores ask of one memory at the same time, burst by burst.
///
/// Every core asks for its stretches in order, as many bursts at a time as it may have under way.
/// Requests and answers cross the mesh as `noc::MeshTiming` has it. A node of the memory takes
/// bursts into a queue, from which the oldest that is ready goes first: one whose row is open, or
/// has been opened since. A burst is served as a whole; commands within it are not looked at.
///
/// This is a stand-in for what the simulation does command by command, and a thousand times
/// cheaper; no data, no instructions, and no time beyond the last burst.
class Flow {
  public:
    /// `begins`: cycle at which each core begins.
    Flow(const Machine& machine, std::vector<std::vector<Stretch>> stretches,
         const std::vector<noc::Cycle>& begins);

    /// For every core, when the last burst of each stretch is there (of a write: is answered).
    std::vector<std::vector<Time>> run();

  private:
    static constexpr Time kLongAgo = -1e18;

    struct Burst {
        std::uint32_t core, node, stretch, bytes;
        bool write;
        std::uint32_t accesses;  ///< of each data bus
        std::uint32_t bank;
        std::uint64_t row;
        Time asked;
        Time queued = 0;
        bool served = false, ended = false;
    };
    struct Core {
        std::size_t stretch = 0;
        std::uint64_t offset = 0;
        std::uint32_t reads = 0, writes = 0;
        Time port = 0;
    };
    struct Bank {
        std::uint64_t row = 0;
        bool open = false;
        Time last_read = kLongAgo;
        Time activated = kLongAgo;
    };
    struct Node {
        std::deque<std::uint32_t> held;     ///< of which the endpoint knows
        std::deque<std::uint32_t> waiting;  ///< ahead of the queue (memory::accepted_bursts)
        std::vector<std::uint32_t> queue;
        std::uint32_t accesses = 0;  ///< in the queue
        Time free = 0;
        Time refreshed = 0;
        bool busy = false;
        bool full = false;  ///< takes nothing more
        std::vector<Bank> banks;
    };
    enum class What : std::uint8_t { begun, served, answer, ended, begin };
    struct Event {
        Time time;
        std::uint64_t order;
        What what;
        std::uint32_t index;
        bool operator<(const Event& other) const {
            return time != other.time ? time > other.time : order > other.order;
        }
    };

    void push(Time time, What what, std::uint32_t index) {
        events_.push({time, order_++, what, index});
    }
    void place(Burst& burst, std::uint64_t address) const;
    void issue(std::uint32_t core, Time now);
    void arrive(std::uint32_t node, std::uint32_t burst, Time now);
    void take(std::uint32_t node, std::uint32_t burst, Time now);
    void take_next(std::uint32_t node, Time now);
    void fill(std::uint32_t node, Time now);
    void serve(std::uint32_t node, Time now);
    Time ready(const Node& node, std::size_t place, bool& opens) const;
    Time after_refresh(Node& node, Time start) const;
    void perform(const Event& event, Time now);
    void answered(const noc::Delivery& delivery, Time now);
    void forget(std::uint32_t burst) {
        if (bursts_[burst].served && bursts_[burst].ended) idle_.push_back(burst);
    }

    const Machine machine_;
    const std::vector<std::vector<Stretch>> stretches_;
    noc::MeshTiming mesh_;
    std::vector<Core> cores_;
    std::vector<Node> nodes_;
    std::vector<Burst> bursts_;
    std::vector<std::uint32_t> idle_;  ///< places in `bursts_`
    std::vector<std::vector<Time>> ends_;
    std::priority_queue<Event> events_;
    std::uint64_t order_ = 0;
};

}  // namespace npuvp::flow
