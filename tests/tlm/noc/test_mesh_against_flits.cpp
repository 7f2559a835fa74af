// The mesh's times beside those of a model that moves every flit in every cycle.
#include <doctest/doctest.h>

#include <cmath>
#include <map>
#include <random>
#include <vector>

#include "noc/flit_mesh.h"

using namespace npuvp::noc;
using npuvp::test::FlitMesh;

namespace {

struct Packet {
    Cycle at;
    std::uint32_t from, to, flits;
    Network network;
};

struct Traffic {
    double gap = 6;           ///< mean cycles between two flits of a node
    std::uint32_t flits = 9;  ///< of the longest packet
    bool both = false;        ///< networks
    std::uint32_t seed = 1;
};

std::vector<Node> nodes_of(const MeshShape& s) {
    std::vector<Node> nodes;
    for (std::uint32_t y = 0; y < s.rows; ++y)
        for (std::uint32_t x = 0; x < s.columns; ++x) nodes.push_back({x, y});
    return nodes;
}

std::vector<Packet> packets_of(const MeshShape& s, const Traffic& traffic, int count) {
    std::mt19937 random(traffic.seed);
    const std::uint32_t nodes = s.columns * s.rows;
    const double mean = traffic.gap * (traffic.flits + 1) / nodes;
    std::vector<Packet> packets;
    double at = 0;
    for (int i = 0; i < count; ++i) {
        at -= mean * std::log(1 - static_cast<double>(random()) / 4294967296.0);
        const auto from = static_cast<std::uint32_t>(random() % nodes);
        const auto to = static_cast<std::uint32_t>((from + 1 + random() % (nodes - 1)) % nodes);
        const auto flits = static_cast<std::uint32_t>(1 + random() % traffic.flits);
        const Network network = traffic.both && random() % 2 ? Network::request : Network::response;
        packets.push_back({static_cast<Cycle>(at), from, to, flits, network});
    }
    return packets;
}

/// Arrivals by packet: endpoints take every request when it has arrived.
std::vector<Cycle> by_grants(const MeshShape& s, const std::vector<Packet>& packets) {
    MeshTiming mesh(s, nodes_of(s));
    std::vector<Cycle> arrivals(packets.size());
    std::vector<Delivery> some;
    std::size_t sent = 0;
    while (sent < packets.size() || mesh.in_flight()) {
        Cycle next = mesh.next_event();
        if (sent < packets.size()) next = std::min(next, packets[sent].at);
        some.clear();
        mesh.advance(std::max(next, mesh.now()), some);
        for (const Delivery& d : some) {
            arrivals[d.tag] = d.time;
            if (d.network == Network::request) mesh.accept(d.endpoint);
        }
        for (; sent < packets.size() && packets[sent].at <= mesh.now(); ++sent) {
            const Packet& p = packets[sent];
            mesh.inject(p.from, p.to, p.network, p.flits, sent);
        }
    }
    return arrivals;
}

std::vector<Cycle> by_flits(const MeshShape& s, const std::vector<Packet>& packets) {
    FlitMesh mesh(s, nodes_of(s));
    std::vector<Cycle> arrivals(packets.size());
    std::size_t sent = 0;
    while (sent < packets.size() || mesh.in_flight()) {
        for (; sent < packets.size() && packets[sent].at <= mesh.now(); ++sent) {
            const Packet& p = packets[sent];
            mesh.inject(p.from, p.to, p.network, p.flits, sent);
        }
        for (const Delivery& d : mesh.step()) {
            arrivals[d.tag] = d.time;
            if (d.network == Network::request) mesh.accept(d.endpoint);
        }
    }
    return arrivals;
}

struct Compared {
    double equal = 0;   ///< share of packets
    double mean = 0;    ///< latency over that of the reference
    double queued = 0;  ///< the reference's latency over that without contention
};

Compared compare(const MeshShape& s, const Traffic& traffic, int count = 1000) {
    const std::vector<Packet> packets = packets_of(s, traffic, count);
    const std::vector<Cycle> found = by_grants(s, packets), expected = by_flits(s, packets);
    const MeshTiming mesh(s, nodes_of(s));
    double equal = 0, mine = 0, theirs = 0, empty = 0;
    for (std::size_t i = 0; i < packets.size(); ++i) {
        const Packet& p = packets[i];
        equal += found[i] == expected[i];
        mine += static_cast<double>(found[i] - p.at);
        theirs += static_cast<double>(expected[i] - p.at);
        empty += static_cast<double>(mesh.zero_load_latency(p.from, p.to, p.flits));
    }
    return {equal / count, mine / theirs, theirs / empty};
}

MeshShape shape(std::uint32_t columns, std::uint32_t rows, std::uint32_t router, std::uint32_t wire,
                std::uint32_t buffer) {
    MeshShape s{columns, rows, router, wire, buffer, 1000};
    return s;
}

}  // namespace

TEST_CASE("mesh and flits: every packet of one network arrives in the same cycle") {
    double slowest = 0;
    for (const auto& [columns, rows] : {std::pair{2u, 1u}, {5u, 1u}, {1u, 4u}, {4u, 4u}})
        for (const auto& [router, wire, buffer] :
             {std::tuple{1u, 1u, 3u}, {1u, 1u, 8u}, {3u, 1u, 8u}, {1u, 4u, 8u}, {3u, 4u, 16u}})
            for (const std::uint32_t flits : {1u, 9u, 40u})
                for (const double gap : {30.0, 6.0, 2.0, 0.5}) {
                    CAPTURE(columns);
                    CAPTURE(rows);
                    CAPTURE(router);
                    CAPTURE(wire);
                    CAPTURE(buffer);
                    CAPTURE(flits);
                    CAPTURE(gap);
                    const Compared c = compare(shape(columns, rows, router, wire, buffer),
                                               {gap, flits, false, buffer}, 600);
                    CHECK(c.equal == 1);
                    slowest = std::max(slowest, c.queued);
                }
    CHECK(slowest > 10);  // there was contention, and more than the links can carry
}

TEST_CASE("mesh and flits: buffers that are smaller than the way of a credit") {
    // One stream over one link is exact, also where more is sent than it can carry.
    for (const auto& [router, wire] : {std::pair{1u, 1u}, {3u, 1u}, {1u, 4u}, {3u, 4u}})
        for (const std::uint32_t buffer : {1u, 2u, 4u, 7u})
            for (const std::uint32_t flits : {1u, 9u, 40u})
                for (const double gap : {30.0, 3.0, 0.5}) {
                    CAPTURE(router);
                    CAPTURE(wire);
                    CAPTURE(buffer);
                    CAPTURE(flits);
                    CAPTURE(gap);
                    const MeshShape s = shape(2, 1, router, wire, buffer);
                    CHECK(compare(s, {gap, flits}, 500).equal == 1);
                }
    // Where streams meet, nearly.
    for (const std::uint32_t buffer : {2u, 4u})
        for (const std::uint32_t wire : {1u, 4u}) {
            CAPTURE(buffer);
            CAPTURE(wire);
            const Compared c = compare(shape(4, 4, 1, wire, buffer), {12, 40});
            CHECK(c.equal > 0.97);
            CHECK(c.mean == doctest::Approx(1).epsilon(0.005));
        }
}

TEST_CASE("mesh and flits: endpoints that take one request after the other") {
    for (const std::uint32_t slots : {1u, 2u}) {
        MeshShape s = shape(4, 4, 1, 1, 8);
        s.request_slots = slots;
        Traffic traffic{8, 20, true};
        std::vector<Packet> packets = packets_of(s, traffic, 1000);
        for (Packet& p : packets) p.network = Network::request;
        CHECK(by_grants(s, packets) == by_flits(s, packets));
    }
}

TEST_CASE("mesh and flits: where the networks share wires, times are a little early") {
    // A packet that is granted a wire takes turns with what the other network has left there; that
    // one is not delayed any more, and neither is the head.
    for (const double gap : {12.0, 6.0}) {
        CAPTURE(gap);
        const Compared c = compare(shape(4, 4, 1, 1, 8), {gap, 40, true}, 2000);
        CHECK(c.mean > (gap > 6 ? 0.975 : 0.95));
        CHECK(c.mean < 1);
    }
}
