#include "noc/mesh_timing.h"

#include <algorithm>
#include <stdexcept>

namespace npuvp::noc {

/// The worm asks for a link, and gets it at once where nothing stands against it.
void MeshTiming::request(ChannelId number, WormId id) {
    Channel& ch = channels_[number];
    const bool alone = ch.requests == 0;
    if (!alone && ch.arbitration != kNeverCycle) {
        add_request(ch, id);
        bound(id);
        return;
    }
    const Cycle time = grantable(number);
    // Other heads that come in this cycle have the same right to it.
    if (time == now_ && alone && ch.coming == 0) {
        grant(number, id);
        return;
    }
    add_request(ch, id);
    if (time != kNeverCycle) arbitrate_at(number, time);
    if (worms_[id].due == kNeverCycle) bound(id);
}

void MeshTiming::add_request(Channel& ch, WormId id) {
    worms_[id].waiting = true;
    worms_[id].next = kNone;
    if (ch.requests++ == 0)
        ch.first_request = id;
    else
        worms_[ch.last_request].next = id;
    ch.last_request = id;
}

void MeshTiming::accept(std::uint32_t endpoint) {
    ++slots_[endpoint];
    refresh(channel_of(out_links_[endpoint], Network::request));
}

std::size_t MeshTiming::queued(std::uint32_t endpoint, Network network) const {
    return channels_[channel_of(in_links_[endpoint], network)].requests;
}

/// How long the credits of the buffer behind a link are away beyond its slots.
Cycle MeshTiming::gap_of(const Worm& worm, std::uint32_t hop) const {
    // What comes behind the last buffer keeps the distances with which flits leave that one.
    const int buffers = worm.hops - 1;
    if (worm.copy) return buffers > 0 ? wire_gap_ : 0;
    return hop == 0 || buffers == 1 ? in_gap_ : wire_gap_;
}

/// When flit `flit` crosses the worm's link `hop`, which is granted; never if that is not known.
Cycle MeshTiming::crossing(const Worm& worm, std::uint32_t hop, std::uint32_t flit) const {
    if (wire_gap_ == 0) return let_through<false>(worm, hop, flit);
    Cycle latest = let_through<true>(worm, hop, flit);
    // Where credits come back too late, flits may also be held on their way here.
    Cycle way = 0;
    for (std::uint32_t from = hop; latest != kNeverCycle && from-- > 0;) {
        way += head_latency(worm, from);
        const Cycle left = let_through<true>(worm, from, flit);
        latest = left == kNeverCycle ? kNeverCycle : std::max(latest, left + way);
    }
    return latest;
}

/// The same, as far as the buffers from that link on decide it. `gaps`: credits may come back too
/// late.
template <bool gaps>
Cycle MeshTiming::let_through(const Worm& worm, std::uint32_t hop, std::uint32_t flit) const {
    const std::uint64_t depth = shape_.buffer_flits;
    Cycle latest = 0;
    Cycle back = 0;  // credits travel one link per cycle
    const Worm* w = &worm;
    while (true) {
        if (hop >= w->granted) return kNeverCycle;
        const Hop& at = hops_[w->way + hop];
        const Cycle gap = gaps ? gap_of(*w, hop) : 0;
        const Cycle rest = spread(w->flits - 1 - flit, gap);
        if (hop < w->closed) {
            // No flit crosses later than its distance to the tail allows.
            if (at.tail - std::min(at.tail, rest) + back <= latest) return latest;
            if (rest == 0) return at.tail + back;
        }
        // What delays the tail is taken to delay every flit.
        const Cycle begin = at.end - spread(w->flits - 1, gap);
        latest = std::max(latest, begin + spread(flit, gap) + back);
        if (hop + 1u == w->hops || at.order + flit < depth) return latest;
        if (gaps && gap > 0) {
            // Those of its first flits that waited for a slot delay every one behind them.
            for (std::uint32_t early = 0; early < depth && early <= flit; ++early) {
                const Left* left = at.order + early < depth
                                       ? nullptr
                                       : left_of(at.channel, at.order + early - depth);
                if (left)
                    latest = std::max(latest, left->time + 1 + spread(flit - early, gap) + back);
            }
        }
        const std::uint64_t slot = at.order + flit - depth;
        if (slot >= at.order) {
            flit = static_cast<std::uint32_t>(slot - at.order);
            ++hop;
        } else {
            if (const Left* left = left_of(at.channel, slot))
                return std::max(latest, left->time + back + 1);
            const HopId before = owner(channels_[at.channel], w->way + hop, slot);
            if (before == kNone) return latest;
            w = &worms_[hops_[before].worm];
            hop = hop_of(*w, before) + 1;
            flit = static_cast<std::uint32_t>(slot - hops_[before].order);
        }
        ++back;
    }
}

/// Whose flit of that number is in the buffer, from `from` towards the front; none if it is long
/// gone.
MeshTiming::HopId MeshTiming::owner(const Channel& ch, HopId from, std::uint64_t order) const {
    if (ch.front == kNone || hops_[ch.front].order > order) return kNone;
    while (hops_[from].order > order) from = hops_[from].before;
    return from;
}

/// When the flit of that number left the buffer of a channel; 0 if it is long gone.
inline Cycle MeshTiming::slot_left(ChannelId number, std::uint64_t order) const {
    if (const Left* left = left_of(number, order)) return left->time;
    const Channel& ch = channels_[number];
    const HopId at = owner(ch, ch.back, order);
    if (at == kNone) return 0;
    const Worm& worm = worms_[hops_[at].worm];
    const std::uint32_t hop = hop_of(worm, at) + 1;
    const auto flit = static_cast<std::uint32_t>(order - hops_[at].order);
    // Mostly it is enough that the tail has left, or will so soon that this one must have.
    if (wire_gap_ == 0 && hop < worm.closed) {
        const Cycle latest = hops_[at + 1].tail - (worm.flits - 1 - flit);
        if (latest < now_) return latest;
    }
    return crossing(worm, hop, flit);
}

/// The head has passed the router's pipeline and asks for its output.
void MeshTiming::head_ready(WormId id) {
    Worm& worm = worms_[id];
    const HopId behind = worm.way + worm.granted - 1;
    const ChannelId next = hops_[behind + 1].channel;
    --channels_[next].coming;
    // Worms leave a buffer in the order in which they came.
    const HopId before = hops_[behind].before;
    if (before != kNone) {
        const Worm& other = worms_[hops_[before].worm];
        if (other.closed <= hop_of(other, before) + 1) {
            worm.parked = true;
            return;
        }
        const Cycle left = hops_[before + 1].tail;
        if (left >= now_) {
            head_at(id, left + 1);
            return;
        }
        Channel& ch = channel_at(behind);
        if (ch.holder == kNone || !held_up(before)) {
            ch.front = behind;
            hops_[behind].before = kNone;
        }
    }
    request(next, id);
}

inline void MeshTiming::head_at(WormId id, Cycle time) {
    Worm& worm = worms_[id];
    ++channel_at(worm.way + worm.granted).coming;
    events_.push(2 * time, {1, id});
    expect(id, time);
}

void MeshTiming::arbitrate_at(ChannelId number, Cycle time) {
    Channel& ch = channels_[number];
    time = std::max(time, now_);
    if (ch.arbitration <= time) return;
    ch.arbitration = time;
    events_.push(2 * time + 1, {0, number});
    WormId id = ch.first_request;
    for (std::uint32_t i = ch.kind == Kind::in ? 1 : ch.requests; i > 0; --i) {
        expect(id, time);
        id = worms_[id].next;
    }
}

/// When the link can take a worm, as far as that is known; otherwise whatever will change it
/// schedules an arbitration.
inline Cycle MeshTiming::grantable(ChannelId number) const {
    const Channel& ch = channels_[number];
    if (ch.holder != kNone) return kNeverCycle;
    if (ch.free_at > now_) return ch.free_at;
    if (ch.kind == Kind::out) {
        if (number % kNetworks == static_cast<std::size_t>(Network::request) &&
            slots_[ch.endpoint] == 0)
            return kNeverCycle;
    } else if (ch.kind != Kind::replicate && ch.entered >= shape_.buffer_flits) {
        const Cycle left = slot_left(number, ch.entered - shape_.buffer_flits);
        if (left == kNeverCycle) return kNeverCycle;
        if (left >= now_ && left != 0) return left + 1;
    }
    return now_;
}

void MeshTiming::arbitrate(ChannelId number) {
    Channel& ch = channels_[number];
    if (ch.requests == 0) return;
    const Cycle time = grantable(number);
    if (time != now_) {
        if (time != kNeverCycle) arbitrate_at(number, time);
        return;
    }
    WormId chosen = ch.first_request, before = kNone;
    if (ch.requests > 1 && ch.kind != Kind::in) {
        const std::uint32_t ports = ports_[links_[number / kNetworks].from];
        const auto distance = [&](WormId id) {
            return (worms_[id].port + 2 * ports - ch.last_port - 1) % ports;
        };
        std::uint32_t least = distance(chosen);
        for (WormId last = chosen, id = worms_[last].next; id != kNone;
             last = id, id = worms_[id].next) {
            const std::uint32_t own = distance(id);
            if (own >= least) continue;
            least = own;
            chosen = id;
            before = last;
        }
    }
    (before == kNone ? ch.first_request : worms_[before].next) = worms_[chosen].next;
    if (ch.last_request == chosen) ch.last_request = before;
    --ch.requests;
    // Those behind it in its source's queue wait for the next one there now.
    if (ch.kind == Kind::in && ch.requests > 0)
        worms_[ch.first_request].behind =
            std::min(worms_[ch.first_request].behind, worms_[chosen].behind);
    grant(number, chosen);
}

void MeshTiming::grant(ChannelId number, WormId id) {
    Worm& worm = worms_[id];
    Channel& ch = channels_[number];
    const std::uint32_t link = number / kNetworks;
    ch.last_port = worm.port;
    worm.waiting = false;

    const std::uint32_t i = worm.granted++;
    const HopId at = worm.way + i;
    Hop& hop = hops_[at];
    const Cycle length = worm.flits;
    const Cycle alone = wire_gap_ == 0 ? length : spread(worm.flits - 1, gap_of(worm, i)) + 1;
    // What is left of a worm of the other virtual network takes turns with this one, as far as this
    // one's own gaps do not hold it.
    Cycle& wire_free = wire_free_[link];
    const Cycle share = std::min(length, wire_free - std::min(wire_free, now_));
    const Cycle upstream =
        i == 0 ? worm.upstream_end : hops_[at - 1].end + head_latency(worm, i - 1);
    hop.first = now_;
    hop.end = std::max(now_ - 1 + std::max(alone, length + share), upstream);
    wire_free = std::max(wire_free, now_) + length;
    hop.order = ch.entered;
    ch.entered += length;
    ch.holder = id;
    const bool last = worm.granted == worm.hops;
    if (!last) {
        hop.before = kNone;
        if (ch.front == kNone) {
            ch.front = at;
        } else {
            hop.before = ch.back;
            hops_[ch.back].after = at;
        }
        ch.back = at;
        worm.port = ch.port;
        head_at(id, now_ + head_latency(worm, i));
    }
    if (ch.kind != Kind::replicate) {
        const auto network = static_cast<std::size_t>(worm.network);
        LinkUse& use = uses_[link];
        use.packets[network] += 1;
        use.flits[network] += length;
        if (observer_) observer_->passed(link, worm.network, now_, hop.end + 1, worm.flits);
    }
    if (i == 0 && worm.notify) {
        --to_notify_;
        departures_.push_back({worm.tag, worm.from, worm.network, true, now_});
    }
    if (ch.kind == Kind::out && worm.network == Network::request) --slots_[ch.endpoint];
    if (length == 1 && ch.kind != Kind::replicate) {
        // A lone flit had its slot when it was granted: its tail is its head.
        hop.tail = hop.end;
        ++worm.closed;
        close(id, i, hop.end);
        if (last) arrivals_.push(crossing(worm, i, 0), id);
        return;
    }
    if (ch.kind == Kind::replicate) part(id);
    settle(id);
    // Flits begin to leave the buffers behind: others may have waited for their slots.
    const Worm& moved = worms_[id];
    if (moved.closed > 0 && moved.closed <= i) refresh(hops_[moved.way + moved.closed - 1].channel);
    if (last)
        arrivals_.push(wire_gap_ == 0 && moved.closed == moved.granted
                           ? hops_[at].tail
                           : crossing(moved, i, moved.flits - 1),
                       id);
}

/// Copies go on from the replication buffer, each on the way that its destinations share.
void MeshTiming::part(WormId id) {
    const std::vector<std::uint32_t> all = std::move(forks_[id]);
    forks_[id].clear();
    const HopId end = worms_[id].way + worms_[id].hops - 1;
    const std::uint32_t at = links_[hops_[end].channel / kNetworks].from;
    std::vector<std::pair<std::uint32_t, std::vector<std::uint32_t>>> groups;
    for (const std::uint32_t endpoint : all) {
        const std::uint32_t link = next_link(at, endpoint);
        auto group = std::find_if(groups.begin(), groups.end(),
                                  [&](const auto& g) { return g.first == link; });
        if (group == groups.end()) group = groups.insert(groups.end(), {link, {}});
        group->second.push_back(endpoint);
    }
    for (const auto& [link, to] : groups) {
        const WormId copy_id = make_worm(worms_[id].flits, worms_[id].network, worms_[id].tag);
        Worm& copy = worms_[copy_id];
        copy.copy = true;
        copy.from = worms_[id].from;
        copy.to = to.front();
        copy.upstream_end = hops_[end].end;
        copy.port = channels_[channel_of(replicators_[at], copy.network)].port;
        extend_route(copy_id, at, to);
        const ChannelId number = channel_of(link, copy.network);
        Channel& ch = channels_[number];
        add_request(ch, copy_id);
        if (ch.arbitration != kNeverCycle) expect(copy_id, ch.arbitration);
        arbitrate_at(number, now_);
    }
}

/// Closes every link of the worm whose tail time has become known.
inline void MeshTiming::settle(WormId id) {
    Worm& worm = worms_[id];
    while (worm.closed < worm.granted) {
        const std::uint32_t hop = worm.closed;
        // The tail needs the slots of flits further ahead than the head has come.
        if (worm.granted < worm.hops &&
            (worm.granted - 1 - hop) * shape_.buffer_flits + shape_.buffer_flits < worm.flits)
            return;
        // A lone flit had its slot when it was granted.
        const Cycle tail =
            worm.flits == 1 ? hops_[worm.way + hop].end : crossing(worm, hop, worm.flits - 1);
        if (tail == kNeverCycle) return;
        hops_[worm.way + hop].tail = tail;
        ++worm.closed;
        close(id, hop, tail);
    }
}

/// The tail crosses link `hop` of the worm at `tail`: the link is free afterwards.
inline void MeshTiming::close(WormId id, std::uint32_t hop, Cycle tail) {
    const Worm& worm = worms_[id];
    const HopId at = worm.way + hop;
    const ChannelId number = hops_[at].channel;
    Channel& ch = channels_[number];
    ch.holder = kNone;
    ch.free_at = tail + 1;
    if (ch.requests > 0) arbitrate_at(number, ch.free_at);
    if (hop == 0) return;
    if (wire_gap_ > 0) note_left(worm, hop);
    const HopId after = hops_[at - 1].after;
    if (after != kNone) {
        const WormId next = hops_[after].worm;
        if (worms_[next].parked && worms_[next].granted == hop_of(worms_[next], after) + 1) {
            worms_[next].parked = false;
            head_at(next, std::max(now_, tail + 1));
        }
    }
    refresh(hops_[at - 1].channel);
}

/// The worm that crosses the link last may have waited for the slots of this one, which has left
/// the buffer.
bool MeshTiming::held_up(HopId hop) const {
    const Hop& own = hops_[hop];
    const Hop& next = hops_[channels_[own.channel].back];
    // Flits of this one leave no later than their distance to its tail allows.
    const std::uint64_t last = own.order + worms_[own.worm].flits - 1;
    return hops_[hop + 1].tail + 1 + next.order > next.first + shape_.buffer_flits + last;
}

/// The tail of the worm's link `hop` is known: notes when its last flits leave the buffer before
/// it.
void MeshTiming::note_left(const Worm& worm, std::uint32_t hop) {
    const Hop& behind = hops_[worm.way + hop - 1];
    const std::uint64_t order = behind.order;
    const std::uint32_t depth = shape_.buffer_flits;
    std::vector<Left>& notes = left_[behind.channel];
    if (notes.empty()) {
        notes.assign(depth, {});
        channels_[behind.channel].notes = true;
    }
    std::vector<Left> last;  // the times are still found from what left before
    for (std::uint32_t flit = worm.flits - std::min(worm.flits, depth); flit < worm.flits; ++flit)
        last.push_back({order + flit + 1, crossing(worm, hop, flit)});
    for (const Left& left : last) notes[(left.number - 1) % depth] = left;
}

const MeshTiming::Left* MeshTiming::left_of(ChannelId number, std::uint64_t order) const {
    if (!channels_[number].notes) return nullptr;
    const Left& left = left_[number][order % shape_.buffer_flits];
    return left.number == order + 1 ? &left : nullptr;
}

/// Something about the buffer behind a channel has changed.
void MeshTiming::refresh(ChannelId number) {
    const Channel& ch = channels_[number];
    const WormId holder = ch.holder;
    if (holder == kNone) {
        if (ch.requests > 0) arbitrate_at(number, ch.free_at);
        return;
    }
    settle(holder);
    // Its tail may be stuck, and some of its flits leave the buffer behind all the same.
    const Worm& worm = worms_[holder];
    if (ch.holder == holder && worm.closed > 0) refresh(hops_[worm.way + worm.closed - 1].channel);
}

/// Cycles from its next grant to its arrival, at least.
inline Cycle MeshTiming::rest(const Worm& worm) const {
    return Cycle{worm.hops - worm.granted - 1u} * shape_.router_cycles + worm.flits - 1;
}

inline void MeshTiming::note_due(WormId id, Cycle time) {
    Worm& worm = worms_[id];
    if (worm.due <= time) return;
    worm.due = time;
    due_.push(time, {id, worm.generation});
}

/// The worm goes on at `progress` at the earliest: notes until when neither it can arrive, nor any
/// of those that wait for it. These may go on sooner than it does: when what stands before it does.
inline void MeshTiming::expect(WormId id, Cycle progress) {
    const Worm& worm = worms_[id];
    Cycle time = progress + rest(worm);
    if (worm.behind != kNobody) time = std::min(time, now_ + 1 + worm.behind);
    note_due(id, time);
}

/// Which worm has to go on before this one, which waits, and is given no time, can; none if that is
/// the endpoint.
MeshTiming::WormId MeshTiming::blocker(WormId id) const {
    const Worm& worm = worms_[id];
    if (worm.parked) return hops_[hops_[worm.way + worm.granted - 1].before].worm;
    const Channel& ch = channel_at(worm.way + worm.granted);
    if (ch.kind == Kind::in && ch.first_request != id) return ch.first_request;
    if (ch.holder != kNone) return ch.holder;
    if (ch.kind == Kind::out) return kNone;
    // Whose flit is in the slot that it waits for.
    return hops_[owner(ch, ch.back, ch.entered - shape_.buffer_flits)].worm;
}

/// Notes when the worm can arrive, or leaves that to whom it waits for.
void MeshTiming::bound(WormId id) {
    const Worm& worm = worms_[id];
    if (worm.waiting) {
        const Channel& ch = channel_at(worm.way + worm.granted);
        if (ch.arbitration != kNeverCycle && (ch.kind != Kind::in || ch.first_request == id)) {
            expect(id, ch.arbitration);
            return;
        }
    } else if (!worm.parked) {
        expect(id, now_ + 1);
        return;
    }
    const WormId other = blocker(id);
    if (other != kNone) burden(other, std::min<Cycle>(rest(worm), worm.behind));
}

/// Something that needs `rest` cycles to arrive waits for the worm to go on.
void MeshTiming::burden(WormId id, Cycle rest_behind) {
    const auto behind = static_cast<std::uint16_t>(std::min<Cycle>(rest_behind, kNobody - 1));
    while (id != kNone && behind < worms_[id].behind) {
        Worm& worm = worms_[id];
        worm.behind = behind;
        if (worm.due != kNeverCycle) {
            note_due(id, now_ + 1 + behind);
            return;
        }
        if (rest(worm) <= behind) return;  // it has done the same itself
        id = blocker(id);
    }
}

/// A bound that time has reached is moved on, or left to whom the worm waits for.
void MeshTiming::renew(const Due& due, Cycle time) {
    Worm& worm = worms_[due.worm];
    if (worm.generation != due.generation || worm.due != time) return;
    worm.due = kNeverCycle;
    if (worm.granted < worm.hops) bound(due.worm);
}

Cycle MeshTiming::next_event() const {
    if (!departures_.empty()) return now_;
    Cycle inside = events_.empty() ? kNeverCycle : events_.next() / 2;
    if (inside != kNeverCycle && to_notify_ == 0 && !due_.empty())
        inside = std::max(inside, due_.next());
    return std::min(arrivals_.next(), inside);
}

void MeshTiming::advance(Cycle until, std::vector<Delivery>& deliveries) {
    if (until < now_ || until == kNeverCycle)
        throw std::invalid_argument("mesh: time runs backwards, or to its end");
    while (!events_.empty() && events_.next() / 2 <= until) {
        now_ = events_.next() / 2;
        const Event event = events_.pop();
        if (event.head) {
            head_ready(event.index);
            continue;
        }
        Channel& ch = channels_[event.index];
        if (ch.arbitration != now_) continue;  // an earlier one took its place
        ch.arbitration = kNeverCycle;
        arbitrate(event.index);
    }
    now_ = until;
    deliveries.insert(deliveries.end(), departures_.begin(), departures_.end());
    departures_.clear();
    while (arrivals_.next() <= until) {
        const Cycle time = arrivals_.next();
        arrive(arrivals_.pop(), time, deliveries);
    }
    while (due_.next() <= until) {
        const Cycle time = due_.next();
        renew(due_.pop(), time);
    }
    events_.turn(2 * until);
    arrivals_.turn(until);
    due_.turn(until);
}

void MeshTiming::arrive(WormId id, Cycle time, std::vector<Delivery>& deliveries) {
    Worm& worm = worms_[id];
    const HopId end = worm.way + worm.hops - 1;
    if (channel_at(end).kind == Kind::out) {
        deliveries.push_back({worm.tag, worm.to, worm.network, false, time});
        --in_flight_;
    }
    // Its flits, and those before them, have left every buffer on the way.
    for (HopId at = worm.way; at < end; ++at) {
        const Hop& hop = hops_[at];
        Channel& ch = channels_[hop.channel];
        if (wire_gap_ == 0 && ch.holder != kNone && held_up(at))
            note_left(worm, hop_of(worm, at) + 1);
        HopId front = ch.front;
        if (front == kNone || hops_[front].order > hop.order) continue;
        while (front != kNone && hops_[front].order <= hop.order) front = hops_[front].after;
        ch.front = front;
        if (front != kNone) hops_[front].before = kNone;
    }
    ++worm.generation;
    idle_.push_back(id);
}

std::vector<Waiting> MeshTiming::waiting() const {
    std::vector<Waiting> result;
    for (ChannelId number = 0; number < channels_.size(); ++number) {
        const Channel& ch = channels_[number];
        for (WormId id = ch.requests > 0 ? ch.first_request : kNone; id != kNone;
             id = worms_[id].next) {
            const Worm& worm = worms_[id];
            Waiting packet{worm.tag, worm.from, worm.to, worm.network};
            packet.link = static_cast<std::uint32_t>(number / kNetworks);
            if (ch.holder != kNone) {
                packet.holder_from = worms_[ch.holder].from;
                packet.holder_to = worms_[ch.holder].to;
            } else if (ch.kind == Kind::out && slots_[ch.endpoint] == 0) {
                packet.blocked_by = ch.endpoint;
            }
            result.push_back(packet);
        }
    }
    return result;
}

}  // namespace npuvp::noc
