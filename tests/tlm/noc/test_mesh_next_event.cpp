// next_event() may be early and is never late: who looks only then sees what one sees who looks in
// every cycle.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <map>
#include <random>
#include <set>
#include <tuple>

#include "noc/mesh_timing.h"

using namespace npuvp::noc;

namespace {

struct Packet {
    Cycle at;
    std::uint32_t from;
    std::vector<std::uint32_t> to;
    Network network;
    std::uint32_t flits;
};

struct Traffic {
    MeshShape shape;
    std::vector<Node> endpoints;
    std::vector<Packet> packets;
    Cycle hold;  ///< from the arrival of a request to its endpoint's being ready for another one
};

/// Small buffers, few slots, and packets of different lengths, so that near and short ones wait for
/// far and long ones.
Traffic traffic(std::uint32_t seed) {
    std::mt19937 random(seed);
    const auto below = [&](std::uint32_t limit) {
        return static_cast<std::uint32_t>(random() % limit);
    };
    Traffic result;
    MeshShape& shape = result.shape;
    shape.columns = 1 + below(6);
    shape.rows = 1 + below(6);
    shape.router_cycles = 1 + below(3);
    shape.link_cycles = below(4);
    shape.buffer_flits = std::array<std::uint32_t, 5>{1, 2, 3, 5, 8}[below(5)];
    shape.request_slots = 1 + below(4);
    const std::uint32_t count = 2 + below(30);
    for (std::uint32_t i = 0; i < count; ++i)
        result.endpoints.push_back({below(shape.columns), below(shape.rows)});
    result.hold = below(3) ? 0 : 1 + below(40);
    const std::uint32_t longest = 1 + below(below(2) ? 9 : 50);
    const std::uint32_t gap = 1 + below(below(2) ? 6 : 60);
    const std::uint32_t targets = below(2) ? std::min(count, 3u) : count;
    Cycle at = 0;
    for (int i = 0; i < 200; ++i) {
        Packet packet{at, below(count), {}, Network::response, below(3) ? 1 + below(longest) : 1};
        if (below(2)) packet.network = Network::request;
        std::set<std::uint32_t> to;
        for (std::uint32_t k = below(4) ? 1 : 1 + below(6); k > 0; --k) to.insert(below(targets));
        packet.to.assign(to.begin(), to.end());
        result.packets.push_back(packet);
        at += below(gap);
    }
    return result;
}

struct Seen {
    /// When each packet arrived at each endpoint.
    std::map<std::tuple<std::uint64_t, std::uint32_t>, Cycle> arrivals;
    std::uint64_t late = 0;  ///< seen after they had happened
    std::uint64_t looks = 0;
};

Seen run(const Traffic& traffic, bool every_cycle) {
    MeshTiming mesh(traffic.shape, traffic.endpoints);
    Seen seen;
    std::multimap<Cycle, std::uint32_t> ready;
    std::vector<Delivery> some;
    std::size_t sent = 0;
    bool acted = false;
    while (sent < traffic.packets.size() || mesh.in_flight()) {
        // A slot given back may let a packet of one flit arrive in the same cycle.
        Cycle next = !every_cycle ? mesh.next_event() : acted ? mesh.now() : mesh.now() + 1;
        if (sent < traffic.packets.size()) next = std::min(next, traffic.packets[sent].at);
        if (!ready.empty()) next = std::min(next, ready.begin()->first);
        REQUIRE(next < 1'000'000);
        some.clear();
        mesh.advance(std::max(next, mesh.now()), some);
        ++seen.looks;
        for (const Delivery& d : some) {
            seen.arrivals[{d.tag, d.endpoint}] = mesh.now();
            if (d.time < mesh.now()) ++seen.late;
            if (d.network == Network::request) ready.emplace(mesh.now() + traffic.hold, d.endpoint);
        }
        acted = false;
        for (; !ready.empty() && ready.begin()->first <= mesh.now(); ready.erase(ready.begin())) {
            mesh.accept(ready.begin()->second);
            acted = true;
        }
        for (; sent < traffic.packets.size() && traffic.packets[sent].at <= mesh.now(); ++sent) {
            const Packet& packet = traffic.packets[sent];
            if (packet.to.size() > 1)
                mesh.multicast(packet.from, packet.to, packet.network, packet.flits, sent);
            else
                mesh.inject(packet.from, packet.to.front(), packet.network, packet.flits, sent);
        }
    }
    return seen;
}

}  // namespace

TEST_CASE("mesh: who looks only at next_event() sees every arrival in its cycle") {
    std::uint64_t looks = 0, cycles = 0;
    for (std::uint32_t seed = 0; seed < 600; ++seed) {
        CAPTURE(seed);
        const Traffic some = traffic(seed);
        const Seen seldom = run(some, false);
        const Seen always = run(some, true);
        CHECK(seldom.late == 0);
        CHECK(always.late == 0);
        CHECK(seldom.arrivals == always.arrivals);
        CHECK(seldom.arrivals.size() >= some.packets.size());
        looks += seldom.looks;
        cycles += always.looks;
    }
    // Early, but not in every cycle, nor at every step of a packet.
    CHECK(looks < cycles / 3);
}
