#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "noc/mesh_timing.h"

using namespace npuvp::noc;

namespace {

MeshShape shape(std::uint32_t columns, std::uint32_t rows) {
    MeshShape s;
    s.columns = columns;
    s.rows = rows;
    return s;
}

std::vector<Node> all_nodes(std::uint32_t columns, std::uint32_t rows) {
    std::vector<Node> nodes;
    for (std::uint32_t y = 0; y < rows; ++y)
        for (std::uint32_t x = 0; x < columns; ++x) nodes.push_back({x, y});
    return nodes;
}

/// Runs until nothing moves; endpoints take requests at once unless `take` is false.
std::vector<Delivery> drain(MeshTiming& mesh, bool take = true) {
    std::vector<Delivery> all, some;
    for (Cycle next = mesh.next_event(); next != kNeverCycle; next = mesh.next_event()) {
        some.clear();
        mesh.advance(std::max(next, mesh.now()), some);
        for (const Delivery& d : some)
            if (take && !d.departed && d.network == Network::request) mesh.accept(d.endpoint);
        all.insert(all.end(), some.begin(), some.end());
    }
    return all;
}

std::vector<Delivery> advance(MeshTiming& mesh, Cycle until) {
    std::vector<Delivery> some;
    mesh.advance(until, some);
    return some;
}

std::uint32_t link_named(const MeshTiming& mesh, const std::string& name) {
    for (std::uint32_t i = 0; i < mesh.link_count(); ++i)
        if (mesh.link_name(i) == name) return i;
    FAIL("no link " << name);
    return 0;
}

}  // namespace

TEST_CASE("mesh: latency without contention is exact") {
    for (const std::uint32_t router : {1u, 3u})
        for (const std::uint32_t wire : {0u, 1u, 2u})
            for (const std::uint32_t flits : {1u, 2u, 65u}) {
                MeshShape s = shape(4, 3);
                s.router_cycles = router;
                s.link_cycles = wire;
                MeshTiming mesh(s, all_nodes(4, 3));
                advance(mesh, 100);
                mesh.inject(0, 11, Network::request, flits, 7);  // (0, 0) to (3, 2): 5 links
                const Cycle latency = 6 * router + 5 * wire + flits - 1;
                CHECK(mesh.zero_load_latency(0, 11, flits) == latency);
                CHECK(advance(mesh, 100 + latency - 1).empty());
                const auto arrived = advance(mesh, 100 + latency);
                REQUIRE(arrived.size() == 1);
                CHECK(arrived[0].time == 100 + latency);
                CHECK(arrived[0].tag == 7);
                CHECK(arrived[0].endpoint == 11);
                CHECK(mesh.in_flight() == 0);
                CHECK(mesh.next_event() == kNeverCycle);
            }
}

TEST_CASE("mesh: two endpoints of one router are one router apart") {
    MeshTiming mesh(shape(1, 1), {{0, 0}, {0, 0}});
    mesh.inject(0, 1, Network::request, 1, 1);
    const auto arrived = drain(mesh);
    REQUIRE(arrived.size() == 1);
    CHECK(arrived[0].time == 1);
}

TEST_CASE("mesh: packets go along the row first, then along the column") {
    MeshTiming mesh(shape(3, 3), all_nodes(3, 3));
    mesh.inject(0, 8, Network::request, 5, 1);
    drain(mesh);
    std::set<std::string> used;
    for (std::uint32_t i = 0; i < mesh.link_count(); ++i)
        if (mesh.use(i).total_flits()) {
            used.insert(mesh.link_name(i));
            CHECK(mesh.use(i).total_flits() == 5);
            CHECK(mesh.use(i).packets[0] == 1);
        }
    CHECK(used == std::set<std::string>{"r0c0.in0", "r0c0.east", "r0c1.east", "r0c2.south",
                                        "r1c2.south", "r2c2.out8"});
}

TEST_CASE("mesh: a saturated link moves one flit per cycle, and no more") {
    MeshTiming mesh(shape(2, 1), all_nodes(2, 1));
    for (int i = 0; i < 100; ++i) mesh.inject(0, 1, Network::response, 65, i);
    const auto arrived = drain(mesh);
    REQUIRE(arrived.size() == 100);
    const Cycle first = mesh.zero_load_latency(0, 1, 65);
    for (std::size_t i = 0; i < arrived.size(); ++i) {
        CHECK(arrived[i].tag == i);
        CHECK(arrived[i].time == first + 65 * i);
    }
}

TEST_CASE("mesh: too few credits for the round trip lower the rate") {
    MeshShape s = shape(2, 1);  // credit loop: 1 + 1 + 1 cycles
    const auto last = [&](std::uint32_t buffer) {
        s.buffer_flits = buffer;
        MeshTiming mesh(s, all_nodes(2, 1));
        mesh.inject(0, 1, Network::response, 101, 0);
        return drain(mesh).at(0).time;
    };
    CHECK(last(3) == 3 + 100);
    CHECK(last(2) == 3 + 150);  // two flits in three cycles
    CHECK(last(1) == 3 + 300);
}

TEST_CASE("mesh: the two networks share a wire and do not block each other") {
    MeshTiming alone(shape(2, 1), all_nodes(2, 1));
    alone.inject(0, 1, Network::request, 64, 1);
    CHECK(drain(alone).at(0).time == 3 + 63);

    MeshTiming mesh(shape(2, 1), all_nodes(2, 1));
    mesh.inject(0, 1, Network::request, 64, 1);
    mesh.inject(0, 1, Network::response, 64, 2);
    const auto both = drain(mesh);
    REQUIRE(both.size() == 2);
    CHECK(both.back().time == 3 + 127);  // 128 flits over one wire

    // A response passes requests that nobody takes.
    MeshShape s = shape(2, 1);
    s.request_slots = 1;
    MeshTiming blocked(s, all_nodes(2, 1));
    for (int i = 0; i < 10; ++i) blocked.inject(0, 1, Network::request, 20, i);
    auto arrived = drain(blocked, false);
    CHECK(arrived.size() == 1);
    blocked.inject(0, 1, Network::response, 20, 100);
    arrived = drain(blocked, false);
    REQUIRE(arrived.size() == 1);
    CHECK(arrived[0].tag == 100);
    CHECK(blocked.in_flight() == 9);
}

TEST_CASE("mesh: round robin gives two inputs of a router the same share") {
    // (0, 0) and (2, 0) both send to (1, 0); a third one sits at (1, 0) itself.
    MeshTiming mesh(shape(3, 1), {{0, 0}, {2, 0}, {1, 0}, {1, 0}});
    std::map<std::uint32_t, std::uint32_t> served;
    for (int i = 0; i < 300; ++i)
        for (std::uint32_t from = 0; from < 3; ++from)
            mesh.inject(from, 3, Network::response, 10, from);
    std::vector<Delivery> all = advance(mesh, 3000);
    for (const Delivery& d : all) ++served[static_cast<std::uint32_t>(d.tag)];
    for (std::uint32_t from = 0; from < 3; ++from) {
        CHECK(served[from] >= 99);
        CHECK(served[from] <= 101);
    }
    // In turns: no input is served twice while another one waits.
    for (std::size_t i = 30; i + 2 < all.size(); ++i)
        CHECK(std::set<std::uint64_t>{all[i].tag, all[i + 1].tag, all[i + 2].tag}.size() == 3);
}

TEST_CASE("mesh: a blocked worm fills the buffers behind it and stops its source") {
    MeshShape s = shape(4, 1);
    s.request_slots = 1;
    MeshTiming mesh(s, all_nodes(4, 1));
    // The endpoint takes nothing: the first packet is held there, the second stops at its door
    // with 8 flits in each of the buffers before routers 3, 2, 1 and of its own router.
    for (int i = 0; i < 3; ++i) mesh.inject(0, 3, Network::request, 40, i, true);
    auto arrived = drain(mesh, false);
    CHECK(std::count_if(arrived.begin(), arrived.end(), [](auto& d) { return !d.departed; }) == 1);
    CHECK(std::count_if(arrived.begin(), arrived.end(), [](auto& d) { return d.departed; }) == 2);
    CHECK(mesh.queued(0, Network::request) == 1);
    CHECK(mesh.in_flight() == 2);
    const auto waiting = mesh.waiting();
    REQUIRE(waiting.size() == 2);
    CHECK(mesh.link_name(waiting[0].link) == "r0c0.in0");
    CHECK(waiting[0].holder_from == 0);
    CHECK(waiting[0].holder_to == 3);
    CHECK(mesh.link_name(waiting[1].link) == "r0c3.out3");
    CHECK(waiting[1].holder_from == ~0u);
    CHECK(waiting[1].blocked_by == 3);
    // A packet that fits into the buffers does leave its source.
    MeshTiming small(s, all_nodes(4, 1));
    for (int i = 0; i < 2; ++i) small.inject(0, 3, Network::request, 32, i, true);
    small.inject(0, 1, Network::request, 1, 9, true);
    arrived = drain(small, false);
    CHECK(std::count_if(arrived.begin(), arrived.end(), [](auto& d) { return d.departed; }) == 2);
    // With the slot free, all goes on.
    mesh.accept(3);
    CHECK(drain(mesh, true).size() >= 2);
    CHECK(mesh.in_flight() == 0);
}

TEST_CASE("mesh: a full buffer is full for whoever comes next") {
    MeshShape s = shape(3, 1);
    s.request_slots = 1;
    s.buffer_flits = 4;
    MeshTiming mesh(s, all_nodes(3, 1));
    for (int i = 0; i < 30; ++i) mesh.inject(0, 2, Network::request, 1, i, true);
    const auto arrived = drain(mesh, false);
    // One at the endpoint, four in each buffer on the way (three routers), the rest outside.
    CHECK(mesh.queued(0, Network::request) == 30 - 1 - 3 * 4);
    CHECK(arrived.size() == 1 + 13);
}

TEST_CASE("mesh: multicast reaches every destination once over shared links") {
    MeshTiming mesh(shape(4, 4), all_nodes(4, 4));
    std::vector<std::uint32_t> to;
    for (std::uint32_t e = 1; e < 16; ++e) to.push_back(e);
    mesh.multicast(0, to, Network::request, 9, 5);
    CHECK(mesh.in_flight() == 15);
    const auto arrived = drain(mesh);
    std::set<std::uint32_t> reached;
    for (const Delivery& d : arrived) {
        CHECK(d.tag == 5);
        reached.insert(d.endpoint);
        CHECK(d.time == mesh.zero_load_latency(0, d.endpoint, 9));
    }
    CHECK(arrived.size() == 15);
    CHECK(reached.size() == 15);
    std::uint64_t wires = 0;
    for (std::uint32_t i = 0; i < mesh.link_count(); ++i)
        if (!mesh.is_endpoint_link(i)) wires += mesh.use(i).packets[0];
    CHECK(wires == 15);  // a tree; one by one it would be 48
    CHECK(mesh.use(link_named(mesh, "r0c0.in0")).flits[0] == 9);
}

TEST_CASE("mesh: random traffic on 8 x 8 always arrives, all of it, in order") {
    for (const std::uint32_t buffer : {2u, 8u}) {
        MeshShape s = shape(8, 8);
        s.buffer_flits = buffer;
        s.request_slots = 2;
        MeshTiming mesh(s, all_nodes(8, 8));
        std::mt19937 random(1);
        constexpr std::uint64_t packets = 100'000;
        std::uint64_t sent = 0, sent_flits = 0, requests = 0, answers = 0, bytes_links = 0;
        std::map<std::pair<std::uint32_t, std::uint32_t>, std::uint64_t> last;
        struct Sent {
            std::uint32_t from, to, flits;
            Cycle at;
            bool answered;
        };
        std::vector<Sent> log;
        std::vector<Delivery> some;
        const auto send = [&](std::uint32_t from, std::uint32_t to, Network network) {
            const std::uint32_t flits = random() % 3 ? 1 : 1 + random() % 40;
            log.push_back({from, to, flits, mesh.now(), false});
            ++sent;
            sent_flits += flits;
            bytes_links += static_cast<std::uint64_t>(flits) * (mesh.hops(from, to) + 2);
            mesh.inject(from, to, network, flits, log.size() - 1);
        };
        while (sent < packets || mesh.in_flight()) {
            if (requests < packets / 2 && mesh.in_flight() < 2000) {
                for (int i = 0; i < 8; ++i, ++requests)
                    send(random() % 64, random() % 64, Network::request);
            }
            const Cycle next = requests < packets / 2 ? mesh.now() + 4 : mesh.next_event();
            REQUIRE(next != kNeverCycle);
            some.clear();
            mesh.advance(next, some);
            for (const Delivery& d : some) {
                Sent& packet = log[d.tag];
                REQUIRE(!packet.answered);
                packet.answered = true;
                REQUIRE(d.endpoint == packet.to);
                REQUIRE(d.time >=
                        packet.at + mesh.zero_load_latency(packet.from, packet.to, packet.flits));
                ++answers;
                if (d.network == Network::request) {
                    // A request is taken when its answer is on its way, as a memory would.
                    mesh.accept(d.endpoint);
                    send(packet.to, packet.from, Network::response);
                }
            }
        }
        CHECK(sent == answers);
        CHECK(sent >= packets);
        std::uint64_t carried = 0;
        for (std::uint32_t i = 0; i < mesh.link_count(); ++i) carried += mesh.use(i).total_flits();
        CHECK(carried == bytes_links);
        CHECK(mesh.next_event() == kNeverCycle);
        CHECK(mesh.waiting().empty());
        // No link carried more than one flit per cycle.
        for (std::uint32_t i = 0; i < mesh.link_count(); ++i)
            CHECK(mesh.use(i).total_flits() <= mesh.now() + 1);
    }
}

TEST_CASE("mesh: packets between two endpoints of one network keep their order") {
    MeshShape s = shape(5, 5);
    s.buffer_flits = 3;
    MeshTiming mesh(s, all_nodes(5, 5));
    std::mt19937 random(3);
    std::map<std::pair<std::uint32_t, std::uint32_t>, std::uint64_t> next_sent, next_seen;
    std::vector<std::pair<std::uint32_t, std::uint32_t>> way;
    std::vector<std::uint64_t> number;
    for (int i = 0; i < 5000; ++i) {
        const std::uint32_t from = random() % 25, to = random() % 3;
        way.emplace_back(from, to);
        number.push_back(next_sent[{from, to}]++);
        mesh.inject(from, to, Network::response, 1 + random() % 12, way.size() - 1);
    }
    const auto arrived = drain(mesh);
    CHECK(arrived.size() == 5000);
    for (const Delivery& d : arrived) CHECK(number[d.tag] == next_seen[way[d.tag]]++);
}

TEST_CASE("mesh: multicast under load does not lock up") {
    MeshShape s = shape(6, 6);
    s.buffer_flits = 2;
    MeshTiming mesh(s, all_nodes(6, 6));
    std::mt19937 random(5);
    std::uint64_t expected = 0;
    for (int i = 0; i < 2000; ++i) {
        std::set<std::uint32_t> to;
        for (int k = 0; k < 6; ++k) to.insert(random() % 36);
        expected += to.size();
        mesh.multicast(random() % 36, {to.begin(), to.end()}, Network::request, 1 + random() % 20,
                       static_cast<std::uint64_t>(i));
    }
    CHECK(drain(mesh).size() == expected);
    CHECK(mesh.in_flight() == 0);
}

TEST_CASE("mesh: the same traffic twice gives the same times") {
    const auto run = [] {
        MeshTiming mesh(shape(4, 4), all_nodes(4, 4));
        std::mt19937 random(9);
        for (int i = 0; i < 2000; ++i)
            mesh.inject(random() % 16, random() % 16, Network::response, 1 + random() % 30, i);
        std::vector<std::pair<std::uint64_t, Cycle>> result;
        for (const Delivery& d : drain(mesh)) result.emplace_back(d.tag, d.time);
        return result;
    };
    CHECK(run() == run());
}

TEST_CASE("mesh: impossible figures are refused by name") {
    MeshShape s = shape(2, 2);
    s.buffer_flits = 0;
    CHECK_THROWS_WITH(MeshTiming(s, {}), "mesh: buffer_flits is 0, allowed: 1 or more");
    s = shape(2, 2);
    CHECK_THROWS_WITH(MeshTiming(s, {{0, 0}, {2, 1}}),
                      "mesh: endpoint 1 at (2, 1) lies outside the mesh of 2 x 2");
    MeshTiming mesh(s, {{0, 0}});
    CHECK_THROWS_WITH(mesh.inject(0, 0, Network::request, 0, 0), "mesh: a packet of 0 flits");
}

TEST_CASE("mesh: times do not depend on how often its caller looks") {
    std::mt19937 random(11);
    for (const std::uint32_t buffer : {1u, 3u, 8u, 64u}) {
        MeshShape s = shape(4, 3);
        s.buffer_flits = buffer;
        s.request_slots = 2;
        struct Packet {
            Cycle at;
            std::uint32_t from, flits;
            std::vector<std::uint32_t> to;
            Network network;
        };
        std::vector<Packet> packets;
        Cycle at = 0;
        for (int i = 0; i < 1500; ++i) {
            at += random() % 5;
            std::set<std::uint32_t> to;
            for (std::uint32_t k = random() % 8 ? 1 : 4; k-- > 0;) to.insert(random() % 12);
            packets.push_back({at,
                               static_cast<std::uint32_t>(random() % 12),
                               static_cast<std::uint32_t>(1 + random() % 33),
                               {to.begin(), to.end()},
                               random() % 2 ? Network::request : Network::response});
        }
        const auto times = [&](bool every_cycle) {
            MeshTiming mesh(s, all_nodes(4, 3));
            std::map<std::pair<std::uint64_t, std::uint32_t>, Cycle> found;
            std::vector<Delivery> some;
            std::size_t sent = 0;
            while (sent < packets.size() || mesh.in_flight()) {
                Cycle next = every_cycle ? mesh.now() + 1 : mesh.next_event();
                if (sent < packets.size()) next = std::min(next, packets[sent].at);
                some.clear();
                mesh.advance(std::max(next, mesh.now()), some);
                for (const Delivery& d : some) {
                    found[{d.tag, d.endpoint}] = d.time;
                    if (d.network == Network::request) mesh.accept(d.endpoint);
                }
                for (; sent < packets.size() && packets[sent].at <= mesh.now(); ++sent)
                    mesh.multicast(packets[sent].from, packets[sent].to, packets[sent].network,
                                   packets[sent].flits, sent);
            }
            return found;
        };
        const auto found = times(false);
        CHECK(found.size() > packets.size());
        CHECK(found == times(true));
    }
}
