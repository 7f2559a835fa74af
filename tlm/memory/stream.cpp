#include "memory/stream.h"

#include <time.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <stdexcept>
#include <string>
#include <vector>

#include "memory/dram/ticks.h"
#include "memory/validate.h"

namespace npuvp::memory {
namespace {

using dram::Tick;
using dram::TickClock;

constexpr int kSendsPerTick = 8;
constexpr std::uint64_t kWarmUpShare = 20;  // one request in so many, before the measured ones

class Random {
  public:
    explicit Random(std::uint64_t seed) : state_(seed) {}
    std::uint64_t next() {  // SplitMix64 (Steele, Lea, Flood 2014)
        std::uint64_t z = (state_ += 0x9E3779B97F4A7C15ULL);
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
        return z ^ (z >> 31);
    }
    std::uint64_t below(std::uint64_t limit) {
        __extension__ using Wide = unsigned __int128;
        return static_cast<std::uint64_t>((static_cast<Wide>(next()) * limit) >> 64);
    }
    /// Above 0, up to 1.
    double unit() { return (static_cast<double>(next() >> 11) + 1) * 0x1.0p-53; }

  private:
    std::uint64_t state_;
};

double cpu_seconds() {
    timespec now{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

void check_stream(const Config& config, const Stream& stream) {
    const Organization& o = config.organization;
    std::string faults;
    const auto check = [&faults](bool good, const std::string& fault) {
        if (!good) faults += (faults.empty() ? "" : "; ") + fault;
    };
    const std::uint64_t row_bytes = std::uint64_t{o.columns} * o.access_bytes;
    check(stream.bytes >= o.access_bytes && stream.bytes <= row_bytes &&
              (stream.bytes & (stream.bytes - 1)) == 0,
          "bytes is " + std::to_string(stream.bytes) + ", allowed: powers of two from " +
              std::to_string(o.access_bytes) + " to " + std::to_string(row_bytes));
    check(stream.reads + stream.writes > 0, "reads and writes are both 0");
    check(stream.streams > 0, "streams is 0, allowed: 1 and more");
    check(stream.load > 0 && stream.load <= 1,
          "load is " + std::to_string(stream.load) + ", allowed: above 0 up to 1");
    check(stream.requests > 0, "requests is 0, allowed: 1 and more");
    if (!faults.empty()) throw std::invalid_argument("memory stream: " + faults);
}

/// The requests of one channel in order: where, and read or write.
class Generator {
  public:
    Generator(const Config& config, const Stream& stream, std::uint32_t channel)
        : organization_(config.organization),
          stream_(stream),
          accesses_(stream.bytes / organization_.access_bytes),
          random_(stream.seed + 0x51ED270B * std::uint64_t{channel}),
          positions_(stream.streams) {
        const std::uint64_t all = capacity_bytes(organization_) / organization_.access_bytes;
        units_ = all / organization_.channels / accesses_;
        first_ = all / organization_.channels * channel;
        // A quarter of the capacity apart, or closer where there are more than four.
        std::uint64_t parts = 4;
        while (parts < stream.streams) parts *= 2;
        for (std::uint32_t s = 0; s < stream.streams; ++s) positions_[s] = units_ / parts * s;
    }

    struct Item {
        std::uint64_t unit = 0;  ///< of the first access
        bool write = false;
    };

    Item next() {
        Item item;
        item.write = turn_ >= stream_.reads;
        if (++turn_ == stream_.reads + stream_.writes) turn_ = 0;
        item.unit = first_ + unit() * accesses_;
        ++count_;
        return item;
    }

  private:
    std::uint64_t unit() {
        const Organization& o = organization_;
        switch (stream_.pattern) {
            case Pattern::sequential: {
                std::uint64_t& position = positions_[stream_at_];
                if (++stream_at_ == positions_.size()) stream_at_ = 0;
                const std::uint64_t unit = position;
                if (++position == units_) position = 0;
                return unit;
            }
            case Pattern::random:
                return random_.below(units_);
            case Pattern::row_conflict: {
                std::uint64_t rest = count_;
                const auto take = [&rest](std::uint64_t size) {
                    const std::uint64_t value = rest % size;
                    rest /= size;
                    return value;
                };
                const std::uint64_t pc = take(o.pseudo_channels);
                const std::uint64_t group = take(o.bank_groups);
                const std::uint64_t bank = take(o.banks);
                const std::uint64_t stack = take(o.stack_ids);
                return encode(pc, group, bank, stack, rest % o.rows);
            }
            case Pattern::row_conflict_one_bank:
                return encode(count_ % o.pseudo_channels, 0, 0, 0,
                              count_ / o.pseudo_channels % o.rows);
        }
        return 0;
    }

    std::uint64_t encode(std::uint64_t pc, std::uint64_t group, std::uint64_t bank,
                         std::uint64_t stack, std::uint64_t row) const {
        const Organization& o = organization_;
        std::uint64_t unit = row * o.stack_ids + stack;
        unit = unit * o.banks + bank;
        unit *= o.columns / accesses_;
        unit = unit * o.bank_groups + group;
        return unit * o.pseudo_channels + pc;
    }

    Organization organization_;
    Stream stream_;
    std::uint32_t accesses_;
    Random random_;
    std::vector<std::uint64_t> positions_;
    std::size_t stream_at_ = 0;
    std::uint64_t units_ = 0;
    std::uint64_t first_ = 0;
    std::uint64_t count_ = 0;
    std::uint32_t turn_ = 0;
};

/// When the requests of one channel arrive: a coin per tick, or evenly.
class ArrivalClock {
  public:
    ArrivalClock(const Config& config, const Stream& stream, std::uint32_t channel)
        : random_(~stream.seed + 0x2545F491 * std::uint64_t{channel}), arrivals_(stream.arrivals) {
        const double burst = config.timing.burst * double(config.bus.ticks_per_clock);
        const double peak = config.organization.pseudo_channels / burst *
                            config.organization.access_bytes / stream.bytes;
        // Where the peak is above one request per tick, several coins per tick.
        const double rate = stream.load * peak;
        coins_ = std::max(1.0, std::ceil(rate));
        probability_ = rate / coins_;
        advance();
    }
    Tick tick() const { return static_cast<Tick>(coin_ / coins_); }
    void advance() {
        if (arrivals_ == Arrivals::periodic) {
            coin_ += 1 / probability_;
        } else if (probability_ >= 1) {
            coin_ += 1;
        } else {
            coin_ += 1 + std::floor(std::log(random_.unit()) / std::log1p(-probability_));
        }
    }

  private:
    Random random_;
    Arrivals arrivals_;
    double coins_ = 1;
    double probability_ = 0;
    double coin_ = 0;
};

class Driver {
  public:
    Driver(Backend& backend, const Config& config, const Stream& stream)
        : backend_(backend),
          config_(config),
          stream_(stream),
          clock_(config.clock_khz, config.bus.ticks_per_clock),
          accesses_(stream.bytes / config.organization.access_bytes),
          saturated_(stream.load >= 1),
          warm_up_(warm_up_of(config, stream)),
          last_(warm_up_ + stream.requests),
          interval_(Tick{config.timing.refi} * config.bus.ticks_per_clock),
          patience_(patience_of(config)) {
        for (std::uint32_t c = 0; c < config.organization.channels; ++c) {
            sources_.emplace_back(config, stream, c);
        }
        constexpr std::uint64_t most = 1 << 24;  // at first
        latencies_.reserve(std::min(stream.requests, most));
    }

    StreamResult run();

  private:
    struct Source {
        Source(const Config& config, const Stream& stream, std::uint32_t channel)
            : generator(config, stream, channel), arrivals(config, stream, channel) {}
        Generator generator;
        ArrivalClock arrivals;
        std::deque<Tick> waiting;  ///< arrivals of requests that have not started
        Generator::Item current;
        std::uint32_t accesses_left = 0;  ///< of the current request
        std::uint32_t slot = 0;           ///< of the current request, if it is a read
    };
    struct InFlight {
        Tick generated = 0;
        Picoseconds last = 0;
        std::uint32_t accesses = 0;
        bool measured = false;
    };
    struct Mark {
        Tick tick = 0;
        std::uint64_t bytes = 0;
    };

    static std::uint64_t warm_up_of(const Config& config, const Stream& stream) {
        const Organization& o = config.organization;
        const std::uint64_t entries =
            std::uint64_t{config.controller.queue_depth} * o.pseudo_channels * o.channels;
        return std::max(stream.requests / kWarmUpShare, 4 * entries);
    }
    /// Far longer than full queues of row conflicts and any number of refreshes take.
    static Tick patience_of(const Config& config) {
        const Tick entries =
            Tick{config.controller.queue_depth} * config.organization.pseudo_channels * 2;
        const Timing& t = config.timing;
        return config.bus.ticks_per_clock *
               (1024 * Tick{t.refi} + 8 * entries * (Tick{t.rc} + t.cwl + t.wr + t.rp));
    }
    bool start_request(Source& source, Tick now);
    void offer(Source& source, Tick now);
    void collect();
    Tick next_tick() const;
    Mark mark(Tick now) const;
    void summarise(StreamResult& result);

    Backend& backend_;
    const Config& config_;
    const Stream& stream_;
    TickClock clock_;
    std::uint32_t accesses_;  ///< of one request
    bool saturated_;
    std::uint64_t warm_up_;
    std::uint64_t last_;  ///< requests of the whole run
    Tick interval_;       ///< of refresh: the grain of the measured window
    Tick patience_;       ///< with a memory that takes and answers nothing
    Tick progress_ = 0;   ///< when it last did
    std::vector<Source> sources_;
    std::vector<InFlight> slots_;
    std::vector<std::uint32_t> free_slots_;
    std::vector<Completion> completions_;
    std::vector<float> latencies_;
    double latency_sum_ = 0;
    std::uint64_t arrived_ = 0;
    std::uint64_t started_ = 0;
    std::uint64_t reads_in_flight_ = 0;
    bool waiting_ = false;  ///< something was refused in this tick
    bool more_ = false;     ///< something may be sent in the next tick
};

bool Driver::start_request(Source& source, Tick now) {
    if (started_ == last_) return false;
    Tick generated = now;
    if (!saturated_) {
        if (source.waiting.empty()) return false;
        generated = source.waiting.front();
        source.waiting.pop_front();
    }
    source.current = source.generator.next();
    source.accesses_left = accesses_;
    ++started_;
    if (source.current.write) return true;
    if (free_slots_.empty()) {
        free_slots_.push_back(static_cast<std::uint32_t>(slots_.size()));
        slots_.emplace_back();
    }
    source.slot = free_slots_.back();
    free_slots_.pop_back();
    slots_[source.slot] = {generated, 0, accesses_, started_ > warm_up_};
    ++reads_in_flight_;
    return true;
}

void Driver::offer(Source& source, Tick now) {
    for (int sends = 0; sends < kSendsPerTick; ++sends) {
        if (source.accesses_left == 0 && !start_request(source, now)) return;
        const std::uint32_t bytes = config_.organization.access_bytes;
        Request request;
        request.address = (source.current.unit + accesses_ - source.accesses_left) * bytes;
        request.bytes = bytes;
        request.write = source.current.write;
        request.tag = source.slot;
        if (!backend_.send(request)) {
            waiting_ = true;
            return;
        }
        --source.accesses_left;
        progress_ = now;
    }
    more_ = true;
}

void Driver::collect() {
    for (const Completion& completion : completions_) {
        InFlight& flight = slots_[completion.tag];
        flight.last = std::max(flight.last, completion.time);
        if (--flight.accesses > 0) continue;
        --reads_in_flight_;
        free_slots_.push_back(static_cast<std::uint32_t>(completion.tag));
        if (!flight.measured) continue;
        const double ns = 1e-3 * static_cast<double>(flight.last - clock_.time(flight.generated));
        latency_sum_ += ns;
        latencies_.push_back(static_cast<float>(ns));
    }
    completions_.clear();
}

Tick Driver::next_tick() const {
    Tick next = dram::kNeverTick;
    if (waiting_ || (started_ == last_ && reads_in_flight_ > 0)) {
        const Picoseconds event = backend_.next_event();
        if (event != kNever) next = clock_.tick_at(event);
    }
    if (!saturated_ && arrived_ < last_) {
        for (const Source& source : sources_) next = std::min(next, source.arrivals.tick());
    }
    return next;
}

Driver::Mark Driver::mark(Tick now) const {
    const Statistics statistics = backend_.statistics();
    return {now, statistics.bytes_read + statistics.bytes_written};
}

StreamResult Driver::run() {
    const double cpu_begin = cpu_seconds();
    StreamResult result;
    Mark begin;
    Mark whole;
    bool warm = false;
    Tick end = 0;
    Tick now = 0;
    while (true) {
        waiting_ = more_ = false;
        if (!saturated_) {
            for (Source& source : sources_) {
                for (; source.arrivals.tick() <= now && arrived_ < last_;
                     source.arrivals.advance()) {
                    source.waiting.push_back(source.arrivals.tick());
                    ++arrived_;
                }
            }
        }
        for (Source& source : sources_) offer(source, now);
        if (!warm && started_ >= warm_up_) {
            warm = true;
            begin = whole = mark(now);
        }
        if (started_ == last_) {
            if (end == 0) {
                end = now;
                if (whole.tick == begin.tick && now > begin.tick) whole = mark(now);
            }
            if (!waiting_ && !more_ && reads_in_flight_ == 0) break;
        }
        Tick next = more_ ? now + 1 : next_tick();
        if (next == dram::kNeverTick) {
            throw std::runtime_error("memory stream: the memory makes no progress at " +
                                     std::to_string(clock_.time(now)) + " ps");
        }
        next = std::max(next, now + 1);
        // The last whole interval before `next`: nothing happens in those before it.
        const Tick intervals = warm && end == 0 ? (next - whole.tick) / interval_ : 0;
        const bool interval = intervals > 0;
        now = interval ? whole.tick + intervals * interval_ : next;
        backend_.advance(clock_.time(now), completions_);
        if (!completions_.empty()) progress_ = now;
        collect();
        if ((waiting_ || reads_in_flight_ > 0) && now - progress_ > patience_) {
            throw std::runtime_error(
                "memory stream: the memory has taken and answered nothing for " +
                std::to_string(clock_.time(now - progress_) / 1000) + " ns with " +
                std::to_string(reads_in_flight_) +
                " reads under way; its refreshes may leave no time");
        }
        if (interval) whole = mark(now);
    }
    if (whole.tick == begin.tick) whole = mark(now);
    const double seconds = clock_.seconds(static_cast<double>(whole.tick - begin.tick));
    result.bandwidth = seconds > 0 ? static_cast<double>(whole.bytes - begin.bytes) / seconds : 0.0;
    result.fraction_of_peak = result.bandwidth / backend_.peak_bandwidth();
    result.window_ns = seconds * 1e9;
    result.simulated_ns = clock_.seconds(static_cast<double>(now)) * 1e9;
    result.requests = started_;
    result.statistics = backend_.statistics();
    summarise(result);
    result.cpu_seconds = cpu_seconds() - cpu_begin;
    return result;
}

void Driver::summarise(StreamResult& result) {
    result.measured_reads = latencies_.size();
    if (latencies_.empty()) return;
    result.mean_latency_ns = latency_sum_ / static_cast<double>(latencies_.size());
    auto from = latencies_.begin();
    const auto quantile = [this, &from](double share) {
        const auto rank =
            static_cast<std::ptrdiff_t>(std::ceil(share * static_cast<double>(latencies_.size())));
        const auto at = latencies_.begin() + rank - 1;
        std::nth_element(from, at, latencies_.end());
        from = at;
        return static_cast<double>(*at);
    };
    result.p50_latency_ns = quantile(0.50);
    result.p99_latency_ns = quantile(0.99);
    result.max_latency_ns = *std::max_element(from, latencies_.end());
}

}  // namespace

Mapping stream_mapping(const Organization& o, std::uint32_t bytes) {
    const std::uint64_t accesses = bytes / o.access_bytes;
    Mapping mapping;
    mapping.slices = {{Field::column, accesses},
                      {Field::pseudo_channel, o.pseudo_channels},
                      {Field::bank_group, o.bank_groups},
                      {Field::column, o.columns / accesses},
                      {Field::bank, o.banks},
                      {Field::stack_id, o.stack_ids},
                      {Field::row, o.rows},
                      {Field::channel, o.channels}};
    return mapping;
}

StreamResult run_stream(Backend& backend, const Config& config, const Stream& stream) {
    check_stream(config, stream);
    return Driver(backend, config, stream).run();
}

}  // namespace npuvp::memory
