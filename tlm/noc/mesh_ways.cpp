// What is where in the mesh, and the ways that packets begin.
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
    longest_ = shape.columns + shape.rows;  // an endpoint's two, and from corner to corner
    const auto add = [&](Kind kind, std::uint32_t from, std::uint32_t to, std::uint32_t detail) {
        links_.push_back({kind, from, to, detail});
        Channel channel;
        channel.kind = kind;
        channel.endpoint = detail;
        channel.port = static_cast<std::uint16_t>(ports_[to]++);
        channels_.insert(channels_.end(), kNetworks, channel);
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
    wire_free_.resize(links_.size());
    uses_.resize(links_.size());
    left_.resize(channels_.size());
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

void MeshTiming::append_hop(Worm& worm, std::uint32_t link) {
    Hop& hop = hops_[worm.way + worm.hops++];
    hop.channel = channel_of(link, worm.network);
    hop.before = hop.after = kNone;
}

/// From router `at`, as long as all destinations share the way.
void MeshTiming::extend_route(WormId id, std::uint32_t at, const std::vector<std::uint32_t>& to) {
    Worm& worm = worms_[id];
    while (true) {
        const std::uint32_t link = next_link(at, to.front());
        for (std::size_t i = 1; i < to.size(); ++i)
            if (next_link(at, to[i]) != link) {
                forks_[id] = to;
                append_hop(worm, replicators_[at]);
                return;
            }
        append_hop(worm, link);
        if (links_[link].kind == Kind::out) return;
        at = links_[link].to;
    }
}

MeshTiming::WormId MeshTiming::make_worm(std::uint32_t flits, Network network, std::uint64_t tag) {
    if (idle_.empty()) {
        const auto id = static_cast<WormId>(worms_.size());
        worms_.emplace_back();
        worms_[id].way = static_cast<HopId>(hops_.size());
        Hop hop{};
        hop.worm = id;
        hops_.insert(hops_.end(), longest_, hop);
        forks_.emplace_back();
        idle_.push_back(id);
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
    worm.due = kNeverCycle;
    worm.behind = kNobody;
    worm.hops = 0;
    worm.granted = 0;
    worm.closed = 0;
    worm.port = 0;
    worm.upstream_end = 0;
    return id;
}

void MeshTiming::inject(std::uint32_t from, std::uint32_t to, Network network, std::uint32_t flits,
                        std::uint64_t tag, bool notify) {
    const WormId id = begin(from, network, flits, tag, notify);
    Worm& worm = worms_[id];
    worm.to = to;
    // XY, as next_link().
    const Node begin = endpoints_[from], end = endpoints_[to];
    std::uint32_t at = router(begin);
    const auto go = [&](Direction direction, std::uint32_t links) {
        for (; links > 0; --links) {
            const std::uint32_t link = wires_[at][direction];
            append_hop(worm, link);
            at = links_[link].to;
        }
    };
    if (end.x >= begin.x)
        go(east, end.x - begin.x);
    else
        go(west, begin.x - end.x);
    if (end.y >= begin.y)
        go(south, end.y - begin.y);
    else
        go(north, begin.y - end.y);
    append_hop(worm, out_links_[to]);
    ++in_flight_;
    request(channel_of(in_links_[from], network), id);
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
    append_hop(worm, in_links_[from]);
    return id;
}

void MeshTiming::multicast(std::uint32_t from, const std::vector<std::uint32_t>& to,
                           Network network, std::uint32_t flits, std::uint64_t tag, bool notify) {
    if (to.empty()) throw std::invalid_argument("mesh: a packet without a destination");
    const WormId id = begin(from, network, flits, tag, notify);
    worms_[id].to = to.front();
    extend_route(id, router(endpoints_[from]), to);
    in_flight_ += to.size();
    request(channel_of(in_links_[from], network), id);
}

}  // namespace npuvp::noc
