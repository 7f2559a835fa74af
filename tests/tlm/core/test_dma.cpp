// The burst engine against a target that answers after a fixed time: what it requests, and when.
#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <vector>

#include <tlm_utils/simple_target_socket.h>

#include "core/dma.h"
#include "platform/kernel.h"

using namespace npuvp;

namespace {

constexpr std::uint64_t ns = 1000;

/// Takes every request at once and answers it `latency` later.
struct Target : sc_core::sc_module {
    struct Seen {
        std::uint64_t at, address;
        unsigned bytes;
        bool write;
        std::vector<std::uint64_t> others;
    };
    tlm_utils::simple_target_socket<Target> in;
    std::uint64_t latency;
    std::vector<Seen> seen;
    std::multimap<std::uint64_t, tlm::tlm_generic_payload*> due;
    unsigned reads = 0, writes = 0, most_reads = 0, most_writes = 0;
    sc_core::sc_event answer_event;
    SC_HAS_PROCESS(Target);

    Target(sc_core::sc_module_name name, std::uint64_t latency_ps)
        : sc_module(name), in("in"), latency(latency_ps) {
        in.register_nb_transport_fw(this, &Target::forward);
        SC_METHOD(answer);
        sensitive << answer_event;
        dont_initialize();
    }
    tlm::tlm_sync_enum forward(tlm::tlm_generic_payload& p, tlm::tlm_phase& phase,
                               sc_core::sc_time&) {
        if (phase != tlm::BEGIN_REQ) return tlm::TLM_COMPLETED;
        p.acquire();
        const std::uint64_t now = sc_core::sc_time_stamp().value();
        const auto* multicast = p.get_extension<noc::Multicast>();
        seen.push_back({now, p.get_address(), p.get_data_length(), p.is_write(),
                        multicast ? multicast->others : std::vector<std::uint64_t>{}});
        most_reads = std::max(most_reads, reads += p.is_read());
        most_writes = std::max(most_writes, writes += p.is_write());
        due.emplace(now + latency, &p);
        answer_event.notify(sc_core::sc_time::from_value(due.begin()->first - now));
        phase = tlm::END_REQ;
        return tlm::TLM_UPDATED;
    }
    void answer() {
        const std::uint64_t now = sc_core::sc_time_stamp().value();
        while (!due.empty() && due.begin()->first <= now) {
            tlm::tlm_generic_payload& p = *due.begin()->second;
            due.erase(due.begin());
            (p.is_read() ? reads : writes) -= 1;
            p.set_response_status(tlm::TLM_OK_RESPONSE);
            tlm::tlm_phase phase = tlm::BEGIN_RESP;
            sc_core::sc_time delay = sc_core::SC_ZERO_TIME;
            in->nb_transport_bw(p, phase, delay);
            p.release();
        }
        if (!due.empty())
            answer_event.notify(sc_core::sc_time::from_value(due.begin()->first - now));
    }
};

core::DmaTiming timing(std::uint32_t ports = 1) {
    core::DmaTiming t{};
    t.period_ps = ns;
    t.ports = ports;
    t.port_bytes = 32;
    t.burst_bytes = 4096;
    t.outstanding_reads = 4;
    t.outstanding_writes = 3;
    t.queue_depth = 2;
    t.start_cycles = 0;
    return t;
}

struct Bench {
    platform::Simulation simulation;
    platform::Simulation::Scope scope{simulation};
    trace::Hub hub;
    std::unique_ptr<core::Dma> dma;
    std::unique_ptr<Target> target;
    std::vector<std::uint64_t> done;  ///< when each descriptor was

    explicit Bench(const core::DmaTiming& t, std::uint64_t latency = 1000 * ns) {
        dma = std::make_unique<core::Dma>("dma", t, hub);
        target = std::make_unique<Target>("target", latency);
        dma->out.bind(target->in);
        dma->on_done = [this](core::Descriptor&) {
            done.push_back(sc_core::sc_time_stamp().value());
        };
        dma->on_error = [](const core::Descriptor&, std::uint64_t, std::uint32_t) {
            FAIL("no request fails here");
        };
        sc_core::sc_start(sc_core::SC_ZERO_TIME);
    }
    std::unique_ptr<core::Descriptor> make(bool to_sram, std::vector<core::Segment> segments) {
        auto d = std::make_unique<core::Descriptor>();
        d->start_ps = sc_core::sc_time_stamp().value();
        d->to_sram = to_sram;
        std::uint32_t bytes = 0;
        for (const core::Segment& s : segments) bytes = std::max(bytes, s.staging + s.bytes);
        d->segments = std::move(segments);
        d->staging.resize(bytes);
        return d;
    }
    void run() { sc_core::sc_start(); }
};

}  // namespace

TEST_CASE("dma: bursts do not cross multiples of the burst size") {
    Bench bench(timing());
    // 64 bytes before a boundary, two whole bursts and one byte behind; then a gather of two.
    bench.dma->push(bench.make(true, {{4096 - 64, 64 + 2 * 4096 + 1, 0}}));
    bench.dma->push(bench.make(true, {{1 << 20, 4096, 0}, {(1 << 20) + 8191, 2, 4096}}));
    bench.run();
    std::vector<std::pair<std::uint64_t, unsigned>> found;
    for (const auto& s : bench.target->seen) found.emplace_back(s.address, s.bytes);
    CHECK(found == std::vector<std::pair<std::uint64_t, unsigned>>{{4032, 64},
                                                                   {4096, 4096},
                                                                   {8192, 4096},
                                                                   {12288, 1},
                                                                   {1 << 20, 4096},
                                                                   {(1 << 20) + 8191, 1},
                                                                   {(1 << 20) + 8192, 1}});
    CHECK(bench.done.size() == 2);
    CHECK(bench.dma->bytes_read() == 64 + 2 * 4096 + 1 + 4096 + 2);
    CHECK(bench.dma->idle());
}

TEST_CASE("dma: as many reads and writes are under way as each port may have") {
    for (const std::uint32_t ports : {1u, 2u}) {
        for (const bool read : {true, false}) {
            const std::uint32_t limit = ports * (read ? 4 : 3);
            for (const std::uint32_t bursts : {limit, limit + 1}) {
                Bench bench(timing(ports), 1'000'000 * ns);
                bench.dma->push(bench.make(read, {{0, bursts * 4096, 0}}));
                bench.run();
                CHECK((read ? bench.target->most_reads : bench.target->most_writes) == limit);
                REQUIRE(bench.target->seen.size() == bursts);
                // The one above the limit waits for an answer, the others do not.
                CHECK(bench.target->seen[limit - 1].at == 0);
                if (bursts > limit) CHECK(bench.target->seen[limit].at >= 1'000'000 * ns);
            }
        }
    }
}

TEST_CASE("dma: the descriptor queue is full at its depth and not before") {
    Bench bench(timing());
    CHECK(bench.dma->idle());
    bench.dma->push(bench.make(true, {{0, 32, 0}}));
    CHECK_FALSE(bench.dma->full());
    bench.dma->push(bench.make(true, {{64, 32, 0}}));
    CHECK(bench.dma->full());
    bench.run();
    CHECK_FALSE(bench.dma->full());
    CHECK(bench.done.size() == 2);
}

TEST_CASE("dma: data takes the width of the ports") {
    // The last byte is there when the answer is, or when the ports have carried all of it.
    for (const std::uint32_t ports : {1u, 2u, 4u}) {
        Bench bench(timing(ports), 10 * ns);
        bench.dma->push(bench.make(true, {{0, 4 * 4096, 0}}));
        bench.run();
        REQUIRE(bench.done.size() == 1);
        CHECK(bench.done[0] == 4 * 4096 / (ports * 32) * ns);
    }
    Bench slow(timing(4), 5000 * ns);
    slow.dma->push(slow.make(true, {{0, 4 * 4096, 0}}));
    slow.run();
    // All four answers come at once: the first has streamed in, the others follow it.
    CHECK(slow.done[0] == (5000 + 3 * 4096 / (4 * 32)) * ns);
}

TEST_CASE("dma: a copy writes when all is read, and a multicast names every place") {
    Bench bench(timing());
    auto copy = bench.make(true, {{0, 8192, 0}});
    copy->writes = {{1 << 20, 8192, 0}};
    bench.dma->push(std::move(copy));
    auto multicast = bench.make(false, {{2 << 20, 64, 0}});
    multicast->copies = {4096, 3 * 4096};
    bench.dma->push(std::move(multicast));
    bench.run();
    REQUIRE(bench.target->seen.size() == 5);
    const auto& seen = bench.target->seen;
    CHECK((!seen[0].write && !seen[1].write && seen[2].write && seen[3].write));
    CHECK(seen[2].at >= 1000 * ns);
    CHECK(seen[2].address == 1 << 20);
    CHECK(seen[3].others.empty());
    CHECK(seen[4].others == std::vector<std::uint64_t>{(2 << 20) + 4096, (2 << 20) + 3 * 4096});
    CHECK(bench.dma->bytes_written() == 8192 + 64);
    CHECK(bench.dma->bytes_read() == 8192);
    CHECK(bench.done.size() == 2);
}
