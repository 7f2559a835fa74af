#include "memory/ramulator/ramulator_backend.h"

#include <algorithm>
#include <mutex>
#include <stdexcept>
#include <string>

#include "memory/ramulator/config_nodes.h"
#include "memory/validate.h"
#include "ramulator/base/config_node.h"
#include "ramulator/base/factory.h"
#include "ramulator/frontend/i_frontend.h"
#include "ramulator/memory_system/i_memory_system.h"

namespace npuvp::memory::ramulator {
namespace {

/// Accepted work that sees no command for so many refresh intervals will never be served.
constexpr dram::Tick kWatchdogIntervals = 64;

const Config& checked(const Config& config) {
    check_dram_config(config);
    return config;
}

/// Its registry of components is one per process.
std::mutex& factory_lock() {
    static std::mutex lock;
    return lock;
}

template <class T>
void finalise_and_delete(T* top) {
    if (top == nullptr) return;
    top->finalize();
    delete dynamic_cast<Ramulator::Implementation*>(top);
}

}  // namespace

RamulatorBackend::RamulatorBackend(const Config& config)
    : organization_(checked(config).organization),
      refresh_(config.controller.refresh),
      has_stack_ids_(config.family == "HBM3"),
      table_(config),
      clock_(config.clock_khz, config.bus.ticks_per_clock),
      mapping_(config) {
    try {
        create(config);
    } catch (const std::invalid_argument&) {
        destroy();
        throw;
    } catch (const std::exception& error) {
        destroy();
        throw std::invalid_argument("memory " + config.name +
                                    ": Ramulator refuses the configuration: " + error.what());
    }
}

void RamulatorBackend::create(const Config& config) {
    const Ramulator::ConfigNode memory = memory_system_config(config, table_);
    const std::lock_guard<std::mutex> guard(factory_lock());
    frontend_ = Ramulator::Factory::create_frontend(frontend_config());
    memory_ = Ramulator::Factory::create_memory_system(memory);
    frontend_->connect_memory_system(memory_);
    memory_->connect_frontend(frontend_);
}

RamulatorBackend::~RamulatorBackend() {
    destroy();
}

void RamulatorBackend::destroy() {
    const std::lock_guard<std::mutex> guard(factory_lock());
    finalise_and_delete(frontend_);
    finalise_and_delete(memory_);
    frontend_ = nullptr;
    memory_ = nullptr;
}

bool RamulatorBackend::send(const Request& request) {
    check_request(request, organization_.access_bytes, capacity_bytes());
    const std::uint64_t unit = request.address / organization_.access_bytes;
    const dram::Coordinates where = mapping_.decode(unit);
    const std::uint32_t group = where.bank / organization_.banks;
    const auto level = [](std::uint32_t value) { return static_cast<int>(value); };
    Ramulator::AddrVec_t address = {level(where.channel), level(where.pc)};
    if (has_stack_ids_) address.push_back(level(group / organization_.bank_groups));
    address.push_back(level(group % organization_.bank_groups));
    address.push_back(level(where.bank % organization_.banks));
    address.push_back(level(where.row));
    address.push_back(level(where.column));

    using Type = Ramulator::Request::Type;
    Ramulator::Request sent(std::move(address), request.write ? Type::Write : Type::Read);
    sent.addr = static_cast<Ramulator::Addr_t>(unit * organization_.access_bytes);
    sent.size_bytes = static_cast<int>(organization_.access_bytes);
    if (request.write) {
        // It may be called inside the send.
        ++writes_outstanding_;
        sent.callback = [this](Ramulator::Request&) {
            --writes_outstanding_;
            ++writes_done_;
            last_progress_ = tick_;
        };
    } else {
        sent.callback = [this, tag = request.tag, bytes = request.bytes](Ramulator::Request&) {
            --reads_outstanding_;
            ++reads_done_;
            last_progress_ = tick_;
            done_.push_back({tag, clock_.time(tick_), bytes});
        };
    }
    if (idle()) last_progress_ = tick_;
    const bool accepted = memory_->send(sent);
    if (accepted) {
        if (!request.write) ++reads_outstanding_;
    } else {
        if (request.write) --writes_outstanding_;
        ++refused_;
    }
    return accepted;
}

Picoseconds RamulatorBackend::next_event() const {
    return idle() ? kNever : clock_.time(tick_ + 1);
}

void RamulatorBackend::advance(Picoseconds until, std::vector<Completion>& completions) {
    check_time(now_, until);
    now_ = until;
    const dram::Tick end = clock_.tick_at(until);
    while (tick_ < end) {
        ++tick_;
        memory_->tick();
        if (!idle() && tick_ - last_progress_ > kWatchdogIntervals * table_.refresh_interval) {
            throw std::runtime_error("memory backend ramulator: no command for " +
                                     std::to_string(tick_ - last_progress_) + " ticks with " +
                                     std::to_string(reads_outstanding_) + " reads and " +
                                     std::to_string(writes_outstanding_) +
                                     " writes outstanding at " +
                                     std::to_string(clock_.time(tick_)) +
                                     " ps; Ramulator 2.1 is known to stop with row_policy capped, "
                                     "refreshes and mixed reads "
                                     "and writes: choose row_policy open, or the backend builtin");
        }
    }
    completions.insert(completions.end(), done_.begin(), done_.end());
    done_.clear();
}

bool RamulatorBackend::idle() const {
    return reads_outstanding_ == 0 && writes_outstanding_ == 0;
}

Statistics RamulatorBackend::counts() const {
    Statistics sum;
    const Ramulator::ConfigNode all = memory_->collect_stats();
    const Ramulator::ConfigNode node = all["controller"];
    const Ramulator::ConfigNode::Seq one = {node};
    for (const Ramulator::ConfigNode& controller : node.is_sequence() ? node.seq() : one) {
        const auto count = [&controller](const char* name) {
            return static_cast<std::uint64_t>(controller[name].as<unsigned long>());
        };
        sum.row_hits += count("row_hits");
        sum.row_misses += count("row_misses");
        sum.row_conflicts += count("row_conflicts");
        sum.reads_forwarded += count("num_read_reqs_forwarded");
        sum.writes_coalesced += count("num_write_reqs_coalesced");
    }
    sum.reads = reads_done_ - std::min(reads_done_, sum.reads_forwarded);
    sum.writes = writes_done_ - std::min(writes_done_, sum.writes_coalesced);
    sum.activates = sum.row_misses + sum.row_conflicts;
    sum.precharges = sum.row_conflicts;
    sum.bytes_read = sum.reads * organization_.access_bytes;
    sum.bytes_written = sum.writes * organization_.access_bytes;
    sum.refused = refused_;
    sum.data_busy = clock_.time(static_cast<dram::Tick>(sum.reads + sum.writes) * table_.burst);
    const std::uint64_t pcs = std::uint64_t{organization_.channels} * organization_.pseudo_channels;
    const auto intervals = static_cast<std::uint64_t>(tick_ / table_.refresh_interval);
    if (refresh_ == Refresh::all_bank) sum.refreshes_all = intervals * pcs;
    if (refresh_ == Refresh::per_bank) {
        sum.refreshes_bank = intervals * pcs * organization_.stack_ids * organization_.bank_groups *
                             organization_.banks;
    }
    return sum;
}

Statistics RamulatorBackend::statistics() const {
    Statistics result = counts();
    subtract(result, counted_before_);
    result.elapsed = now_ - counted_since_;
    return result;
}

void RamulatorBackend::reset_statistics() {
    counted_before_ = counts();
    counted_since_ = now_;
}

std::vector<std::uint8_t> RamulatorBackend::save() const {
    throw std::runtime_error(
        "memory backend ramulator cannot be saved in a checkpoint: its state is not accessible; "
        "use the backend builtin");
}

void RamulatorBackend::restore(const std::vector<std::uint8_t>&) {
    throw std::runtime_error(
        "memory backend ramulator cannot be restored from a checkpoint: use the backend builtin");
}

std::uint64_t RamulatorBackend::capacity_bytes() const {
    return memory::capacity_bytes(organization_);
}

double RamulatorBackend::peak_bandwidth() const {
    return static_cast<double>(organization_.channels) * organization_.pseudo_channels *
           organization_.access_bytes / clock_.seconds(static_cast<double>(table_.burst));
}

}  // namespace npuvp::memory::ramulator
