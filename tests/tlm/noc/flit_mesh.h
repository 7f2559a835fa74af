#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <vector>

#include "noc/mesh_timing.h"

namespace npuvp::test {

/// What `noc::MeshTiming` stands for, stepped cycle by cycle and flit by flit. It shares nothing
/// with it but the types of its interface:
///
/// * An input of a router has a queue of `buffer_flits` for each network. A flit that crosses a
/// link
///   in cycle t can cross the next one in cycle t + link_cycles + router_cycles; its slot is free
///   for another flit from the cycle after it has done so.
/// * An output carries one packet of a network at a time, from head to tail. In a cycle in which
/// none
///   holds it, the heads at the front of the router's queues that want it are served round robin.
/// * The wire of a link carries one flit per cycle: of the two networks in turns, if both have one.
/// * An endpoint takes one flit per cycle of each network together, and a packet of requests only
/// if
///   it has a slot for it.
class FlitMesh {
  public:
    FlitMesh(const noc::MeshShape& shape, std::vector<noc::Node> endpoints)
        : shape_(shape), endpoints_(std::move(endpoints)) {
        const auto routers = shape.columns * shape.rows;
        inputs_.resize(routers);
        // Round robin goes over the neighbours in the order of their numbers, then over endpoints.
        for (std::uint32_t at = 0; at < routers; ++at) {
            const std::uint32_t x = at % shape.columns, y = at / shape.columns;
            if (y > 0) add(at - shape.columns, at);
            if (x > 0) add(at - 1, at);
            if (x + 1 < shape.columns) add(at + 1, at);
            if (y + 1 < shape.rows) add(at + shape.columns, at);
        }
        for (std::uint32_t e = 0; e < endpoints_.size(); ++e) {
            const std::uint32_t at = router(endpoints_[e]);
            in_.push_back(make(at, at));
            inputs_[at].push_back(in_.back());
            links_[in_.back()].wire = false;
            out_.push_back(make(at, at));
            links_[out_.back()].last = true;
            links_[out_.back()].wire = false;
            slots_.push_back(shape.request_slots);
        }
        sources_.resize(endpoints_.size());
    }

    void inject(std::uint32_t from, std::uint32_t to, noc::Network network, std::uint32_t flits,
                std::uint64_t tag) {
        packets_.push_back({to, flits, tag});
        sources_[from][index(network)].push_back({packets_.size() - 1, 0});
        ++left_;
    }
    void accept(std::uint32_t endpoint) { ++slots_[endpoint]; }

    std::size_t in_flight() const { return left_; }
    noc::Cycle now() const { return now_; }

    /// One cycle; what arrives whole in it.
    std::vector<noc::Delivery> step() {
        std::vector<noc::Delivery> arrived;
        struct Move {
            std::size_t link;
            std::size_t network;
            std::size_t input;  ///< of the router, or kNone from a source
        };
        std::vector<Move> moves;
        for (std::size_t l = 0; l < links_.size(); ++l) {
            std::array<std::size_t, 2> choice{kNone, kNone};
            for (std::size_t n = 0; n < 2; ++n) choice[n] = candidate(l, n);
            std::size_t network = choice[0] != kNone ? 0 : 1;
            if (choice[0] != kNone && choice[1] != kNone) network = 1 - links_[l].last_network;
            if (choice[network] != kNone) moves.push_back({l, network, choice[network]});
        }
        for (const Move& m : moves) {
            Link& link = links_[m.link];
            Channel& channel = link.channel[m.network];
            auto& queue = source_of(m.link, m.input, m.network);
            const Flit flit = queue.front();
            const Packet& packet = packets_[flit.packet];
            if (flit.number + 1 < packet.flits && &queue == &own_source(m.link, m.network))
                ++queue.front().number;  // the source keeps what it has not sent
            else
                queue.pop_front();
            if (&queue != &own_source(m.link, m.network)) --links_[m.input].channel[m.network].used;
            link.last_network = m.network;
            channel.last_input = m.input;
            channel.holder = flit.number + 1 < packet.flits ? flit.packet : kNone;
            ++link.flits;
            if (link.last) {
                if (flit.number == 0 && m.network == 0) --slots_[endpoint_of(m.link)];
                if (flit.number + 1 == packet.flits) {
                    arrived.push_back(
                        {packet.tag, packet.to, static_cast<noc::Network>(m.network), false, now_});
                    --left_;
                }
            } else {
                ++channel.used;
                channel.queue.push_back(
                    {flit.packet, flit.number,
                     now_ + shape_.router_cycles + (link.wire ? shape_.link_cycles : 0)});
            }
        }
        ++now_;
        return arrived;
    }

  private:
    static constexpr std::size_t kNone = ~std::size_t{0};
    struct Packet {
        std::uint32_t to;
        std::uint32_t flits;
        std::uint64_t tag;
    };
    struct Flit {
        std::size_t packet;
        std::uint32_t number;
        noc::Cycle ready = 0;
    };
    struct Channel {
        std::deque<Flit> queue;      ///< behind the link
        std::uint32_t used = 0;      ///< slots, from the crossing on
        std::size_t holder = kNone;  ///< packet
        std::size_t last_input = kNone;
    };
    struct Link {
        std::uint32_t from;
        std::uint32_t to;
        bool wire = true;
        bool last = false;
        std::size_t last_network = 1;
        std::uint64_t flits = 0;
        std::array<Channel, 2> channel;
    };

    static std::size_t index(noc::Network network) { return static_cast<std::size_t>(network); }
    std::uint32_t router(noc::Node node) const { return node.y * shape_.columns + node.x; }
    std::size_t make(std::uint32_t from, std::uint32_t to) {
        Link link;
        link.from = from;
        link.to = to;
        links_.push_back(link);
        return links_.size() - 1;
    }
    void add(std::uint32_t from, std::uint32_t to) {
        wires_[{from, to}] = make(from, to);
        inputs_[to].push_back(links_.size() - 1);
    }
    std::uint32_t endpoint_of(std::size_t link) const {
        const auto at = std::find(out_.begin(), out_.end(), link);
        return static_cast<std::uint32_t>(at - out_.begin());
    }
    std::size_t next(std::uint32_t at, std::uint32_t to) const {
        const noc::Node want = endpoints_[to];
        const std::uint32_t x = at % shape_.columns, y = at / shape_.columns;
        if (x != want.x) return wires_.at({at, want.x > x ? at + 1 : at - 1});
        if (y != want.y)
            return wires_.at({at, want.y > y ? at + shape_.columns : at - shape_.columns});
        return out_[to];
    }
    std::deque<Flit>& own_source(std::size_t link, std::size_t network) {
        static std::deque<Flit> none;
        const auto at = std::find(in_.begin(), in_.end(), link);
        return at == in_.end() ? none
                               : sources_[static_cast<std::size_t>(at - in_.begin())][network];
    }
    std::deque<Flit>& source_of(std::size_t link, std::size_t input, std::size_t network) {
        return input == link ? own_source(link, network) : links_[input].channel[network].queue;
    }

    /// Where the flit comes from that link `l` could carry now: an input, or itself for a source.
    std::size_t candidate(std::size_t l, std::size_t network) {
        const Link& link = links_[l];
        const Channel& channel = link.channel[network];
        const bool room =
            link.last ? channel.holder != kNone || network == 1 || slots_[endpoint_of(l)] > 0
                      : channel.used < shape_.buffer_flits;
        if (!room) return kNone;
        if (std::find(in_.begin(), in_.end(), l) != in_.end())
            return own_source(l, network).empty() ? kNone : l;
        const auto& inputs = inputs_[link.from];
        const auto wants = [&](std::size_t input) {
            const auto& queue = links_[input].channel[network].queue;
            if (queue.empty() || queue.front().ready > now_) return false;
            const Flit& flit = queue.front();
            if (channel.holder != kNone) return flit.packet == channel.holder;
            return flit.number == 0 && next(link.from, packets_[flit.packet].to) == l;
        };
        if (channel.holder != kNone) return wants(channel.last_input) ? channel.last_input : kNone;
        const auto last = std::find(inputs.begin(), inputs.end(), channel.last_input);
        const std::size_t first =
            last == inputs.end() ? 1 : static_cast<std::size_t>(last - inputs.begin()) + 1;
        for (std::size_t i = 0; i < inputs.size(); ++i) {
            const std::size_t input = inputs[(first + i) % inputs.size()];
            if (wants(input)) return input;
        }
        return kNone;
    }

    noc::MeshShape shape_;
    std::vector<noc::Node> endpoints_;
    std::vector<Link> links_;
    std::map<std::pair<std::uint32_t, std::uint32_t>, std::size_t> wires_;
    std::vector<std::vector<std::size_t>> inputs_;  ///< by router
    std::vector<std::size_t> in_, out_;             ///< by endpoint
    std::vector<std::uint32_t> slots_;
    std::vector<std::array<std::deque<Flit>, 2>> sources_;
    std::vector<Packet> packets_;
    std::size_t left_ = 0;
    noc::Cycle now_ = 0;
};

}  // namespace npuvp::test
