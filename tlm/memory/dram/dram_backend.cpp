#include "memory/dram/dram_backend.h"

#include "memory/serial.h"
#include "memory/validate.h"

namespace npuvp::memory::dram {

namespace {

const Config& checked(const Config& config) {
    check_dram_config(config);
    return config;
}

std::uint32_t log2_of(std::uint32_t power) {
    std::uint32_t shift = 0;
    while ((std::uint32_t{1} << shift) < power) ++shift;
    return shift;
}

}  // namespace

DramBackend::DramBackend(const Config& config)
    : organization_(checked(config).organization),
      access_bytes_(organization_.access_bytes),
      access_shift_(log2_of(access_bytes_)),
      capacity_(memory::capacity_bytes(config.organization)),
      pseudo_channels_(config.organization.channels * config.organization.pseudo_channels),
      queue_depth_(config.controller.queue_depth),
      table_(config),
      clock_(config.clock_khz, config.bus.ticks_per_clock),
      mapping_(config) {
    for (std::uint32_t c = 0; c < config.organization.channels; ++c) {
        channels_.push_back(std::make_unique<Channel>(config, table_, clock_));
        next_.push_back(channels_.back()->next());
        wake_.push_back(kNeverTick);
    }
}

void DramBackend::note(std::size_t channel) {
    const Channel& c = *channels_[channel];
    next_[channel] = c.next();
    wake_[channel] = c.idle() ? kNeverTick : c.next();
}

bool DramBackend::send(const Request& request) {
    check_request(request, access_bytes_, capacity_);
    const std::uint64_t unit = request.address >> access_shift_;
    const std::uint32_t number = mapping_.channel(unit);
    Channel& channel = *channels_[number];
    // A caller that is refused tries again and again: that has to be cheap.
    if (channel.refuses(request.write ? kWrite : kRead)) return false;
    const Channel::Accepted accepted =
        channel.take(mapping_.locate(unit),
                     {request.write ? kWrite : kRead, request.bytes, unit, request.tag}, tick_);
    if (accepted == Channel::Accepted::no) return false;
    channel.taken(tick_);
    if (accepted == Channel::Accepted::forwarded)
        decided_.push_back({request.tag, clock_.time(tick_ + 1), 0});
    if (channel.next() != next_[number] || wake_[number] == kNeverTick) note(number);
    return true;
}

Sent DramBackend::send_run(const Request& first, std::uint64_t end, std::uint32_t most) {
    if (first.address >= end) return {first.address, 0};
    if (end > capacity_) {
        check_request({first.address, 1, first.write, 0}, access_bytes_, capacity_);
        check_request({end - 1, 1, first.write, 0}, access_bytes_, capacity_);
    }
    return first.write ? send_run_of<kWrite>(first, end, most)
                       : send_run_of<kRead>(first, end, most);
}

/// For one kind, so that what depends on it is decided once and not for every access.
template <Kind kind>
Sent DramBackend::send_run_of(const Request& first, std::uint64_t end, std::uint32_t most) {
    Sent sent{first.address, 0};
    const std::uint64_t begin = first.address >> access_shift_;
    const std::uint64_t last = (end - 1) >> access_shift_;
    // What waits is offered again and again: a refusal has to be cheap.
    if (channels_[mapping_.channel(begin)]->refuses(kind)) return sent;
    AddressMapping::Walk walk(mapping_, begin);
    Channel& channel = *channels_[walk.channel()];
    for (; walk.unit() <= last && sent.accepted < most; walk.next(last)) {
        Access access{kind, access_bytes_, walk.unit(), first.tag};
        if (access.unit == begin)
            access.bytes -= static_cast<std::uint32_t>(first.address & (access_bytes_ - 1));
        if (access.unit == last)
            access.bytes -= static_cast<std::uint32_t>(((last + 1) << access_shift_) - end);
        const Channel::Accepted accepted = channel.take(walk.where(), access, tick_);
        if (accepted == Channel::Accepted::no) break;
        if (accepted == Channel::Accepted::forwarded)
            decided_.push_back({first.tag, clock_.time(tick_ + 1), 0});
        ++sent.accepted;
    }
    if (sent.accepted > 0) {
        channel.taken(tick_);
        note(walk.channel());
    }
    sent.next = walk.unit() <= last ? std::max(first.address, walk.unit() << access_shift_) : end;
    return sent;
}

Picoseconds DramBackend::next_event() const {
    if (!decided_.empty()) return now_;
    Tick next = kNeverTick;
    for (const Tick wake : wake_) next = std::min(next, wake);
    return next == kNeverTick ? kNever : clock_.time(next);
}

void DramBackend::advance(Picoseconds until, std::vector<Completion>& completions) {
    check_time(now_, until);
    if (!decided_.empty()) {
        completions.insert(completions.end(), decided_.begin(), decided_.end());
        decided_.clear();
    }
    now_ = until;
    const Tick tick = clock_.tick_at(until);
    if (tick == tick_) return;
    tick_ = tick;
    for (std::size_t c = 0; c < channels_.size(); ++c) {
        if (next_[c] > tick) continue;
        channels_[c]->run(tick, completions);
        note(c);
    }
}

bool DramBackend::idle() const {
    if (!decided_.empty()) return false;
    for (const Tick wake : wake_) {
        if (wake != kNeverTick) return false;
    }
    return true;
}

Statistics DramBackend::counts() const {
    Statistics sum;
    for (const auto& channel : channels_) add(sum, channel->statistics(tick_));
    return sum;
}

Statistics DramBackend::statistics() const {
    Statistics result = counts();
    subtract(result, counted_before_);
    result.elapsed = now_ - counted_since_;
    return result;
}

void DramBackend::reset_statistics() {
    counted_before_ = counts();
    counted_since_ = now_;
}

double DramBackend::peak_bandwidth() const {
    return pseudo_channels_ * access_bytes_ / clock_.seconds(static_cast<double>(table_.burst));
}

void DramBackend::record_commands(std::vector<IssuedCommand>* to) {
    for (std::size_t c = 0; c < channels_.size(); ++c)
        channels_[c]->record_commands(to, static_cast<std::uint32_t>(c));
}

std::vector<std::uint8_t> DramBackend::save() const {
    Writer writer;
    writer.put(organization_);
    writer.put(table_);
    writer.put(now_);
    writer.put(tick_);
    writer.put(decided_);
    writer.put(counted_since_);
    writer.put(counted_before_);
    for (const auto& channel : channels_) channel->save(writer);
    return writer.take();
}

void DramBackend::restore(const std::vector<std::uint8_t>& state) {
    Reader reader(state);
    reader.expect(organization_);
    reader.expect(table_);
    reader.get(now_);
    reader.get(tick_);
    reader.get(decided_);
    reader.get(counted_since_);
    reader.get(counted_before_);
    for (std::size_t c = 0; c < channels_.size(); ++c) {
        channels_[c]->restore(reader);
        note(c);
    }
    reader.finish();
}

}  // namespace npuvp::memory::dram
