#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "noc/time_wheel.h"

namespace npuvp::noc {

/// Cycles of the mesh's clock since the start.
using Cycle = std::uint64_t;
inline constexpr Cycle kNeverCycle = std::numeric_limits<Cycle>::max();

/// Requests and responses never wait for each other's buffers, which is what keeps a request that
/// waits for a memory from blocking the response that would free it.
enum class Network : std::uint8_t { request, response };
inline constexpr std::size_t kNetworks = 2;

struct Node {
    std::uint32_t x = 0;
    std::uint32_t y = 0;
    bool operator==(const Node& other) const { return x == other.x && y == other.y; }
};

struct MeshShape {
    std::uint32_t columns = 1;
    std::uint32_t rows = 1;
    std::uint32_t router_cycles = 1;
    std::uint32_t link_cycles = 1;
    std::uint32_t buffer_flits = 8;   ///< input buffer of a router, per link and virtual network
    std::uint32_t request_slots = 8;  ///< requests that an endpoint can hold before it takes them
};

/// A packet has arrived whole at an endpoint (or, where it was asked for, has left its source).
struct Delivery {
    std::uint64_t tag;
    std::uint32_t endpoint;
    Network network;
    bool departed;  ///< it began to enter the network; false: it has arrived
    Cycle time;
};

/// What crossed one link. The two virtual networks share its wires flit by flit.
struct LinkUse {
    std::array<std::uint64_t, kNetworks> packets{};
    std::array<std::uint64_t, kNetworks> flits{};
    std::uint64_t total_flits() const { return flits[0] + flits[1]; }
};

/// Learns of every packet that is granted a link: its flits cross it in [begin, end).
class MeshObserver {
  public:
    virtual ~MeshObserver() = default;
    virtual void passed(std::uint32_t link, Network network, Cycle begin, Cycle end,
                        std::uint32_t flits) = 0;
};

/// A packet that has not arrived, and what it waits for: a packet that holds the link, or the
/// endpoint behind it, or else a credit of the link.
struct Waiting {
    std::uint64_t tag;
    std::uint32_t from;
    std::uint32_t to;
    Network network;
    std::uint32_t link = 0;           ///< that it asks for
    std::uint32_t blocked_by = ~0u;   ///< endpoint that takes no request, if that is why
    std::uint32_t holder_from = ~0u;  ///< source of the packet that holds the link, if one does
    std::uint32_t holder_to = ~0u;    ///< and where that goes
};

/// A 2-D mesh with XY routing and wormhole flow control, in plain C++: no SystemC, no thread.
///
/// A packet is a worm of flits. Its head asks each router for the output that XY routing names; a
/// link and virtual network carries one worm at a time, granted round robin over the router's
/// inputs; flits follow at one per cycle as long as the buffer behind the link has room (credits).
/// The time at which flit f of a worm crosses its i-th link is
///
///     T(i, f) = max(T(i, 0) + f, T(i + 1, f - buffer) + 1),    T(i, 0) = grant of link i
///
/// (more than f after the grant where a credit takes longer to come back than the buffer lasts) and
/// the same with the flits of the worm before it, where those still hold the slot. So only the
/// grants are events, one per link and packet, and nothing is stepped flit by flit. Without
/// contention a packet of n flits over h links between routers takes
///
///     (h + 1) * router_cycles + h * link_cycles + n - 1 cycles.
///
/// Of one network these are the times of a model that moves every flit in every cycle (the tests
/// have one). Where the two networks share a wire, the packet that comes later takes turns with
/// what is left of the other one, which is not delayed any more: times are early there, by some per
/// cent.
///
/// A multicast packet follows the common way of its destinations; where they part, the router takes
/// it into a replication buffer (one packet at a time, never refusing) and sends copies on. That
/// buffer is what keeps trees of blocked copies from waiting for each other in a circle.
///
/// The caller owns time, as with memory::Backend: advance(now), inject or accept at `now`, and wake
/// again no later than next_event().
class MeshTiming {
  public:
    /// `endpoints`: router of each endpoint; several may share a router, each with its own port.
    /// @throws std::invalid_argument naming a figure or an endpoint outside the mesh.
    MeshTiming(const MeshShape& shape, std::vector<Node> endpoints);

    /// `notify`: report with `departed` when the packet begins to enter the network.
    void inject(std::uint32_t from, std::uint32_t to, Network network, std::uint32_t flits,
                std::uint64_t tag, bool notify = false);
    /// One packet to several endpoints; each delivery reports `tag`.
    void multicast(std::uint32_t from, const std::vector<std::uint32_t>& to, Network network,
                   std::uint32_t flits, std::uint64_t tag, bool notify = false);
    /// The endpoint has taken a delivered request: it can hold another one.
    void accept(std::uint32_t endpoint);

    Cycle now() const { return now_; }
    /// No delivery happens before this time without a further call; early, never late.
    Cycle next_event() const;
    void advance(Cycle until, std::vector<Delivery>& deliveries);

    /// Packets of an endpoint that have not begun to enter the network.
    std::size_t queued(std::uint32_t endpoint, Network network) const;
    std::uint64_t in_flight() const { return in_flight_; }
    std::vector<Waiting> waiting() const;
    std::uint32_t hops(std::uint32_t from, std::uint32_t to) const;
    Cycle zero_load_latency(std::uint32_t from, std::uint32_t to, std::uint32_t flits) const;

    void observe(MeshObserver* observer) { observer_ = observer; }
    /// Links between routers and those of endpoints; replication buffers are none.
    std::uint32_t link_count() const { return visible_links_; }
    const LinkUse& use(std::uint32_t link) const { return uses_[link]; }
    /// "r0c1.east" (to the router in that direction), "r0c1.in3", "r0c1.out3" (of endpoint 3).
    std::string link_name(std::uint32_t link) const;
    bool is_endpoint_link(std::uint32_t link) const { return links_[link].kind != Kind::wire; }

  private:
    enum class Kind : std::uint8_t { wire, in, out, replicate };
    enum Direction : std::uint32_t { east, west, north, south };
    using WormId = std::uint32_t;
    /// A link and virtual network: link * kNetworks + network.
    using ChannelId = std::uint32_t;
    /// A link of a worm's way, among those of all worms.
    using HopId = std::uint32_t;
    static constexpr std::uint32_t kNone = ~0u;
    static constexpr std::uint16_t kNobody = 0xffff;

    /// One link of a worm's way. Those in the buffer behind the link stand in a row.
    struct Hop {
        Cycle first;          ///< grant: the head crosses
        Cycle end;            ///< the tail crosses no earlier, by the wire's share and by upstream
        std::uint64_t order;  ///< number of the head among all flits of this link and network
        Cycle tail;           ///< when the tail crosses, once that is known
        ChannelId channel;
        WormId worm;
        HopId before;  ///< in the buffer; none in front
        HopId after;
    };
    /// In one cache line: a grant looks at nothing else of a worm but its last links.
    struct alignas(64) Worm {
        std::uint64_t tag = 0;
        Cycle upstream_end = 0;   ///< of a copy: tail time in the replication buffer
        Cycle due = kNeverCycle;  ///< a lower bound of its arrival that is noted
        std::uint32_t flits = 0;
        std::uint32_t generation = 0;
        std::uint32_t from = 0;
        std::uint32_t to = 0;  ///< endpoint; of a multicast before it parts: the first of them
        HopId way = 0;         ///< its first link; the others follow
        WormId next = kNone;   ///< among the requests of a link
        std::uint16_t hops = 0;
        std::uint16_t granted = 0;  ///< links that the head has crossed or is crossing
        std::uint16_t closed = 0;   ///< links whose tail time is known
        std::uint16_t port = 0;     ///< input of the router where its head is
        Network network = Network::request;
        bool notify = false;
        bool copy = false;     ///< made by a replication buffer
        bool waiting = false;  ///< among the requests of its next link
        bool parked = false;   ///< its head waits until the worm before it has left the buffer
        /// Least number of cycles that any of those that wait for it, and have no bound of their
        /// own, needs to arrive once it, or what it waits for itself, has gone on.
        std::uint16_t behind = kNobody;
    };
    static_assert(sizeof(Worm) == 64);
    /// When a flit left a buffer.
    struct Left {
        std::uint64_t number = 0;  ///< of the flit among all of this link and network, from 1
        Cycle time = 0;
    };
    /// One virtual network of a link, with the buffer at its far end: what a grant looks at, in one
    /// cache line.
    struct alignas(64) Channel {
        Cycle free_at = 0;
        Cycle arbitration = kNeverCycle;  ///< when the next one is scheduled
        std::uint64_t entered = 0;        ///< flits so far
        WormId holder = kNone;
        std::uint32_t coming = 0;    ///< heads that will ask for it at a known time
        std::uint32_t requests = 0;  ///< worms that ask for it, in the order in which they came
        WormId first_request = kNone;
        WormId last_request = kNone;
        HopId front = kNone;  ///< of the buffer; none if that is empty
        HopId back = kNone;
        std::uint32_t endpoint = 0;  ///< of the links of endpoints
        std::uint16_t last_port = 0;
        std::uint16_t port = 0;  ///< input of the router that it leads to
        Kind kind = Kind::wire;
        bool notes = false;  ///< has `left_`
    };
    static_assert(sizeof(Channel) == 64);
    struct Link {
        Kind kind = Kind::wire;
        std::uint32_t from = 0;    ///< router (of `in`: the endpoint's)
        std::uint32_t to = 0;      ///< router
        std::uint32_t detail = 0;  ///< direction, or endpoint
    };
    /// A head that asks for its next link, or an arbitration.
    struct Event {
        std::uint32_t head : 1;
        std::uint32_t index : 31;  ///< worm, or channel
    };
    struct Due {
        WormId worm;
        std::uint32_t generation;
    };

    std::uint32_t router(Node node) const { return node.y * shape_.columns + node.x; }
    std::uint32_t next_link(std::uint32_t at, std::uint32_t endpoint) const;
    void append_hop(Worm& worm, std::uint32_t link);
    void extend_route(WormId id, std::uint32_t at, const std::vector<std::uint32_t>& to);
    WormId make_worm(std::uint32_t flits, Network network, std::uint64_t tag);
    WormId begin(std::uint32_t from, Network network, std::uint32_t flits, std::uint64_t tag,
                 bool notify);
    Channel& channel_at(HopId hop) { return channels_[hops_[hop].channel]; }
    const Channel& channel_at(HopId hop) const { return channels_[hops_[hop].channel]; }
    static ChannelId channel_of(std::uint32_t link, Network network) {
        return static_cast<ChannelId>(link * kNetworks + static_cast<std::size_t>(network));
    }
    std::uint32_t hop_of(const Worm& worm, HopId hop) const { return hop - worm.way; }
    /// From a link of the worm, not its last, to the next one.
    Cycle head_latency(const Worm& worm, std::uint32_t hop) const {
        return hop == 0 && !worm.copy ? shape_.router_cycles
                                      : shape_.router_cycles + shape_.link_cycles;
    }
    Cycle gap_of(const Worm& worm, std::uint32_t hop) const;
    /// Least distance of two flits of a worm that are `flits` apart.
    Cycle spread(std::uint32_t flits, Cycle gap) const {
        return gap == 0 ? flits : flits + flits / shape_.buffer_flits * gap;
    }
    Cycle crossing(const Worm& worm, std::uint32_t hop, std::uint32_t flit) const;
    bool held_up(HopId hop) const;
    void note_left(const Worm& worm, std::uint32_t hop);
    const Left* left_of(ChannelId channel, std::uint64_t order) const;
    HopId owner(const Channel& channel, HopId from, std::uint64_t order) const;
    template <bool gaps>
    Cycle let_through(const Worm& worm, std::uint32_t hop, std::uint32_t flit) const;
    Cycle slot_left(ChannelId channel, std::uint64_t order) const;
    void head_ready(WormId id);
    void arbitrate(ChannelId channel);
    Cycle grantable(ChannelId channel) const;
    void grant(ChannelId channel, WormId id);
    void settle(WormId id);
    void close(WormId id, std::uint32_t hop, Cycle tail);
    void refresh(ChannelId channel);
    void arbitrate_at(ChannelId channel, Cycle time);
    void part(WormId id);
    void expect(WormId id, Cycle progress);
    void head_at(WormId id, Cycle time);
    void renew(const Due& due, Cycle time);
    Cycle rest(const Worm& worm) const;
    void note_due(WormId id, Cycle time);
    WormId blocker(WormId id) const;
    void bound(WormId id);
    void burden(WormId id, Cycle rest);
    void request(ChannelId channel, WormId id);
    void add_request(Channel& channel, WormId id);
    void arrive(WormId id, Cycle time, std::vector<Delivery>& deliveries);

    MeshShape shape_;
    std::vector<Node> endpoints_;
    Cycle in_gap_;    ///< cycles in which a link of an endpoint waits for credits, per full buffer
    Cycle wire_gap_;  ///< the same of a link between routers
    std::uint32_t longest_;  ///< way, in links
    std::vector<Link> links_;
    std::vector<Cycle> wire_free_;         ///< by link
    std::vector<LinkUse> uses_;            ///< by link
    std::vector<Channel> channels_;        ///< by link and network
    std::vector<std::vector<Left>> left_;  ///< of a channel, where credits come back too late: when
                                           ///< its last flits left
    std::uint32_t visible_links_ = 0;
    std::vector<std::array<std::uint32_t, 4>> wires_;  ///< by router and direction
    std::vector<std::uint32_t> replicators_;           ///< by router
    std::vector<std::uint32_t> in_links_;              ///< by endpoint
    std::vector<std::uint32_t> out_links_;
    std::vector<std::uint32_t> ports_;  ///< inputs, by router
    std::vector<std::uint32_t> slots_;  ///< requests that an endpoint can take, now
    std::vector<Worm> worms_;
    std::vector<Hop> hops_;  ///< `longest_` of each worm
    /// By worm: endpoints behind the router where its way ends.
    std::vector<std::vector<std::uint32_t>> forks_;
    std::vector<WormId> idle_;
    /// By twice the cycle: the heads of a cycle all ask before anything is granted in it.
    TimeWheel<Event> events_;
    /// Lower bounds of arrival, for worms that have an event before them and those that wait for
    /// them (Worm::behind): next_event() need not stop at every hop.
    TimeWheel<Due> due_;
    TimeWheel<WormId> arrivals_;  ///< known arrivals
    std::vector<Delivery> departures_;
    std::uint64_t in_flight_ = 0;
    std::uint64_t to_notify_ = 0;
    Cycle now_ = 0;
    MeshObserver* observer_ = nullptr;
};

}  // namespace npuvp::noc
