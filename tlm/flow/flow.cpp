#include "flow/flow.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>
#include <utility>

namespace npuvp::flow {
namespace {

/// An event of the memory is seen at the next edge of the mesh's clock.
noc::Cycle edge(Time time) {
    constexpr Time kRounding = 1e-6;
    return static_cast<noc::Cycle>(std::ceil(time - kRounding));
}

std::vector<noc::Node> endpoints(const Machine& machine) {
    std::vector<noc::Node> all = machine.cores;
    all.insert(all.end(), machine.nodes.begin(), machine.nodes.end());
    return all;
}

std::uint32_t flits(std::uint32_t bytes, std::uint32_t flit_bytes) {
    return 1 + (bytes + flit_bytes - 1) / flit_bytes;
}

}  // namespace

Flow::Flow(const Machine& machine, std::vector<std::vector<Stretch>> stretches,
           const std::vector<noc::Cycle>& begins)
    : machine_(machine),
      stretches_(std::move(stretches)),
      mesh_(machine.shape, endpoints(machine)),
      cores_(machine.cores.size()),
      nodes_(machine.nodes.size()),
      ends_(machine.cores.size()) {
    if (stretches_.size() != cores_.size() || begins.size() != cores_.size())
        throw std::invalid_argument("flow: " + std::to_string(cores_.size()) + " cores, but " +
                                    std::to_string(stretches_.size()) + " lists of stretches and " +
                                    std::to_string(begins.size()) + " times");
    if (nodes_.empty() || machine_.channels == 0 || machine_.access_bytes == 0 ||
        machine_.interleave == 0 || machine_.burst_bytes == 0 || machine_.flit_bytes == 0 ||
        machine_.reads == 0 || machine_.writes == 0 || !(machine_.port_bytes > 0))
        throw std::invalid_argument("flow: a figure of the machine is 0, allowed: 1 or more");
    std::uint32_t banks = 1;
    for (const Slice& slice : machine_.slices)
        if (slice.part == Part::bank) banks *= slice.size;
    for (Node& node : nodes_) node.banks.resize(banks);
    for (std::uint32_t core = 0; core < cores_.size(); ++core) {
        ends_[core].assign(stretches_[core].size(), 0);
        for (std::size_t i = 0; i < stretches_[core].size(); ++i)
            if (stretches_[core][i].bytes == 0)
                throw std::invalid_argument("flow: stretch " + std::to_string(i) + " of core " +
                                            std::to_string(core) + " has no bytes");
        push(static_cast<Time>(begins[core]), What::begin, core);
    }
}

/// Bank and row count for those that the burst does not go through itself.
void Flow::place(Burst& burst, std::uint64_t address) const {
    const std::uint64_t piece = address / machine_.interleave;
    burst.node = static_cast<std::uint32_t>(piece % nodes_.size());
    const std::uint64_t local =
        piece / nodes_.size() * machine_.interleave + address % machine_.interleave;
    const std::uint64_t per_turn = std::uint64_t{machine_.access_bytes} * machine_.channels;
    burst.accesses = static_cast<std::uint32_t>((burst.bytes + per_turn - 1) / per_turn);
    std::uint64_t index = local / machine_.access_bytes;
    std::uint64_t below = machine_.access_bytes;
    burst.bank = 0;
    burst.row = 0;
    for (const Slice& slice : machine_.slices) {
        const std::uint64_t value = index % slice.size;
        index /= slice.size;
        if (slice.part == Part::bank) {
            burst.bank *= slice.size;
            if (below >= machine_.burst_bytes) burst.bank += static_cast<std::uint32_t>(value);
        } else if (slice.part == Part::row) {
            burst.row = burst.row * slice.size + value;
        }
        below *= slice.size;
    }
}

void Flow::issue(std::uint32_t number, Time now) {
    Core& core = cores_[number];
    while (core.stretch < stretches_[number].size()) {
        const Stretch& stretch = stretches_[number][core.stretch];
        std::uint32_t& under_way = stretch.write ? core.writes : core.reads;
        if (under_way >= (stretch.write ? machine_.writes : machine_.reads)) return;
        const std::uint64_t address = stretch.address + core.offset;
        const std::uint64_t boundary =
            (address / machine_.burst_bytes + 1) * machine_.burst_bytes - address;
        const std::uint64_t bytes = std::min(stretch.bytes - core.offset, boundary);
        std::uint32_t index;
        if (idle_.empty()) {
            index = static_cast<std::uint32_t>(bursts_.size());
            bursts_.emplace_back();
        } else {
            index = idle_.back();
            idle_.pop_back();
        }
        Burst& burst = bursts_[index];
        burst = {};
        burst.core = number;
        burst.stretch = static_cast<std::uint32_t>(core.stretch);
        burst.bytes = static_cast<std::uint32_t>(bytes);
        burst.write = stretch.write;
        burst.asked = now;
        place(burst, address);
        ++under_way;
        core.offset += bytes;
        if (core.offset >= stretch.bytes) {
            ++core.stretch;
            core.offset = 0;
        }
        const auto to = static_cast<std::uint32_t>(cores_.size()) + burst.node;
        mesh_.inject(number, to, noc::Network::request,
                     flits(burst.write ? burst.bytes : 0, machine_.flit_bytes), index);
    }
}

void Flow::arrive(std::uint32_t number, std::uint32_t burst, Time now) {
    Node& node = nodes_[number];
    node.held.push_back(burst);
    if (!node.full && node.held.size() == 1) take_next(number, now);
}

/// The endpoint hands over what it holds, one after the other, until the node is full.
void Flow::take_next(std::uint32_t number, Time now) {
    Node& node = nodes_[number];
    while (!node.held.empty() && !node.full) {
        const std::uint32_t burst = node.held.front();
        node.held.pop_front();
        node.waiting.push_back(burst);
        fill(number, now);
        node.full = node.waiting.size() > memory::accepted_bursts;
        mesh_.accept(static_cast<std::uint32_t>(cores_.size()) + number);
    }
    serve(number, now);
}

void Flow::fill(std::uint32_t number, Time now) {
    Node& node = nodes_[number];
    while (!node.waiting.empty()) {
        Burst& burst = bursts_[node.waiting.front()];
        if (!node.queue.empty() && node.accesses + burst.accesses > machine_.depth) return;
        burst.queued = now;
        node.accesses += burst.accesses;
        node.queue.push_back(node.waiting.front());
        node.waiting.pop_front();
        // A write is answered when it is in the queue.
        if (burst.write) push(now, What::answer, node.queue.back());
    }
}

/// First data command of a burst in the queue, and whether it opens a row for it; kLongAgo: an
/// older one has the bank.
Time Flow::ready(const Node& node, std::size_t place, bool& opens) const {
    const Burst& burst = bursts_[node.queue[place]];
    opens = false;
    if (!machine_.banked) return burst.queued;
    const Bank& bank = node.banks[burst.bank];
    if (bank.open && bank.row == burst.row) return burst.queued;
    for (std::size_t older = 0; older < place; ++older)
        if (bursts_[node.queue[older]].bank == burst.bank) return kLongAgo;
    opens = true;
    const BankTimes& times = machine_.banks;
    Time at = std::max(burst.queued, bank.last_read + times.read_to_close);
    if (bank.open) at += times.precharge;
    return std::max(at, bank.activated + times.row_cycle) + times.activate;
}

/// A refresh that fell due since the node was last at work closes all rows.
Time Flow::after_refresh(Node& node, Time start) const {
    const BankTimes& times = machine_.banks;
    if (!machine_.banked || times.refresh_every <= 0) return start;
    const Time due = std::floor(start / times.refresh_every) * times.refresh_every;
    if (due <= node.refreshed) return start;
    node.refreshed = due;
    for (Bank& bank : node.banks) bank = {};
    const Time done = std::max(due, node.free) + times.precharge + times.refresh;
    return std::max(start, done + times.activate);
}

void Flow::serve(std::uint32_t number, Time now) {
    Node& node = nodes_[number];
    if (node.busy) return;
    fill(number, now);
    if (node.queue.empty()) return;
    std::size_t best = node.queue.size();
    Time start = 0;
    bool opens = false;
    for (std::size_t place = 0; place < node.queue.size(); ++place) {
        bool own = false;
        const Time at = ready(node, place, own);
        if (at == kLongAgo) continue;
        if (best == node.queue.size() || std::max(at, now) < start) {
            best = place;
            start = std::max(at, now);
            opens = own;
        }
    }
    const std::uint32_t index = node.queue[best];
    const Burst& burst = bursts_[index];
    node.queue.erase(node.queue.begin() + static_cast<std::ptrdiff_t>(best));
    const Time begin = after_refresh(node, start);
    const Time access = machine_.banked ? machine_.banks.access : machine_.access;
    const Time end = begin + burst.accesses * access;
    if (machine_.banked) {
        const BankTimes& times = machine_.banks;
        Bank& bank = node.banks[burst.bank];
        if (opens || begin > start) bank.activated = begin - times.activate;
        bank.open = true;
        bank.row = burst.row;
        // The banks of a burst take turns: the first one is done before the others.
        const auto others = burst.accesses - std::min(burst.accesses, times.groups);
        bank.last_read = begin + others * access;
    }
    node.free = end;
    node.busy = true;
    push(begin, What::begun, number);
    node.accesses -= burst.accesses;
    push(end, What::served, number);
    bursts_[index].served = true;
    if (burst.write) {
        forget(index);
        return;
    }
    push(end + (machine_.banked ? machine_.banks.data : machine_.latency), What::answer, index);
}

void Flow::answered(const noc::Delivery& delivery, Time now) {
    const auto index = static_cast<std::uint32_t>(delivery.tag);
    Burst& burst = bursts_[index];
    Core& core = cores_[burst.core];
    // The ports stream while the memory does.
    core.port = std::max(now, std::max(core.port, burst.asked) + burst.bytes / machine_.port_bytes);
    push(core.port, What::ended, index);
}

void Flow::perform(const Event& event, Time now) {
    switch (event.what) {
        case What::begin:
            issue(event.index, now);
            return;
        case What::begun:
        case What::served: {
            Node& node = nodes_[event.index];
            if (event.what == What::served) node.busy = false;
            fill(event.index, event.time);
            if (node.full && node.waiting.size() <= memory::accepted_bursts) {
                node.full = false;
                take_next(event.index, event.time);
            }
            serve(event.index, event.time);
            return;
        }
        case What::answer: {
            const Burst& burst = bursts_[event.index];
            mesh_.inject(static_cast<std::uint32_t>(cores_.size()) + burst.node, burst.core,
                         noc::Network::response,
                         flits(burst.write ? 0 : burst.bytes, machine_.flit_bytes), event.index);
            return;
        }
        case What::ended: {
            Burst& burst = bursts_[event.index];
            Core& core = cores_[burst.core];
            --(burst.write ? core.writes : core.reads);
            Time& end = ends_[burst.core][burst.stretch];
            end = std::max(end, event.time);
            const std::uint32_t number = burst.core;
            burst.ended = true;
            forget(event.index);
            issue(number, now);
            return;
        }
    }
}

std::vector<std::vector<Time>> Flow::run() {
    std::vector<noc::Delivery> deliveries;
    while (true) {
        noc::Cycle now = mesh_.next_event();
        if (!events_.empty()) now = std::min(now, edge(events_.top().time));
        if (now == noc::kNeverCycle) return ends_;
        deliveries.clear();
        mesh_.advance(now, deliveries);
        const auto time = static_cast<Time>(now);
        for (const noc::Delivery& delivery : deliveries) {
            if (delivery.network == noc::Network::response)
                answered(delivery, time);
            else
                arrive(bursts_[delivery.tag].node, static_cast<std::uint32_t>(delivery.tag), time);
        }
        while (!events_.empty() && edge(events_.top().time) <= now) {
            const Event event = events_.top();
            events_.pop();
            perform(event, time);
        }
    }
}

}  // namespace npuvp::flow
