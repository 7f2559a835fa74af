// Crossbar and mesh between foreign initiators and memories, every socket checked.
#include <doctest/doctest.h>

#include <memory>

#include "memory/systemc/memory.h"
#include "noc/crossbar.h"
#include "noc/mesh.h"
#include "platform/kernel.h"
#include "support/base_protocol.h"
#include "support/components.h"

using namespace npuvp;
using test::ns;

namespace {

constexpr std::uint64_t kSize = 64 * 1024;

memory::Config ideal(std::uint64_t bytes, std::uint32_t queue) {
    memory::Config c;
    c.name = "test";
    c.organization = {1, 1, 1, 1, 1, static_cast<std::uint32_t>(bytes / 64), 1, 64};
    c.controller.queue_depth = queue;
    c.ideal.latency_ns = 40;
    c.ideal.bandwidth = 16e9;
    return c;
}

/// Two initiators, four memories: an LT and an AT one of strangers, one of ours on one node and one
/// on two nodes.
struct Bench {
    platform::Simulation simulation;
    trace::Hub hub;
    test::Protocol protocol;
    std::unique_ptr<noc::Interconnect> interconnect;
    std::vector<std::unique_ptr<sc_core::sc_module>> modules;
    std::vector<test::ProtocolChecker*> checkers;
    std::vector<test::Traffic*> traffic;
    test::LtMemory* lt = nullptr;
    test::AtMemory* at = nullptr;
    memory::Memory* ours = nullptr;

    template <class T, class... A>
    T* make(A&&... arguments) {
        auto made = std::make_unique<T>(std::forward<A>(arguments)...);
        T* raw = made.get();
        modules.push_back(std::move(made));
        return raw;
    }
    test::ProtocolChecker* checker(const char* name) {
        checkers.push_back(make<test::ProtocolChecker>(name, protocol));
        return checkers.back();
    }

    Bench(bool mesh, std::uint32_t queue, std::uint32_t request_slots) {
        platform::Simulation::Scope scope(simulation);
        std::vector<noc::Region> regions = {
            {"lt", 0, kSize, 0}, {"at", kSize, kSize, 1}, {"ours", 2 * kSize, 2 * kSize, 2, 2}};
        if (mesh) {
            noc::MeshDescription d;
            d.shape.columns = 3;
            d.shape.rows = 2;
            d.shape.buffer_flits = 4;
            d.shape.request_slots = request_slots;
            d.flit_bytes = 16;
            d.hop_fj = 1;
            d.endpoints = {{"a", {0, 0}},  {"b", {0, 1}},     {"lt", {1, 0}},
                           {"at", {1, 1}}, {"ours0", {2, 0}}, {"ours1", {2, 1}}};
            d.initiators = {0, 0, 0, 1, 1, 1};
            d.targets = {2, 3, 4, 5};
            interconnect = std::make_unique<noc::Mesh>("noc", regions, d, hub);
        } else {
            interconnect = std::make_unique<noc::Crossbar>("crossbar", regions);
        }
        // The crossbar passes responses on at once: its initiators take them at once.
        for (unsigned i = 0; i < 6; ++i) {
            const std::uint64_t where[] = {0, kSize, 2 * kSize};
            const std::uint64_t span = i % 3 == 2 ? kSize : kSize / 2;
            traffic.push_back(make<test::Traffic>(("traffic" + std::to_string(i)).c_str(),
                                                  where[i % 3] + i / 3 * span, span, 400, 5,
                                                  mesh && i % 2, i + 1));
            auto* check = checker(("initiator_check" + std::to_string(i)).c_str());
            traffic.back()->out.bind(check->in);
            interconnect->bind_initiator(check->out);
        }
        lt = make<test::LtMemory>("lt", kSize);
        at = make<test::AtMemory>("at", kSize);
        std::vector<std::unique_ptr<memory::Backend>> backends;
        for (int i = 0; i < 2; ++i)
            backends.push_back(memory::make_backend("ideal", ideal(kSize, queue)));
        ours = make<memory::Memory>("ours", std::move(backends), noc::kInterleaveBytes, hub,
                                    memory::MemoryEnergy{});
        auto* lt_check = checker("lt_check");
        interconnect->bind_target(lt_check->in);
        lt_check->out.bind(lt->in);
        auto* at_check = checker("at_check");
        interconnect->bind_target(at_check->in);
        at_check->out.bind(at->in);
        for (int i = 0; i < 2; ++i) {
            auto* check = checker(("ours_check" + std::to_string(i)).c_str());
            interconnect->bind_target(check->in);
            check->out.bind(ours->in);
        }
        sc_core::sc_start(sc_core::sc_time(1, sc_core::SC_SEC), sc_core::SC_EXIT_ON_STARVATION);
    }
    ~Bench() {
        platform::Simulation::Scope scope(simulation);
        modules.clear();
        interconnect.reset();
    }
    void check() {
        INFO((protocol.violations.empty() ? std::string() : protocol.violations.front()));
        CHECK(protocol.violations.size() == 0);
        CHECK(protocol.begun == 2 * 6 * 400);  // at the initiators and at the targets
        CHECK(protocol.ended == protocol.begun);
        for (const auto* c : checkers) CHECK(c->open() == 0);
        std::uint64_t bytes = 0;
        for (const auto* t : traffic) {
            CHECK(t->done == 400);
            CHECK(t->errors == 0);
            CHECK(t->bad_data == 0);
            bytes += t->bytes;
        }
        CHECK(lt->served == 800);
        CHECK(at->served == 800);
        CHECK(ours->outstanding() == 0);
        CHECK(ours->bytes_read() + ours->bytes_written() == traffic[2]->bytes + traffic[5]->bytes);
        CHECK(interconnect->waiting().empty());
    }
};

}  // namespace

TEST_CASE("crossbar: base protocol holds with LT-only, AT-only and our memories") {
    Bench(false, 64, 8).check();
}

TEST_CASE("crossbar: a memory with room for one access makes requests wait, within the protocol") {
    Bench(false, 1, 8).check();
}

TEST_CASE("mesh: base protocol holds with LT-only, AT-only and our memories") {
    Bench bench(true, 64, 8);
    bench.check();
    // Every transaction was one packet there and one back.
    const auto& mesh = dynamic_cast<noc::Mesh&>(*bench.interconnect);
    CHECK(mesh.packets_delivered() == 2 * 6 * 400);
    CHECK(mesh.timing().in_flight() == 0);
}

TEST_CASE("mesh: full memory and single request slots press back, within the protocol") {
    Bench(true, 1, 1).check();
}
