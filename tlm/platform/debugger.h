#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "core/observer.h"
#include "platform/machine.h"

namespace npuvp::platform {

/// A place whose change stops the run.
struct Watch {
    enum class Kind : std::uint8_t { gp, fp, ha, range };
    std::uint32_t id = 0;
    Kind kind = Kind::range;
    std::int32_t core = -1;     ///< whose register, or whose SRAM; -1: a memory
    std::uint64_t address = 0;  ///< register number, or first byte by global address
    std::uint64_t bytes = 8;
};

struct Change {
    std::uint32_t watch;
    std::vector<std::uint8_t> before, after;
};

enum class StopReason : std::uint8_t {
    breakpoint,
    watch,
    step,
    cycle,
    position,
    interrupted,
    ended
};

/// Where the machine stands still.
struct Stop {
    StopReason reason = StopReason::ended;
    std::size_t core = 0;        ///< whose instruction, or transfer, it was
    std::uint32_t pc = 0;        ///< of the next instruction, or (watch) of the one that changed it
    bool by_transfer = false;    ///< a transfer changed what is watched
    std::uint64_t position = 0;  ///< number of this instant, the same in every run alike
    std::vector<Change> changes;
    std::optional<Outcome> outcome;  ///< of a run that has ended
};

/// What ends the next stretch, besides breakpoints and watches.
struct Until {
    /// All of these cores have carried out so many instructions, or have halted.
    std::vector<std::pair<std::size_t, std::uint64_t>> instructions;
    std::optional<std::uint64_t>
        cycle;                        ///< an instruction is about to issue in this cycle or later
    std::optional<std::size_t> core;  ///< whose instruction; none: any core's
    std::optional<std::uint64_t> position;
    bool breakpoints = true;  ///< false: breakpoints and watches do not count
};

/// Runs a machine in a thread of its own, which stands still inside the kernel wherever it stops:
/// nothing in the simulation can tell, so a run with a debugger is the run without it, to the last
/// event. Calls come from one thread.
class Debugger : public core::Observer {
  public:
    explicit Debugger(Machine& machine);
    ~Debugger() override;
    Debugger(const Debugger&) = delete;
    Debugger& operator=(const Debugger&) = delete;

    /// Instructions before which a core stops.
    void set_breakpoints(std::size_t core, const std::vector<std::uint32_t>& pcs);
    void set_watches(std::vector<Watch> watches);
    /// Goes on until something stops it. Rethrows what a foreign target threw.
    Stop resume(const Until& until);
    /// Ends a run that stands still; the machine can still be read.
    void abandon();

    bool before(core::Core& core) override;
    bool after(core::Core& core, std::uint32_t pc) override;
    void transferred(core::Core& core, const core::Descriptor& descriptor) override;

  private:
    enum class State : std::uint8_t { fresh, running, stopped, ended };

    std::size_t index_of(const core::Core& core) const;
    bool at_position() const;
    bool stop(StopReason reason, std::size_t core, std::uint32_t pc);
    std::vector<std::uint8_t> value_of(const Watch& watch);
    std::vector<Change> changes(std::int32_t core);
    /// One core is where it should be: true where all are.
    bool reached(std::size_t core, std::uint64_t instructions);

    Machine& machine_;
    std::vector<std::vector<bool>> breakpoints_;  ///< by core, by pc
    std::vector<Watch> watches_;
    std::vector<std::vector<std::uint8_t>> values_;  ///< of the watches
    Until until_;
    std::vector<std::optional<std::uint64_t>> waiting_for_;  ///< instruction count, by core
    std::size_t waiting_ = 0;
    std::vector<std::uint64_t> tried_;  ///< instruction last announced, by core, plus one
    std::uint64_t position_ = 0;
    Stop stop_;
    bool abandoned_ = false;
    State state_ = State::fresh;
    std::optional<Outcome> outcome_;
    std::exception_ptr error_;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::thread thread_;
};

}  // namespace npuvp::platform
