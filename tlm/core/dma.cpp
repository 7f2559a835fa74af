#include "core/dma.h"

#include <algorithm>
#include <cstdio>

#include "core/digest.h"

namespace npuvp::core {

namespace {
std::uint64_t now_ps() {
    return sc_core::sc_time_stamp().value();
}
sc_core::sc_time ps(std::uint64_t t) {
    return sc_core::sc_time::from_value(t);
}
bool overlap(std::uint64_t a, std::uint64_t a_count, std::uint64_t b, std::uint64_t b_count) {
    return a < b + b_count && b < a + a_count;
}
}  // namespace

Dma::Dma(sc_core::sc_module_name name, const DmaTiming& timing, trace::Hub& hub)
    : sc_module(name),
      out("out"),
      timing_(timing),
      hub_(hub),
      source_(hub.add_source(this->name(), "dma", timing.static_watts)) {
    out.register_nb_transport_bw(this, &Dma::nb_transport_bw);
    SC_METHOD(wake);
    sensitive << wake_;
    dont_initialize();
}

bool Dma::conflicts(Space space, std::uint64_t first, std::uint64_t count, bool write) const {
    for (const Active& active : pending_) {
        for (const Range& range : active.descriptor->ranges)
            if (range.space == space && (write || range.written) &&
                overlap(first, count, range.first, range.count))
                return true;
    }
    return false;
}

bool Dma::tags_pending(std::uint32_t mask) const {
    for (const Active& active : pending_)
        if ((mask >> active.descriptor->tag) & 1u) return true;
    return false;
}

bool Dma::pending(std::uint64_t id) const {
    for (const Active& active : pending_)
        if (active.descriptor->id == id) return true;
    return false;
}

std::string Dma::describe_pending(std::uint32_t tags) const {
    std::string text;
    for (const Active& active : pending_) {
        const Descriptor& d = *active.descriptor;
        if (!((tags >> d.tag) & 1u)) continue;
        if (!text.empty()) text += "; ";
        char where[96];
        std::snprintf(
            where, sizeof where, "tag %u: %s 0x%llx, pc 0x%04x, %u requests under way",
            unsigned{d.tag}, d.to_sram ? "load from" : "store to",
            static_cast<unsigned long long>(d.segments.empty() ? 0 : d.segments.front().address),
            d.pc, active.in_flight);
        text += where;
    }
    return text;
}

std::string describe_part(const Descriptor& d, std::uint64_t address) {
    std::string text = d.to_sram ? "reading " : "writing ";
    for (const Segment& segment : d.segments) {
        if (address < segment.address || address - segment.address >= segment.bytes) continue;
        std::uint64_t at = segment.staging + (address - segment.address);
        const bool scales = at >= d.rows * d.row_bytes;
        if (scales) at -= d.rows * d.row_bytes;
        const std::uint64_t row = at / (scales ? d.scale_bytes : d.row_bytes);
        if (scales) text += "the scales of ";
        text += "row " + std::to_string(row) + " of " + std::to_string(d.rows);
        if (!d.numbers.empty()) text += " (number " + std::to_string(d.numbers[row]) + ")";
        break;
    }
    return text;
}

std::vector<PendingTransfer> Dma::pending_transfers() const {
    std::vector<PendingTransfer> found;
    for (const Active& active : pending_) {
        const Descriptor& d = *active.descriptor;
        std::uint64_t bytes = 0;
        for (const Segment& segment : d.segments) bytes += segment.bytes;
        found.push_back({d.pc, d.tag, d.to_sram, d.segments.empty() ? 0 : d.segments[0].address,
                         bytes, active.in_flight, d.ranges});
    }
    return found;
}

void Dma::add_to(Digest& digest) const {
    for (const Active& active : pending_) {
        digest.add(active.descriptor->id);
        digest.add(active.segment);
        digest.add(active.offset);
        digest.add(active.in_flight);
        digest.add(active.done_ps);
        digest.all(active.descriptor->staging);
    }
    digest.add(in_flight_.size());
    digest.add(reads_);
    digest.add(writes_);
    digest.add(channel_free_ps_);
    digest.add(next_id_);
    digest.add(bytes_read_);
    digest.add(bytes_written_);
}

std::uint64_t Dma::push(std::unique_ptr<Descriptor> descriptor) {
    descriptor->id = next_id_++;
    Active active;
    active.done_ps = descriptor->start_ps;
    active.descriptor = std::move(descriptor);
    pending_.push_back(std::move(active));
    hold_trace();
    schedule();
    return pending_.back().descriptor->id;
}

void Dma::note_ended(const InFlight& burst) {
    constexpr std::size_t most = 1 << 16;  // of a core that never waits for its transfers
    if (ended_.size() == most) ended_.erase(ended_.begin(), ended_.begin() + most / 2);
    const std::uint64_t away = burst.response_ps - std::min(burst.response_ps, burst.begin_ps);
    const std::uint64_t memory = std::min(burst.memory_ps, away);
    ended_.push_back({burst.done_ps, {burst.done_ps - burst.response_ps, away - memory, memory}});
}

Dma::Spent Dma::take_spent(std::uint64_t since_ps) {
    Spent sum;
    for (const Ended& ended : ended_) {
        if (ended.end_ps <= since_ps) continue;
        sum.dma += ended.spent.dma;
        sum.noc += ended.spent.noc;
        sum.memory += ended.spent.memory;
    }
    ended_.clear();
    return sum;
}

void Dma::hold_trace() {
    std::uint64_t begin = ~0ull;
    for (const Active& active : pending_) begin = std::min(begin, active.descriptor->start_ps);
    if (pending_.empty())
        hub_.release(source_);
    else
        hub_.hold(source_, begin);
}

Dma::Active* Dma::find(std::uint64_t id) {
    for (Active& active : pending_)
        if (active.descriptor->id == id) return &active;
    return nullptr;
}

/// Requests as many bursts as the limits allow. True if all of the descriptor are requested.
bool Dma::issue_bursts(Active& active) {
    Descriptor& d = *active.descriptor;
    const bool write = !d.to_sram;
    const std::uint32_t limit =
        timing_.ports * (write ? timing_.outstanding_writes : timing_.outstanding_reads);
    std::uint32_t& outstanding = write ? writes_ : reads_;
    if (write && d.data && active.segment == 0 && active.offset == 0 && d.convert) d.convert(d);
    while (active.segment < d.segments.size()) {
        if (outstanding >= limit || requesting_) return false;
        const Segment& segment = d.segments[active.segment];
        const std::uint64_t address = segment.address + active.offset;
        const std::uint64_t boundary = address / timing_.burst_bytes * timing_.burst_bytes;
        const auto bytes = static_cast<std::uint32_t>(std::min<std::uint64_t>(
            segment.bytes - active.offset, boundary + timing_.burst_bytes - address));
        unsigned char* data = d.data ? d.staging.data() + segment.staging + active.offset : nullptr;
        tlm::tlm_generic_payload& payload = pool_.acquire(
            write ? tlm::TLM_WRITE_COMMAND : tlm::TLM_READ_COMMAND, address, data, bytes);
        auto* tracked = new Tracked;
        tracked->descriptor = d.id;
        tracked->begin_ps = now_ps();
        tracked->address = address;
        payload.set_auto_extension(tracked);
        if (!d.data) payload.set_extension(&timing_only_);
        if (hub_.active()) payload.set_auto_extension(new noc::Served);
        if (!d.taint.empty()) {
            auto* taint = new noc::WordTaint;
            taint->words = &d.taint;
            taint->first = (segment.staging + active.offset) / 4;
            payload.set_auto_extension(taint);
        }
        if (!d.copies.empty()) {
            auto* multicast = new noc::Multicast;
            for (const std::uint64_t distance : d.copies)
                multicast->others.push_back(address + distance);
            payload.set_auto_extension(multicast);
        }
        ++outstanding;
        ++active.in_flight;
        active.offset += bytes;
        if (active.offset == segment.bytes) {
            ++active.segment;
            active.offset = 0;
        }
        tlm::tlm_phase phase = tlm::BEGIN_REQ;
        sc_core::sc_time delay = sc_core::SC_ZERO_TIME;
        const tlm::tlm_sync_enum answer = out->nb_transport_fw(payload, phase, delay);
        if (answer == tlm::TLM_COMPLETED) {
            answered(payload, now_ps() + delay.value());
        } else if (answer == tlm::TLM_ACCEPTED) {
            requesting_ = &payload;
        } else if (phase == tlm::BEGIN_RESP) {
            const std::uint64_t response = now_ps() + delay.value();
            payload.acquire();
            answered(payload, response);
            phase = tlm::END_RESP;
            out->nb_transport_fw(payload, phase, delay);
            payload.release();
        }
    }
    return true;
}

void Dma::answered(tlm::tlm_generic_payload& payload, std::uint64_t response_ps) {
    const Tracked& tracked = *payload.get_extension<Tracked>();
    const auto* served = payload.get_extension<noc::Served>();
    const std::uint64_t bytes = payload.get_data_length();
    const std::uint64_t per_cycle = static_cast<std::uint64_t>(timing_.ports) * timing_.port_bytes;
    const std::uint64_t transfer = bytes * timing_.period_ps / per_cycle;
    // The ports stream while the memory does: they end a burst no earlier than the memory's answer
    // and no earlier than their own width allows.
    channel_free_ps_ =
        std::max(response_ps, std::max(channel_free_ps_, tracked.begin_ps) + transfer);
    in_flight_.push({channel_free_ps_, tracked.descriptor, tracked.begin_ps, tracked.address,
                     static_cast<std::uint32_t>(bytes), payload.is_write(),
                     payload.get_response_status(), response_ps, served ? served->ps : 0});
    payload.clear_extension(&timing_only_);
    payload.release();
}

tlm::tlm_sync_enum Dma::nb_transport_bw(tlm::tlm_generic_payload& payload, tlm::tlm_phase& phase,
                                        sc_core::sc_time& delay) {
    if (requesting_ == &payload) {  // END_REQ, or a response that implies it
        requesting_ = nullptr;
        wake_.notify(delay);
    }
    if (phase != tlm::BEGIN_RESP) return tlm::TLM_ACCEPTED;
    answered(payload, now_ps() + delay.value());
    schedule();
    return tlm::TLM_COMPLETED;
}

void Dma::wake() {
    const std::uint64_t now = now_ps();
    while (!in_flight_.empty() && in_flight_.top().done_ps <= now) {
        const InFlight burst = in_flight_.top();
        in_flight_.pop();
        Active& active = *find(burst.descriptor);
        --active.in_flight;
        active.done_ps = std::max(active.done_ps, burst.done_ps);
        (burst.write ? writes_ : reads_) -= 1;
        (burst.write ? bytes_written_ : bytes_read_) += burst.bytes;
        if (burst.status != tlm::TLM_OK_RESPONSE) {
            on_error(*active.descriptor, burst.address, burst.bytes);
            return;
        }
        const auto id = static_cast<std::uint32_t>(burst.descriptor);
        const std::uint64_t femtojoules = burst.bytes * timing_.fj_per_byte;
        if (!hub_.active()) {
            hub_.spend(source_, femtojoules);
        } else {
            hub_.energy(source_, burst.begin_ps, burst.done_ps, femtojoules, id);
            hub_.emit({burst.begin_ps, burst.done_ps, burst.bytes,
                       2 * burst.address + (burst.write ? 1u : 0u), id, source_,
                       trace::Kind::burst});
            note_ended(burst);
        }
    }
    for (Active& active : pending_) {
        Descriptor& d = *active.descriptor;
        if (d.start_ps + timing_.start_cycles * timing_.period_ps > now) break;
        if (!issue_bursts(active)) break;
        if (d.writes.empty()) continue;
        if (active.in_flight > 0) break;  // the next descriptor does not overtake
        d.segments = std::move(d.writes);
        d.writes.clear();
        d.to_sram = false;
        active.segment = 0;
        if (!issue_bursts(active)) break;
    }
    for (std::size_t i = 0; i < pending_.size();) {
        Active& active = pending_[i];
        const Descriptor& d = *active.descriptor;
        const std::uint64_t begin = d.start_ps + timing_.start_cycles * timing_.period_ps;
        if (begin > now || active.segment < d.segments.size() || active.in_flight > 0 ||
            !d.writes.empty()) {
            ++i;
            continue;
        }
        std::unique_ptr<Descriptor> done = std::move(active.descriptor);
        pending_.erase(pending_.begin() + static_cast<std::ptrdiff_t>(i));
        if (done->to_sram && done->data && done->convert) done->convert(*done);
        if (hub_.wants(source_, trace::Kind::dma)) {
            std::uint64_t bytes = 0;
            for (const Segment& segment : done->segments) bytes += segment.bytes;
            hub_.emit({done->start_ps, now, bytes, done->to_sram ? 0u : 1u, done->tag, source_,
                       trace::Kind::dma});
        }
        hold_trace();
        on_done(*done);
    }
    schedule();
}

void Dma::schedule() {
    std::uint64_t next = ~0ull;
    if (!in_flight_.empty()) next = in_flight_.top().done_ps;
    for (const Active& active : pending_) {
        const Descriptor& d = *active.descriptor;
        const bool started = active.segment > 0 || active.offset > 0;
        // Waits for an answer, and those behind it wait with it.
        if (started && (active.segment < d.segments.size() || !d.writes.empty())) break;
        if (!started) {
            const bool may_start =
                d.segments.empty() ||
                (!requesting_ &&  // END_REQ wakes
                 (d.to_sram ? reads_ < timing_.ports * timing_.outstanding_reads
                            : writes_ < timing_.ports * timing_.outstanding_writes));
            const std::uint64_t begin = d.start_ps + timing_.start_cycles * timing_.period_ps;
            if (may_start) next = std::min(next, std::max(begin, now_ps()));
            break;  // they start in order
        }
    }
    if (next != ~0ull) wake_.notify(ps(next - std::min(next, now_ps())));
}

}  // namespace npuvp::core
