#pragma once

#include <cstdint>

#include "memory/backend.h"

namespace npuvp::memory {

enum class Pattern : std::uint8_t { sequential, random, row_conflict, row_conflict_one_bank };
enum class Arrivals : std::uint8_t { bernoulli, periodic };

/// A synthetic stimulus; every channel has its own, from its own seed.
struct Stream {
    Pattern pattern = Pattern::random;
    std::uint32_t bytes = 0;    ///< of one request: a power of two of accesses, neighbours in a row
    std::uint32_t reads = 0;    ///< this many reads,
    std::uint32_t writes = 0;   ///< then this many writes, repeating
    std::uint32_t streams = 0;  ///< sequential positions that take turns, far apart
    double load = 0;            ///< share of the peak; 1 keeps every queue full instead
    Arrivals arrivals = Arrivals::bernoulli;
    std::uint64_t requests = 0;  ///< measured, after a warm-up
    std::uint64_t seed = 0;
};

struct StreamResult {
    double bandwidth = 0;         ///< bytes per second over the measured window
    double fraction_of_peak = 0;  ///< of the data buses' peak
    double mean_latency_ns = 0;   ///< of reads, from generation to the last data
    double p50_latency_ns = 0;
    double p99_latency_ns = 0;
    double max_latency_ns = 0;
    double window_ns = 0;              ///< that the bandwidth is measured over
    double simulated_ns = 0;           ///< whole run
    double cpu_seconds = 0;            ///< of this thread, whole run
    std::uint64_t requests = 0;        ///< whole run, warm-up included
    std::uint64_t measured_reads = 0;  ///< behind the latencies
    Statistics statistics;             ///< whole run
};

/// The mapping that the stimulus assumes: channels apart, and within one, from the least
/// significant: the accesses of a request | pseudo-channel | bank group | column | bank | stack id
/// | row.
Mapping stream_mapping(const Organization& organization, std::uint32_t bytes);

/// Drives a fresh backend whose configuration has `stream_mapping`.
/// Saturated: per tick and channel, up to 8 accesses in order until one is refused. Otherwise open
/// loop: arrivals wait in an unbounded queue per channel, which latencies include.
/// The bandwidth covers whole refresh intervals where at least one fits.
/// @throws std::invalid_argument naming every fault of the stimulus; std::runtime_error if the
/// memory makes no progress.
StreamResult run_stream(Backend& backend, const Config& config, const Stream& stream);

}  // namespace npuvp::memory
