#include "noc/mesh_timing.h"

#include <algorithm>
#include <stdexcept>

namespace npuvp::noc {

namespace {
constexpr std::array<const char*, 4> kDirections = {"east", "west", "north", "south"};
constexpr std::uint32_t kNoLink = ~0u;

std::string text(Node node) {
    return "(" + std::to_string(node.x) + ", " + std::to_string(node.y) + ")";
}
}  // namespace

MeshTiming::MeshTiming(const MeshShape& shape, std::vector<Node> endpoints)
    : shape_(shape), endpoints_(std::move(endpoints)) {
    const auto demand = [](std::uint32_t value, const char* name) {
        if (value == 0)
            throw std::invalid_argument(std::string("mesh: ") + name + " is 0, allowed: 1 or more");
    };
    demand(shape.columns, "columns");
    demand(shape.rows, "rows");
    demand(shape.router_cycles, "router_cycles");
    demand(shape.buffer_flits, "buffer_flits");
    demand(shape.request_slots, "request_slots");
    // A slot is free again when its flit has crossed the next link and the credit is back.
    const Cycle loop = Cycle{shape.router_cycles} + 1;
    in_gap_ = loop - std::min<Cycle>(loop, shape.buffer_flits);
    wire_gap_ = loop + shape.link_cycles;
    wire_gap_ -= std::min<Cycle>(wire_gap_, shape.buffer_flits);

    const std::uint32_t routers = shape.columns * shape.rows;
    wires_.assign(routers, {kNoLink, kNoLink, kNoLink, kNoLink});
    ports_.assign(routers, 0);
    const auto add = [&](Kind kind, std::uint32_t from, std::uint32_t to, std::uint32_t detail) {
        Link link;
        link.kind = kind;
        link.from = from;
        link.to = to;
        link.detail = detail;
        link.port = ports_[to]++;
        links_.push_back(std::move(link));
        return static_cast<std::uint32_t>(links_.size() - 1);
    };
    for (std::uint32_t y = 0; y < shape.rows; ++y)
        for (std::uint32_t x = 0; x < shape.columns; ++x) {
            const std::uint32_t at = router({x, y});
            if (x + 1 < shape.columns) wires_[at][east] = add(Kind::wire, at, at + 1, east);
            if (x > 0) wires_[at][west] = add(Kind::wire, at, at - 1, west);
            if (y > 0) wires_[at][north] = add(Kind::wire, at, at - shape.columns, north);
            if (y + 1 < shape.rows)
                wires_[at][south] = add(Kind::wire, at, at + shape.columns, south);
        }
    for (std::uint32_t e = 0; e < endpoints_.size(); ++e) {
        const Node node = endpoints_[e];
        if (node.x >= shape.columns || node.y >= shape.rows)
            throw std::invalid_argument("mesh: endpoint " + std::to_string(e) + " at " +
                                        text(node) + " lies outside the mesh of " +
                                        std::to_string(shape.columns) + " x " +
                                        std::to_string(shape.rows));
        in_links_.push_back(add(Kind::in, router(node), router(node), e));
        out_links_.push_back(add(Kind::out, router(node), router(node), e));
        slots_.push_back(shape.request_slots);
    }
    visible_links_ = static_cast<std::uint32_t>(links_.size());
    for (std::uint32_t at = 0; at < routers; ++at)
        replicators_.push_back(add(Kind::replicate, at, at, at));
}

std::string MeshTiming::link_name(std::uint32_t index) const {
    const Link& link = links_[index];
    const std::string at = "r" + std::to_string(link.from / shape_.columns) + "c" +
                           std::to_string(link.from % shape_.columns) + ".";
    switch (link.kind) {
        case Kind::wire:
            return at + kDirections[link.detail];
        case Kind::in:
            return at + "in" + std::to_string(link.detail);
        case Kind::out:
            return at + "out" + std::to_string(link.detail);
        case Kind::replicate:
            break;
    }
    return at + "replicate";
}

std::uint32_t MeshTiming::hops(std::uint32_t from, std::uint32_t to) const {
    const Node a = endpoints_[from];
    const Node b = endpoints_[to];
    return (a.x > b.x ? a.x - b.x : b.x - a.x) + (a.y > b.y ? a.y - b.y : b.y - a.y);
}

Cycle MeshTiming::zero_load_latency(std::uint32_t from, std::uint32_t to,
                                    std::uint32_t flits) const {
    const Cycle h = hops(from, to);
    return (h + 1) * shape_.router_cycles + h * shape_.link_cycles +
           spread(flits - 1, h > 0 ? wire_gap_ : in_gap_);
}

/// XY: along the row first, then along the column, then out.
std::uint32_t MeshTiming::next_link(std::uint32_t at, std::uint32_t endpoint) const {
    const Node to = endpoints_[endpoint];
    const std::uint32_t x = at % shape_.columns;
    const std::uint32_t y = at / shape_.columns;
    if (x != to.x) return wires_[at][to.x > x ? east : west];
    if (y != to.y) return wires_[at][to.y > y ? south : north];
    return out_links_[endpoint];
}

/// From router `at`, as long as all destinations share the way.
void MeshTiming::extend_route(Worm& worm, std::uint32_t at, const std::vector<std::uint32_t>& to) {
    while (true) {
        const std::uint32_t link = next_link(at, to.front());
        for (std::size_t i = 1; i < to.size(); ++i)
            if (next_link(at, to[i]) != link) {
                worm.fork = to;
                worm.route.push_back({replicators_[at], 0, 0, 0, 0});
                return;
            }
        worm.route.push_back({link, 0, 0, 0, 0});
        if (links_[link].kind == Kind::out) return;
        at = links_[link].to;
    }
}

MeshTiming::WormId MeshTiming::make_worm(std::uint32_t flits, Network network, std::uint64_t tag) {
    if (idle_.empty()) {
        worms_.emplace_back();
        idle_.push_back(static_cast<WormId>(worms_.size() - 1));
    }
    const WormId id = idle_.back();
    idle_.pop_back();
    Worm& worm = worms_[id];
    ++worm.generation;
    worm.flits = flits;
    worm.network = network;
    worm.tag = tag;
    worm.notify = false;
    worm.copy = false;
    worm.waiting = false;
    worm.parked = false;
    worm.due = false;
    worm.granted = 0;
    worm.closed = 0;
    worm.upstream_end = 0;
    worm.route.clear();
    worm.fork.clear();
    return id;
}

void MeshTiming::inject(std::uint32_t from, std::uint32_t to, Network network, std::uint32_t flits,
                        std::uint64_t tag, bool notify) {
    const WormId id = begin(from, network, flits, tag, notify);
    Worm& worm = worms_[id];
    worm.to = to;
    std::uint32_t at = router(endpoints_[from]);
    while (true) {
        const std::uint32_t link = next_link(at, to);
        worm.route.push_back({link, 0, 0, 0, 0});
        if (links_[link].kind == Kind::out) break;
        at = links_[link].to;
    }
    ++in_flight_;
    request(in_links_[from], id, 0);
}

/// A packet at its source, on the link into its router.
MeshTiming::WormId MeshTiming::begin(std::uint32_t from, Network network, std::uint32_t flits,
                                     std::uint64_t tag, bool notify) {
    if (flits == 0) throw std::invalid_argument("mesh: a packet of 0 flits");
    const WormId id = make_worm(flits, network, tag);
    Worm& worm = worms_[id];
    worm.from = from;
    worm.notify = notify;
    if (notify) ++to_notify_;
    worm.route.push_back({in_links_[from], 0, 0, 0, 0});
    return id;
}

void MeshTiming::multicast(std::uint32_t from, const std::vector<std::uint32_t>& to,
                           Network network, std::uint32_t flits, std::uint64_t tag, bool notify) {
    if (to.empty()) throw std::invalid_argument("mesh: a packet without a destination");
    const WormId id = begin(from, network, flits, tag, notify);
    Worm& worm = worms_[id];
    worm.to = to.front();
    extend_route(worm, router(endpoints_[from]), to);
    in_flight_ += to.size();
    request(in_links_[from], id, 0);
}

/// The worm asks for a link, and gets it at once where nothing stands against it.
void MeshTiming::request(std::uint32_t link, WormId id, std::uint32_t port) {
    const Network network = worms_[id].network;
    Channel& ch = links_[link].channel[static_cast<std::size_t>(network)];
    const bool alone = ch.requests.empty();
    worms_[id].waiting = true;
    ch.requests.push_back({id, port});
    if (!alone && ch.arbitration != kNeverCycle) {
        if (links_[link].kind != Kind::in) expect(id, ch.arbitration);
    } else if (may_grant(link, network)) {
        // Other heads that come in this cycle have the same right to it.
        if (alone && ch.coming == 0) {
            ch.requests.pop_back();
            grant(link, id, port);
        } else {
            arbitrate_at(link, network, now_);
        }
    }
}

void MeshTiming::accept(std::uint32_t endpoint) {
    ++slots_[endpoint];
    refresh(out_links_[endpoint], Network::request);
}

std::size_t MeshTiming::queued(std::uint32_t endpoint, Network network) const {
    return links_[in_links_[endpoint]].channel[static_cast<std::size_t>(network)].requests.size();
}

/// How long the credits of the buffer behind a link are away beyond its slots.
Cycle MeshTiming::gap_of(const Worm& worm, std::uint32_t hop) const {
    // What comes behind the last buffer keeps the distances with which flits leave that one.
    const std::size_t buffers = worm.route.size() - 1;
    if (worm.copy) return buffers > 0 ? wire_gap_ : 0;
    return hop == 0 || buffers == 1 ? in_gap_ : wire_gap_;
}

/// When flit `flit` crosses the worm's link `hop`, which is granted; never if that is not known.
Cycle MeshTiming::crossing(const Worm& worm, std::uint32_t hop, std::uint32_t flit) const {
    Cycle latest = let_through(worm, hop, flit);
    if (wire_gap_ == 0) return latest;
    // Where credits come back too late, flits may also be held on their way here.
    Cycle way = 0;
    for (std::uint32_t from = hop; latest != kNeverCycle && from-- > 0;) {
        way += head_latency(links_[worm.route[from].link]);
        const Cycle left = let_through(worm, from, flit);
        latest = left == kNeverCycle ? kNeverCycle : std::max(latest, left + way);
    }
    return latest;
}

/// The same, as far as the buffers from that link on decide it.
Cycle MeshTiming::let_through(const Worm& worm, std::uint32_t hop, std::uint32_t flit) const {
    const std::uint64_t depth = shape_.buffer_flits;
    Cycle latest = 0;
    Cycle back = 0;  // credits travel one link per cycle
    const Worm* w = &worm;
    while (true) {
        if (hop >= w->granted) return kNeverCycle;
        const Hop& at = w->route[hop];
        const Cycle gap = gap_of(*w, hop);
        const Cycle rest = spread(w->flits - 1 - flit, gap);
        if (hop < w->closed) {
            // No flit crosses later than its distance to the tail allows.
            if (at.tail - std::min(at.tail, rest) + back <= latest) return latest;
            if (rest == 0) return at.tail + back;
        }
        // What delays the tail is taken to delay every flit.
        const Cycle late = at.end - at.first - spread(w->flits - 1, gap);
        latest = std::max(latest, at.first + late + spread(flit, gap) + back);
        if (hop + 1 == w->route.size() || at.order + flit < depth) return latest;
        if (gap > 0) {
            // Those of its first flits that waited for a slot delay every one behind them.
            const Channel& ch = channel(*w, hop);
            for (std::uint32_t early = 0; early < depth && early <= flit; ++early) {
                const Left* left =
                    at.order + early < depth ? nullptr : left_of(ch, at.order + early - depth);
                if (left)
                    latest = std::max(latest, left->time + 1 + spread(flit - early, gap) + back);
            }
        }
        const std::uint64_t slot = at.order + flit - depth;
        if (slot >= at.order) {
            flit = static_cast<std::uint32_t>(slot - at.order);
            ++hop;
        } else {
            const Channel& ch = channel(*w, hop);
            if (const Left* left = left_of(ch, slot))
                return std::max(latest, left->time + back + 1);
            const Occupant* owner = nullptr;
            for (std::size_t i = ch.front; i < ch.buffer.size() && ch.buffer[i].order <= slot; ++i)
                owner = &ch.buffer[i];
            if (!owner) return latest;
            w = &worms_[owner->worm];
            hop = owner->hop + 1;
            flit = static_cast<std::uint32_t>(slot - owner->order);
        }
        ++back;
    }
}

/// When the flit of that number left the buffer of `ch`; 0 if it is long gone.
Cycle MeshTiming::slot_left(const Channel& ch, std::uint64_t order) const {
    if (const Left* left = left_of(ch, order)) return left->time;
    const Occupant* owner = nullptr;
    for (std::size_t i = ch.front; i < ch.buffer.size() && ch.buffer[i].order <= order; ++i)
        owner = &ch.buffer[i];
    if (!owner) return 0;
    return crossing(worms_[owner->worm], owner->hop + 1,
                    static_cast<std::uint32_t>(order - owner->order));
}

/// The head has passed the router's pipeline and asks for its output.
void MeshTiming::head_ready(WormId id) {
    Worm& worm = worms_[id];
    --channel(worm, worm.granted).coming;
    Channel& behind = channel(worm, worm.granted - 1);
    // Worms leave a buffer in the order in which they came.
    std::size_t mine = behind.front;
    while (behind.buffer[mine].worm != id) ++mine;
    if (mine > behind.front) {
        const Occupant& before = behind.buffer[mine - 1];
        const Worm& other = worms_[before.worm];
        if (other.closed <= before.hop + 1) {
            worm.parked = true;
            return;
        }
        const Cycle left = other.route[before.hop + 1].tail;
        if (left >= now_) {
            head_at(id, left + 1);
            return;
        }
        if (behind.holder == kNone || !held_up(other, before.hop)) behind.front = mine;
    }
    request(worm.route[worm.granted].link, id, links_[worm.route[worm.granted - 1].link].port);
}

void MeshTiming::head_at(WormId id, Cycle time) {
    ++channel(worms_[id], worms_[id].granted).coming;
    events_.push(2 * time, {id, true});
    expect(id, time);
}

void MeshTiming::arbitrate_at(std::uint32_t link, Network network, Cycle time) {
    Channel& ch = links_[link].channel[static_cast<std::size_t>(network)];
    time = std::max(time, now_);
    if (ch.arbitration <= time) return;
    ch.arbitration = time;
    const auto index =
        static_cast<std::uint32_t>(link * kNetworks + static_cast<std::size_t>(network));
    events_.push(2 * time + 1, {index, false});
    const std::size_t candidates = links_[link].kind == Kind::in ? 1 : ch.requests.size();
    for (std::size_t i = 0; i < candidates; ++i) expect(ch.requests[i].worm, time);
}

/// The link can take a worm now. Otherwise whatever will change that schedules an arbitration.
bool MeshTiming::may_grant(std::uint32_t index, Network network) {
    Link& link = links_[index];
    Channel& ch = link.channel[static_cast<std::size_t>(network)];
    if (ch.holder != kNone) return false;
    if (ch.free_at > now_) {
        arbitrate_at(index, network, ch.free_at);
        return false;
    }
    if (link.kind == Kind::out) {
        if (network == Network::request && slots_[link.detail] == 0) return false;
    } else if (link.kind != Kind::replicate && ch.entered >= shape_.buffer_flits) {
        const Cycle left = slot_left(ch, ch.entered - shape_.buffer_flits);
        if (left == kNeverCycle) return false;
        if (left >= now_ && left != 0) {
            arbitrate_at(index, network, left + 1);
            return false;
        }
    }
    return true;
}

void MeshTiming::arbitrate(std::uint32_t index, Network network) {
    Link& link = links_[index];
    Channel& ch = link.channel[static_cast<std::size_t>(network)];
    if (ch.requests.empty() || !may_grant(index, network)) return;
    std::size_t chosen = 0;
    if (link.kind != Kind::in) {
        const std::uint32_t ports = ports_[link.from];
        const auto distance = [&](std::uint32_t port) {
            return (port + 2 * ports - ch.last_port - 1) % ports;
        };
        for (std::size_t i = 1; i < ch.requests.size(); ++i)
            if (distance(ch.requests[i].port) < distance(ch.requests[chosen].port)) chosen = i;
    }
    const Request request = ch.requests[chosen];
    ch.requests.erase(ch.requests.begin() + static_cast<std::ptrdiff_t>(chosen));
    grant(index, request.worm, request.port);
}

void MeshTiming::grant(std::uint32_t index, WormId id, std::uint32_t port) {
    Link& link = links_[index];
    Worm& worm = worms_[id];
    Channel& ch = link.channel[static_cast<std::size_t>(worm.network)];
    ch.last_port = port;
    worm.waiting = false;

    const std::uint32_t i = worm.granted++;
    Hop& hop = worm.route[i];
    const Cycle length = worm.flits;
    const Cycle alone = spread(worm.flits - 1, gap_of(worm, i)) + 1;
    // What is left of a worm of the other virtual network takes turns with this one, as far as this
    // one's own gaps do not hold it.
    const Cycle share = std::min(length, link.wire_free - std::min(link.wire_free, now_));
    hop.first = now_;
    hop.end = now_ - 1 + std::max(alone, length + share);
    const Cycle upstream =
        i == 0 ? worm.upstream_end
               : worm.route[i - 1].end + head_latency(links_[worm.route[i - 1].link]);
    hop.end = std::max(hop.end, upstream);
    link.wire_free = std::max(link.wire_free, now_) + length;
    hop.order = ch.entered;
    ch.entered += worm.flits;
    ch.holder = id;
    const bool last = worm.granted == worm.route.size();
    if (!last) {
        ch.buffer.push_back({id, i, hop.order});
        head_at(id, now_ + head_latency(link));
    }
    if (link.kind != Kind::replicate) {
        link.use.packets[static_cast<std::size_t>(worm.network)] += 1;
        link.use.flits[static_cast<std::size_t>(worm.network)] += worm.flits;
        if (observer_) observer_->passed(index, worm.network, now_, hop.end + 1, worm.flits);
    }
    if (i == 0 && worm.notify) {
        --to_notify_;
        departures_.push_back({worm.tag, worm.from, worm.network, true, now_});
    }
    if (link.kind == Kind::out && worm.network == Network::request) --slots_[link.detail];
    if (link.kind == Kind::replicate) part(id);
    settle(id);
    // Flits begin to leave the buffers behind: others may have waited for their slots.
    const Worm& moved = worms_[id];
    if (moved.closed > 0 && moved.closed <= i)
        refresh(moved.route[moved.closed - 1].link, moved.network);
    if (last) arrivals_.push(crossing(moved, i, moved.flits - 1), id);
}

/// Copies go on from the replication buffer, each on the way that its destinations share.
void MeshTiming::part(WormId id) {
    const std::vector<std::uint32_t> all = std::move(worms_[id].fork);
    worms_[id].fork.clear();
    const std::uint32_t at = links_[worms_[id].route.back().link].from;
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
        copy.upstream_end = worms_[id].route.back().end;
        extend_route(copy, at, to);
        Channel& ch = links_[link].channel[static_cast<std::size_t>(copy.network)];
        ch.requests.push_back({copy_id, links_[replicators_[at]].port});
        copy.waiting = true;
        if (ch.arbitration != kNeverCycle) expect(copy_id, ch.arbitration);
        arbitrate_at(link, copy.network, now_);
    }
}

/// Closes every link of the worm whose tail time has become known.
void MeshTiming::settle(WormId id) {
    while (worms_[id].closed < worms_[id].granted) {
        const Worm& worm = worms_[id];
        const std::uint32_t hop = worm.closed;
        // The tail needs the slots of flits further ahead than the head has come.
        if (worm.granted < worm.route.size() &&
            (worm.granted - 1 - hop) * shape_.buffer_flits + shape_.buffer_flits < worm.flits)
            return;
        // A lone flit had its slot when it was granted.
        const Cycle tail =
            worm.flits == 1 ? worm.route[hop].end : crossing(worm, hop, worm.flits - 1);
        if (tail == kNeverCycle) return;
        worms_[id].route[hop].tail = tail;
        ++worms_[id].closed;
        close(id, hop, tail);
    }
}

/// The tail crosses link `hop` of the worm at `tail`: the link is free afterwards.
void MeshTiming::close(WormId id, std::uint32_t hop, Cycle tail) {
    const std::uint32_t link = worms_[id].route[hop].link;
    const Network network = worms_[id].network;
    Channel& ch = channel(worms_[id], hop);
    ch.holder = kNone;
    ch.free_at = tail + 1;
    if (!ch.requests.empty()) arbitrate_at(link, network, ch.free_at);
    if (hop == 0) return;
    Channel& behind = channel(worms_[id], hop - 1);
    if (wire_gap_ > 0) note_left(worms_[id], hop);
    for (std::size_t i = behind.front; i + 1 < behind.buffer.size(); ++i)
        if (behind.buffer[i].worm == id) {
            const WormId next = behind.buffer[i + 1].worm;
            if (worms_[next].parked && worms_[next].granted == behind.buffer[i + 1].hop + 1) {
                worms_[next].parked = false;
                head_at(next, std::max(now_, tail + 1));
            }
            break;
        }
    refresh(worms_[id].route[hop - 1].link, network);
}

/// The worm that crosses link `hop` after this one may have waited for this one's slots.
bool MeshTiming::held_up(const Worm& worm, std::uint32_t hop) const {
    const Occupant& next = channel(worm, hop).buffer.back();
    // Flits of this one leave no later than their distance to its tail allows.
    const std::uint64_t last = worm.route[hop].order + worm.flits - 1;
    const Cycle begin = worms_[next.worm].route[next.hop].first;
    return worm.route[hop + 1].tail + 1 + next.order > begin + shape_.buffer_flits + last;
}

/// The tail of the worm's link `hop` is known: notes when its last flits leave the buffer before
/// it.
void MeshTiming::note_left(const Worm& worm, std::uint32_t hop) {
    Channel& ch = channel(worm, hop - 1);
    const std::uint64_t order = worm.route[hop - 1].order;
    const std::uint32_t depth = shape_.buffer_flits;
    if (ch.left.empty()) ch.left.assign(depth, {});
    std::vector<Left> last;  // the times are still found from what left before
    for (std::uint32_t flit = worm.flits - std::min(worm.flits, depth); flit < worm.flits; ++flit)
        last.push_back({order + flit + 1, crossing(worm, hop, flit)});
    for (const Left& left : last) ch.left[(left.number - 1) % depth] = left;
}

const MeshTiming::Left* MeshTiming::left_of(const Channel& ch, std::uint64_t order) const {
    if (ch.left.empty()) return nullptr;
    const Left& left = ch.left[order % shape_.buffer_flits];
    return left.number == order + 1 ? &left : nullptr;
}

/// Something about the buffer behind `link` has changed.
void MeshTiming::refresh(std::uint32_t link, Network network) {
    const Channel& ch = links_[link].channel[static_cast<std::size_t>(network)];
    const WormId holder = ch.holder;
    if (holder == kNone) {
        if (!ch.requests.empty()) arbitrate_at(link, network, ch.free_at);
        return;
    }
    settle(holder);
    // Its tail may be stuck, and some of its flits leave the buffer behind all the same.
    const Worm& worm = worms_[holder];
    if (ch.holder == holder && worm.closed > 0) refresh(worm.route[worm.closed - 1].link, network);
}

/// The worm goes on at `progress` at the earliest: notes when it can arrive.
void MeshTiming::expect(WormId id, Cycle progress) {
    Worm& worm = worms_[id];
    if (worm.due) return;
    worm.due = true;
    const auto rest = static_cast<Cycle>(worm.route.size() - worm.granted - 1);
    due_.push(progress + rest * shape_.router_cycles + worm.flits - 1, {id, worm.generation});
}

/// A bound that time has reached is moved on, or forgotten where the worm has no event before it.
void MeshTiming::renew(const Due& due) {
    Worm& worm = worms_[due.worm];
    if (worm.generation != due.generation) return;
    worm.due = false;
    if (worm.granted == worm.route.size() || worm.parked) return;
    if (!worm.waiting) {
        expect(due.worm, now_ + 1);
        return;
    }
    const Channel& ch = channel(worm, worm.granted);
    const bool candidate = worm.granted > 0 || ch.requests.front().worm == due.worm;
    if (ch.arbitration == kNeverCycle || !candidate) return;
    expect(due.worm, std::max(ch.arbitration, now_ + 1));
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
        const std::uint32_t index = event.index;
        if (event.head) {
            head_ready(index);
            continue;
        }
        const auto network = static_cast<Network>(index % kNetworks);
        const std::uint32_t link = index / kNetworks;
        Channel& ch = links_[link].channel[index % kNetworks];
        if (ch.arbitration != now_) continue;  // an earlier one took its place
        ch.arbitration = kNeverCycle;
        arbitrate(link, network);
    }
    now_ = until;
    deliveries.insert(deliveries.end(), departures_.begin(), departures_.end());
    departures_.clear();
    while (arrivals_.next() <= until) {
        const Cycle time = arrivals_.next();
        arrive(arrivals_.pop(), time, deliveries);
    }
    while (due_.next() <= until) renew(due_.pop());
    events_.turn(2 * until);
    arrivals_.turn(until);
    due_.turn(until);
}

void MeshTiming::arrive(WormId id, Cycle time, std::vector<Delivery>& deliveries) {
    Worm& worm = worms_[id];
    if (links_[worm.route.back().link].kind == Kind::out) {
        deliveries.push_back({worm.tag, worm.to, worm.network, false, time});
        --in_flight_;
    }
    // Its flits, and those before them, have left every buffer on the way.
    for (std::uint32_t i = 0; i + 1 < worm.route.size(); ++i) {
        Channel& ch = channel(worm, i);
        if (wire_gap_ == 0 && ch.holder != kNone && held_up(worm, i)) note_left(worm, i + 1);
        while (ch.front < ch.buffer.size() && ch.buffer[ch.front].order <= worm.route[i].order)
            ++ch.front;
        if (ch.front == ch.buffer.size() || ch.front >= 32) {
            ch.buffer.erase(ch.buffer.begin(),
                            ch.buffer.begin() + static_cast<std::ptrdiff_t>(ch.front));
            ch.front = 0;
        }
    }
    ++worm.generation;
    idle_.push_back(id);
}

std::vector<Waiting> MeshTiming::waiting() const {
    std::vector<Waiting> result;
    for (const Link& link : links_)
        for (std::size_t network = 0; network < kNetworks; ++network)
            for (const Request& request : link.channel[network].requests) {
                const Worm& worm = worms_[request.worm];
                const Channel& ch = link.channel[network];
                Waiting packet{worm.tag, worm.from, worm.to, worm.network};
                packet.link = static_cast<std::uint32_t>(&link - links_.data());
                if (ch.holder != kNone) {
                    packet.holder_from = worms_[ch.holder].from;
                    packet.holder_to = worms_[ch.holder].to;
                } else if (link.kind == Kind::out && slots_[link.detail] == 0) {
                    packet.blocked_by = link.detail;
                }
                result.push_back(packet);
            }
    return result;
}

}  // namespace npuvp::noc
