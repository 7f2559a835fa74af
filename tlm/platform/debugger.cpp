#include "platform/debugger.h"

#include <cstring>
#include <stdexcept>

namespace npuvp::platform {

Debugger::Debugger(Machine& machine)
    : machine_(machine),
      breakpoints_(machine.core_count()),
      waiting_for_(machine.core_count()),
      tried_(machine.core_count()) {
    for (std::size_t i = 0; i < machine.core_count(); ++i) machine.core(i).observe(this);
}

Debugger::~Debugger() {
    abandon();
    for (std::size_t i = 0; i < machine_.core_count(); ++i) machine_.core(i).observe(nullptr);
}

void Debugger::set_breakpoints(std::size_t core, const std::vector<std::uint32_t>& pcs) {
    std::vector<bool>& marked = breakpoints_.at(core);
    marked.clear();
    for (const std::uint32_t pc : pcs) {
        if (pc >= marked.size()) marked.resize(pc + 1);
        marked[pc] = true;
    }
}

void Debugger::set_watches(std::vector<Watch> watches) {
    watches_ = std::move(watches);
    values_.clear();
    for (const Watch& watch : watches_) values_.push_back(value_of(watch));
}

Stop Debugger::resume(const Until& until) {
    std::unique_lock<std::mutex> lock(mutex_);
    if (state_ == State::ended) throw std::logic_error("the run has ended");
    until_ = until;
    waiting_ = 0;
    for (auto& count : waiting_for_) count.reset();
    for (const auto& [core, instructions] : until.instructions) {
        if (machine_.core(core).halted()) continue;
        waiting_for_.at(core) = instructions;
        ++waiting_;
    }
    const bool fresh = state_ == State::fresh;
    state_ = State::running;
    if (fresh) {
        thread_ = std::thread([this] {
            try {
                outcome_ = machine_.run();
            } catch (...) {
                error_ = std::current_exception();
            }
            const std::lock_guard<std::mutex> ended(mutex_);
            state_ = State::ended;
            changed_.notify_all();
        });
    } else {
        changed_.notify_all();
    }
    changed_.wait(lock, [this] { return state_ == State::stopped || state_ == State::ended; });
    if (state_ == State::stopped) return stop_;
    thread_.join();
    if (error_) std::rethrow_exception(error_);
    Stop end;
    end.position = position_;
    end.outcome = outcome_;
    for (std::size_t i = 0; i < machine_.core_count(); ++i)
        if (machine_.core(i).trap()) {
            end.core = i;
            end.pc = machine_.core(i).pc();
        }
    return end;
}

void Debugger::abandon() {
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        abandoned_ = true;
        changed_.notify_all();
    }
    if (thread_.joinable()) thread_.join();
}

/// In the machine's thread: stands still until it is told to go on. False: it is not to go on.
bool Debugger::stop(StopReason reason, std::size_t core, std::uint32_t pc) {
    std::unique_lock<std::mutex> lock(mutex_);
    stop_.reason = reason;
    stop_.core = core;
    stop_.pc = pc;
    stop_.position = position_;
    state_ = State::stopped;
    machine_.step_aside();
    changed_.notify_all();
    changed_.wait(lock, [this] { return state_ == State::running || abandoned_; });
    lock.unlock();
    machine_.step_back();
    stop_ = {};
    if (abandoned_) machine_.give_up();
    return !abandoned_;
}

std::size_t Debugger::index_of(const core::Core& core) const {
    std::size_t i = 0;
    while (&machine_.core(i) != &core) ++i;
    return i;
}

bool Debugger::reached(std::size_t core, std::uint64_t instructions) {
    std::optional<std::uint64_t>& target = waiting_for_[core];
    if (!target || instructions < *target) return false;
    target.reset();
    return --waiting_ == 0;
}

bool Debugger::before(core::Core& core) {
    if (abandoned_) return false;
    ++position_;
    const std::size_t index = index_of(core);
    const std::uint64_t instructions = core.instructions();
    const std::uint32_t pc = core.pc();
    const bool again = tried_[index] == instructions + 1;
    tried_[index] = instructions + 1;
    if (Machine::take_interrupt()) return stop(StopReason::interrupted, index, pc);
    if (at_position()) return stop(StopReason::position, index, pc);
    if (again) return true;
    const bool stepped = reached(index, instructions);
    if (until_.breakpoints && pc < breakpoints_[index].size() && breakpoints_[index][pc])
        return stop(StopReason::breakpoint, index, pc);
    if (stepped) return stop(StopReason::step, index, pc);
    if (until_.cycle && core.local_cycle() >= *until_.cycle &&
        (!until_.core || *until_.core == index))
        return stop(StopReason::cycle, index, pc);
    return true;
}

bool Debugger::after(core::Core& core, std::uint32_t pc) {
    if (abandoned_) return false;
    ++position_;
    const std::size_t index = index_of(core);
    if (!watches_.empty()) {
        std::vector<Change> found = changes(static_cast<std::int32_t>(index));
        if (!found.empty() && until_.breakpoints) {
            stop_.changes = std::move(found);
            return stop(StopReason::watch, index, pc);
        }
    }
    if (at_position()) return stop(StopReason::position, index, core.pc());
    if (core.halted() && reached(index, ~0ull)) return stop(StopReason::step, index, core.pc());
    return true;
}

void Debugger::transferred(core::Core& core, const core::Descriptor& descriptor) {
    if (abandoned_) return;
    ++position_;
    std::vector<Change> found = changes(-1);
    if (!found.empty() && until_.breakpoints) {
        stop_.changes = std::move(found);
        stop_.by_transfer = true;
        stop(StopReason::watch, index_of(core), descriptor.pc);
    } else if (at_position()) {
        stop(StopReason::position, index_of(core), core.pc());
    }
}

bool Debugger::at_position() const {
    return until_.position && position_ >= *until_.position;
}

std::vector<std::uint8_t> Debugger::value_of(const Watch& watch) {
    std::vector<std::uint8_t> bytes(watch.kind == Watch::Kind::range ? watch.bytes : 8);
    const auto put = [&bytes](auto value) { std::memcpy(bytes.data(), &value, sizeof value); };
    const auto number = static_cast<unsigned>(watch.address);
    switch (watch.kind) {
        case Watch::Kind::gp:
            put(machine_.core(static_cast<std::size_t>(watch.core)).gp(number));
            break;
        case Watch::Kind::fp:
            put(machine_.core(static_cast<std::size_t>(watch.core)).fp(number));
            break;
        case Watch::Kind::ha:
            put(machine_.core(static_cast<std::size_t>(watch.core)).ha(number));
            break;
        case Watch::Kind::range:
            machine_.access(false, watch.address, bytes.data(), bytes.size());
            break;
    }
    return bytes;
}

/// What has changed of that which an instruction of `core` can change, or (-1) a transfer.
std::vector<Change> Debugger::changes(std::int32_t core) {
    std::vector<Change> found;
    for (std::size_t i = 0; i < watches_.size(); ++i) {
        const Watch& watch = watches_[i];
        const bool range = watch.kind == Watch::Kind::range;
        if (core >= 0 ? watch.core != core : !range) continue;
        std::vector<std::uint8_t> now = value_of(watch);
        if (now == values_[i]) continue;
        found.push_back({watch.id, values_[i], now});
        values_[i] = std::move(now);
    }
    return found;
}

}  // namespace npuvp::platform
