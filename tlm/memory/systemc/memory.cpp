#include "memory/systemc/memory.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "noc/payload.h"

namespace npuvp::memory {

namespace {
/// How often the energy of commands is charged while something listens.
constexpr Picoseconds kChargeEvery = 50'000;

Picoseconds now_ps() {
    return sc_core::sc_time_stamp().value();
}
sc_core::sc_time ps(Picoseconds t) {
    return sc_core::sc_time::from_value(t);
}
std::uint64_t tag_of(std::uint32_t burst, std::uint32_t channel) {
    return std::uint64_t{channel} << 32 | burst;
}
}  // namespace

Memory::Memory(sc_core::sc_module_name name, std::vector<std::unique_ptr<Backend>> backends,
               std::uint64_t interleave, trace::Hub& hub, const MemoryEnergy& energy)
    : sc_module(name),
      in("in"),
      interleave_(interleave),
      capacity_(0),
      hub_(hub),
      source_(hub.add_source(this->name(), "memory", energy.static_watts)),
      energy_(energy) {
    for (auto& backend : backends) {
        Part part;
        part.lookahead = backend->lookahead();
        part.refill = backend->refill();
        part.first_channel = static_cast<std::uint32_t>(channels_.size());
        part.channels = backend->channels();
        capacity_ += backend->capacity_bytes();
        for (std::uint32_t c = 0; c < part.channels; ++c) {
            part_of_channel_.push_back(static_cast<std::uint32_t>(parts_.size()));
            channels_.emplace_back();
            channels_.back().source = hub.add_source(
                std::string(this->name()) + ".ch" + std::to_string(channels_.size() - 1), "memory");
        }
        part.backend = std::move(backend);
        parts_.push_back(std::move(part));
    }
    const Backend& first = *parts_.front().backend;
    const double bus = first.peak_bandwidth() / first.channels();
    byte_ps_ = 1e12 / bus;
    if (!first.partial_bursts()) whole_burst_ = first.access_bytes();
    hub.before_advance([this] { catch_up(); });
    in.register_b_transport(this, &Memory::b_transport);
    in.register_nb_transport_fw(this, &Memory::nb_transport_fw);
    in.register_transport_dbg(this, &Memory::transport_dbg);
    SC_METHOD(wake);
    sensitive << wake_;
    dont_initialize();
}

double Memory::peak_bandwidth() const {
    double sum = 0;
    for (const Part& part : parts_) sum += part.backend->peak_bandwidth();
    return sum;
}

Statistics Memory::statistics() const {
    Statistics sum;
    for (const Part& part : parts_) {
        const Statistics own = part.backend->statistics();
        add(sum, own);
        sum.elapsed = std::max(sum.elapsed, own.elapsed);
    }
    return sum;
}

Memory::Socket& Memory::socket(int id) {
    while (sockets_.size() <= static_cast<std::size_t>(id)) sockets_.emplace_back();
    return sockets_[static_cast<std::size_t>(id)];
}

/// Moves the data of a transaction. False, with the response set, where it cannot be served.
bool Memory::access(tlm::tlm_generic_payload& payload) {
    const std::uint64_t bytes = payload.get_data_length();
    if (payload.get_address() > capacity_ || bytes > capacity_ - payload.get_address()) {
        payload.set_response_status(tlm::TLM_ADDRESS_ERROR_RESPONSE);
        return false;
    }
    if (payload.get_byte_enable_ptr()) {
        payload.set_response_status(tlm::TLM_BYTE_ENABLE_ERROR_RESPONSE);
        return false;
    }
    if (payload.get_streaming_width() < bytes) {
        payload.set_response_status(tlm::TLM_BURST_ERROR_RESPONSE);
        return false;
    }
    const bool move = !payload.get_extension<noc::TimingOnly>();
    if (auto* taint = payload.get_extension<noc::WordTaint>()) {
        for (std::uint64_t i = 0; i < bytes / 4; ++i) {
            const std::uint64_t word = payload.get_address() + 4 * i;
            if (payload.is_write())
                contents_.set_word_taint(word, (*taint->words)[taint->first + i]);
            else
                (*taint->words)[taint->first + i] = contents_.word_tainted(word);
        }
    }
    if (payload.is_read()) {
        if (move) contents_.read(payload.get_address(), payload.get_data_ptr(), bytes);
        bytes_read_ += bytes;
    } else if (payload.is_write()) {
        if (move) contents_.write(payload.get_address(), payload.get_data_ptr(), bytes);
        bytes_written_ += bytes;
    }
    payload.set_response_status(tlm::TLM_OK_RESPONSE);
    return true;
}

unsigned Memory::transport_dbg(int, tlm::tlm_generic_payload& payload) {
    if (payload.get_address() >= capacity_) return 0;
    const auto bytes = static_cast<unsigned>(
        std::min<std::uint64_t>(payload.get_data_length(), capacity_ - payload.get_address()));
    if (payload.is_read())
        contents_.read(payload.get_address(), payload.get_data_ptr(), bytes);
    else if (payload.is_write())
        contents_.write(payload.get_address(), payload.get_data_ptr(), bytes);
    return bytes;
}

std::uint32_t Memory::new_burst(tlm::tlm_generic_payload& payload, int id) {
    if (free_.empty()) {
        free_.push_back(static_cast<std::uint32_t>(bursts_.size()));
        bursts_.emplace_back();
    }
    const std::uint32_t index = free_.back();
    free_.pop_back();
    Burst& burst = bursts_[index];
    burst = {};
    burst.payload = &payload;
    burst.socket = id;
    burst.begin = burst.done = now_ps();
    return index;
}

void Memory::advance(Part& part, Picoseconds now) {
    part.backend->advance(now, completions_);
    part.now = now;
    part.fresh = false;
    if (recording_) report_commands(part);
    if (completions_.empty()) return;
    part.unread -= completions_.size();
    for (const Completion& completion : completions_) {
        const auto index = static_cast<std::uint32_t>(completion.tag);
        Burst& burst = bursts_[index];
        burst.done = std::max(burst.done, completion.time);
        if (--burst.unread == 0 && burst.unsent == 0) finished_.push_back(index);
    }
    if (traced_) {
        for (const Completion& completion : completions_) {
            if (completion.bytes == 0) continue;
            report_transfer(channels_[completion.tag >> 32], completion.time,
                            bus_time(completion.bytes), completion.bytes, false);
        }
    }
    completions_.clear();
}

/// Hands a transaction's accesses to the backends, a run for each channel; what a full queue
/// refuses waits at its channel.
void Memory::split(std::uint32_t index) {
    tlm::tlm_generic_payload& payload = *bursts_[index].payload;
    std::uint64_t address = payload.get_address();
    const std::uint64_t end = address + payload.get_data_length();
    while (address < end) {
        const std::uint64_t piece = address / interleave_;
        Part& part = parts_[piece % parts_.size()];
        const std::uint64_t stop = std::min(end, (piece + 1) * interleave_);
        std::uint64_t local = piece / parts_.size() * interleave_ + address % interleave_;
        const std::uint64_t local_end = local + (stop - address);
        if (part.now != now_ps()) advance(part, now_ps());
        const std::uint64_t unit = part.backend->access_bytes();
        ++splits_;
        for (std::uint32_t unmet = part.channels; local < local_end && unmet > 0;
             local = local / unit * unit + unit) {
            const std::uint32_t number = part.first_channel + part.backend->channel_of(local);
            Channel& channel = channels_[number];
            if (channel.split == splits_) continue;
            channel.split = splits_;
            --unmet;
            Run run{local, local_end, index, payload.is_write()};
            if (channel.waiting.empty() && offer(part, number, run)) continue;
            channel.waiting.push_back(run);
            ++part.unsent;
            ++bursts_[index].unsent;
        }
        address = stop;
    }
}

/// True if the channel has taken all of the run; else the run begins with what it refused.
bool Memory::offer(Part& part, std::uint32_t number, Run& run) {
    const Request first{run.address, 0, run.write, tag_of(run.burst, number)};
    if (!run.write) {
        const Sent sent = part.backend->send_run(first, run.end, ~0u);
        if (sent.accepted == 0) return false;
        part.fresh = true;
        bursts_[run.burst].unread += sent.accepted;
        part.unread += sent.accepted;
        run.address = sent.next;
        return run.address >= run.end;
    }
    part.fresh = true;
    if (!traced_) {
        run.address = part.backend->send_run(first, run.end, ~0u).next;
        return run.address >= run.end;
    }
    // One by one: every access is shown.
    const std::uint64_t unit = part.backend->access_bytes();
    while (run.address < run.end) {
        const std::uint64_t stop = std::min(run.end, run.address / unit * unit + unit);
        const auto bytes = static_cast<std::uint32_t>(stop - run.address);
        const Sent sent = part.backend->send_run({run.address, 0, true, first.tag}, run.end, 1);
        if (sent.accepted == 0) return false;
        const Picoseconds time = bus_time(bytes);
        report_transfer(channels_[number], now_ps() + time, time, bytes, true);
        run.address = sent.next;
    }
    return true;
}

/// Offers what waits at a channel again, in order.
void Memory::send(Part& part, std::uint32_t number) {
    Channel& channel = channels_[number];
    while (!channel.waiting.empty()) {
        Run& run = channel.waiting.front();
        if (!offer(part, number, run)) return;
        const std::uint32_t index = run.burst;
        channel.waiting.pop_front();
        --part.unsent;
        if (--bursts_[index].unsent == 0) finish_sending(index);
    }
}

/// All of the transaction is in the queues.
void Memory::finish_sending(std::uint32_t index) {
    Burst& burst = bursts_[index];
    if (burst.unread == 0) {
        burst.done = now_ps();
        finished_.push_back(index);
    }
    if (!burst.counted) return;
    burst.counted = false;
    Socket& from = socket(burst.socket);
    if (--from.waiting >= accepted_bursts || !from.unended) return;
    tlm::tlm_generic_payload& payload = *from.unended;
    from.unended = nullptr;
    tlm::tlm_phase phase = tlm::END_REQ;
    sc_core::sc_time delay = sc_core::SC_ZERO_TIME;
    in[burst.socket]->nb_transport_bw(payload, phase, delay);
}

tlm::tlm_sync_enum Memory::nb_transport_fw(int id, tlm::tlm_generic_payload& payload,
                                           tlm::tlm_phase& phase, sc_core::sc_time& delay) {
    if (phase == tlm::END_RESP) {
        Socket& from = socket(id);
        from.responding = nullptr;
        if (!from.responses.empty()) {
            tlm::tlm_generic_payload& next = *from.responses.front();
            from.responses.pop_front();
            respond(id, next);
            next.release();
        }
        return tlm::TLM_COMPLETED;
    }
    if (!access(payload)) return tlm::TLM_COMPLETED;
    look_for_sinks();
    payload.acquire();
    const std::uint32_t index = new_burst(payload, id);
    split(index);
    // Completions of a memory of fixed latency are known at once.
    for (Part& part : parts_)
        if (part.fresh && part.unread > 0) advance(part, now_ps());
    Burst& burst = bursts_[index];
    if (burst.unsent == 0 && payload.is_write()) finished_.push_back(index);
    // The answer may be known by now (a posted write, a memory of fixed latency): early completion.
    const auto known = std::find(finished_.begin(), finished_.end(), index);
    if (known != finished_.end()) {
        finished_.erase(known);
        report(burst);
        delay += ps(burst.done - now_ps());
        burst.payload = nullptr;
        free_.push_back(index);
        payload.release();
        schedule();
        return tlm::TLM_COMPLETED;
    }
    if (burst.unsent > 0) {
        burst.counted = true;
        Socket& from = socket(id);
        if (++from.waiting > accepted_bursts) {
            from.unended = &payload;
            schedule();
            return tlm::TLM_ACCEPTED;
        }
    }
    schedule();
    phase = tlm::END_REQ;
    return tlm::TLM_UPDATED;
}

void Memory::look_for_sinks() {
    traced_ = hub_.active();
    if (!traced_ || recording_) return;
    for (const Channel& channel : channels_)
        recording_ = recording_ || hub_.wants(channel.source, trace::Kind::command);
    if (!recording_) return;
    for (Part& part : parts_) part.backend->record_commands(&commands_);
}

/// Commands become known when the backends' time goes on, which is not before somebody asks.
void Memory::catch_up() {
    if (!recording_) return;
    for (Part& part : parts_)
        if (part.now < now_ps()) advance(part, now_ps());
    schedule();
}

void Memory::report_commands(const Part& part) {
    for (const IssuedCommand& command : commands_) {
        const std::uint16_t source = channels_[part.first_channel + command.channel].source;
        hub_.emit({command.time, command.time, static_cast<std::uint64_t>(command.command),
                   command.row, command.bank, source, trace::Kind::command});
    }
    commands_.clear();
}

void Memory::report(const Burst& burst) {
    if (auto* served = burst.payload->get_extension<noc::Served>())
        served->ps = burst.done - std::min(burst.done, burst.begin);
    const std::uint64_t bytes = burst.payload->get_data_length();
    const bool write = burst.payload->is_write();
    const std::uint64_t femtojoules =
        energy_.by_command ? 0 : bytes * (write ? energy_.write_byte_fj : energy_.read_byte_fj);
    if (!traced_) {
        hub_.spend(source_, femtojoules);
        return;
    }
    hub_.emit({burst.begin, burst.done, bytes, write ? 1u : 0u, 0, source_, trace::Kind::memory});
    if (!energy_.by_command) hub_.energy(source_, burst.begin, burst.done, femtojoules);
}

/// Data-bus time of an access.
Picoseconds Memory::bus_time(std::uint64_t bytes) const {
    return static_cast<Picoseconds>(
        std::llround(static_cast<double>(whole_burst_ ? whole_burst_ : bytes) * byte_ps_));
}

/// One access on a channel's data bus. What is posted has no time of its own: it is shown where it
/// was accepted, and no earlier than what was shown before it.
void Memory::report_transfer(Channel& channel, Picoseconds end, Picoseconds time,
                             std::uint64_t bytes, bool write) {
    if (!hub_.wants(channel.source, trace::Kind::memory)) return;
    const Picoseconds begin = std::max(end - std::min(end, time), channel.last_begin);
    channel.last_begin = begin;
    hub_.emit({begin, std::max(end, begin), bytes, write ? 1u : 0u, 0, channel.source,
               trace::Kind::memory});
}

void Memory::charge_commands(Picoseconds until) {
    if (!energy_.by_command) return;
    const Statistics now = statistics();
    Statistics part = now;
    subtract(part, charged_);
    charged_ = now;
    const std::uint64_t spent =
        part.activates * energy_.activate_fj + part.bytes_read * energy_.read_command_byte_fj +
        part.bytes_written * energy_.write_command_byte_fj +
        part.refreshes_all * energy_.refresh_fj + part.refreshes_bank * energy_.refresh_bank_fj;
    if (spent) hub_.energy(source_, charged_until_, std::max(until, charged_until_), spent);
    charged_until_ = std::max(until, charged_until_);
}

void Memory::finish(Picoseconds end) {
    for (Part& part : parts_) {
        if (part.backend->now() < end) part.backend->advance(end, completions_);
        // Writes that wait in queues cost what they cost.
        while (!part.backend->idle() && part.backend->next_event() != kNever)
            part.backend->advance(std::max(part.backend->next_event(), part.backend->now()),
                                  completions_);
        commands_.erase(std::remove_if(commands_.begin(), commands_.end(),
                                       [&](const IssuedCommand& c) { return c.time > end; }),
                        commands_.end());
        if (recording_) report_commands(part);
    }
    completions_.clear();
    charge_commands(end);
}

void Memory::respond(int id, tlm::tlm_generic_payload& payload) {
    Socket& to = socket(id);
    if (to.responding) {
        payload.acquire();
        to.responses.push_back(&payload);
        return;
    }
    tlm::tlm_phase phase = tlm::BEGIN_RESP;
    sc_core::sc_time delay = sc_core::SC_ZERO_TIME;
    to.responding = &payload;
    if (to.unended == &payload) to.unended = nullptr;  // a response ends the request
    if (in[id]->nb_transport_bw(payload, phase, delay) != tlm::TLM_ACCEPTED)
        to.responding = nullptr;
}

void Memory::wake() {
    const Picoseconds now = now_ps();
    look_for_sinks();
    for (Part& part : parts_) {
        if (part.unsent == 0 && part.unread == 0) continue;
        advance(part, now);
        if (part.unsent > 0) {
            for (std::uint32_t c = 0; c < part.channels; ++c) send(part, part.first_channel + c);
            if (part.fresh) advance(part, now);
        }
    }
    for (std::size_t i = 0; i < finished_.size();) {
        const std::uint32_t index = finished_[i];
        const Burst burst = bursts_[index];
        if (burst.done > now) {
            ++i;
            continue;
        }
        finished_[i] = finished_.back();
        finished_.pop_back();
        report(burst);
        bursts_[index].payload = nullptr;
        free_.push_back(index);
        respond(burst.socket, *burst.payload);
        burst.payload->release();
    }
    if (traced_ && now >= charged_until_ + kChargeEvery) charge_commands(now);
    schedule();
}

void Memory::schedule() {
    Picoseconds next = kNever;
    for (const std::uint32_t index : finished_) next = std::min(next, bursts_[index].done);
    const Picoseconds now = now_ps();
    Picoseconds hold = kNever;
    for (const Part& part : parts_) {
        if (recording_) hold = std::min(hold, part.now);
        if (part.unread == 0 && part.unsent == 0) continue;
        hold = std::min(hold, part.now);
        // Reads are reported ahead of their data; and queues that have some room can be left alone
        // for a moment, as long as they do not run empty.
        const Picoseconds rest =
            std::min(part.now, now) + (part.unsent > 0 ? part.refill : part.lookahead);
        if (rest >= next) continue;
        const Picoseconds event = part.backend->next_event();
        if (event != kNever) next = std::min(next, std::max(event, rest));
    }
    if (traced_) {
        for (const Burst& burst : bursts_)  // transactions are reported when they are done
            if (burst.payload) hold = std::min(hold, burst.begin);
        if (energy_.by_command) hold = std::min(hold, charged_until_);
        if (hold == kNever)
            hub_.release(source_);
        else
            hub_.hold(source_, hold);
    }
    if (next == kNever) return;
    wake_.notify(ps(next - std::min(next, now)));
}

void Memory::b_transport(int, tlm::tlm_generic_payload& payload, sc_core::sc_time& delay) {
    if (!access(payload)) return;
    // Loosely timed initiators see an unloaded memory: they run ahead of the kernel, so the state
    // of the queues at their local time is not known.
    const double bytes = payload.get_data_length();
    const double transfer = bytes / peak_bandwidth() * 1e12;
    const Picoseconds begin = now_ps() + delay.value();
    delay += ps(parts_.front().backend->lookahead() + static_cast<Picoseconds>(transfer + 0.5));
    const bool write = payload.is_write();
    hub_.energy(source_, begin, now_ps() + delay.value(),
                payload.get_data_length() *
                    (energy_.by_command
                         ? (write ? energy_.write_command_byte_fj : energy_.read_command_byte_fj)
                         : (write ? energy_.write_byte_fj : energy_.read_byte_fj)));
}

}  // namespace npuvp::memory
