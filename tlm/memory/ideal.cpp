#include "memory/ideal.h"

#include <cmath>
#include <stdexcept>

#include "memory/serial.h"
#include "memory/validate.h"

namespace npuvp::memory {
namespace {

constexpr std::uint64_t kFsPerPs = 1000;

}  // namespace

IdealBackend::IdealBackend(const Config& config)
    : access_bytes_(config.organization.access_bytes),
      capacity_(memory::capacity_bytes(config.organization)),
      bandwidth_(config.ideal.bandwidth),
      latency_(static_cast<Picoseconds>(std::llround(config.ideal.latency_ns * 1e3))) {
    if (!(bandwidth_ > 0)) {
        throw std::invalid_argument("memory " + config.name + ": ideal.bandwidth is " +
                                    std::to_string(bandwidth_) + ", it must be above 0");
    }
    if (!(config.ideal.latency_ns >= 0)) {
        throw std::invalid_argument("memory " + config.name + ": ideal.latency_ns is " +
                                    std::to_string(config.ideal.latency_ns) +
                                    ", it must not be negative");
    }
    if (access_bytes_ == 0 || (access_bytes_ & (access_bytes_ - 1)) != 0 ||
        config.controller.queue_depth == 0) {
        throw std::invalid_argument(
            "memory " + config.name +
            ": access_bytes must be a power of two and queue_depth above 0");
    }
    const std::uint64_t entries = std::uint64_t{config.controller.queue_depth} *
                                  config.organization.channels *
                                  config.organization.pseudo_channels;
    backlog_fs_ = entries * service_fs(access_bytes_);
}

std::uint64_t IdealBackend::service_fs(std::uint32_t bytes) const {
    return static_cast<std::uint64_t>(std::llround(bytes * (1e15 / bandwidth_)));
}

bool IdealBackend::send(const Request& request) {
    check_request(request, access_bytes_, capacity_);
    const std::uint64_t now_fs = state_.now * kFsPerPs;
    const std::uint64_t begin = std::max(now_fs, state_.free_fs);
    const std::uint64_t service = service_fs(request.bytes);
    if (begin + service - now_fs > backlog_fs_) {
        ++state_.statistics.refused;
        return false;
    }
    state_.free_fs = begin + service;
    state_.statistics.data_busy += service / kFsPerPs;
    if (request.write) {
        ++state_.statistics.writes;
        state_.statistics.bytes_written += request.bytes;
    } else {
        ++state_.statistics.reads;
        state_.statistics.bytes_read += request.bytes;
        decided_.push_back(
            {request.tag, (state_.free_fs + kFsPerPs - 1) / kFsPerPs + latency_, request.bytes});
    }
    return true;
}

Picoseconds IdealBackend::next_event() const {
    if (!decided_.empty()) return state_.now;
    const std::uint64_t now_fs = state_.now * kFsPerPs;
    const std::uint64_t service = service_fs(access_bytes_);
    if (state_.free_fs + service <= now_fs + backlog_fs_) return kNever;
    return (state_.free_fs + service - backlog_fs_ + kFsPerPs - 1) / kFsPerPs;
}

void IdealBackend::advance(Picoseconds until, std::vector<Completion>& completions) {
    check_time(state_.now, until);
    completions.insert(completions.end(), decided_.begin(), decided_.end());
    decided_.clear();
    state_.now = until;
}

bool IdealBackend::idle() const {
    return decided_.empty() && state_.free_fs <= state_.now * kFsPerPs;
}

Statistics IdealBackend::statistics() const {
    Statistics result = state_.statistics;
    result.elapsed = state_.now - state_.statistics_since;
    return result;
}

void IdealBackend::reset_statistics() {
    state_.statistics = {};
    state_.statistics_since = state_.now;
}

std::vector<std::uint8_t> IdealBackend::save() const {
    Writer writer;
    writer.put(state_);
    writer.put(decided_);
    return writer.take();
}

void IdealBackend::restore(const std::vector<std::uint8_t>& state) {
    Reader reader(state);
    reader.get(state_);
    reader.get(decided_);
    reader.finish();
}

}  // namespace npuvp::memory
