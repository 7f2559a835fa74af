#include "platform/machine.h"

#include <csignal>
#include <cstdio>
#include <exception>
#include <stdexcept>

#include <tlm_utils/simple_target_socket.h>

#include "core/digest.h"
#include "noc/crossbar.h"

namespace npuvp::platform {

namespace {

volatile bool interrupted = false;
void on_interrupt(int) {
    interrupted = true;
}

/// Ctrl-C ends the run instead of the process while one of these lives.
class InterruptGuard {
  public:
    InterruptGuard() { resume(); }
    ~InterruptGuard() { suspend(); }
    void resume() {
        interrupted = false;
        struct sigaction action{};
        action.sa_handler = on_interrupt;
        sigaction(SIGINT, &action, &previous_);
    }
    void suspend() { sigaction(SIGINT, &previous_, nullptr); }

  private:
    struct sigaction previous_{};
};

}  // namespace

/// What a run holds of the process.
struct Machine::Running {
    Simulation::Scope scope;
    InterruptGuard guard;
};

/// Binds a ForeignTarget to a socket.
struct Machine::Foreign : sc_core::sc_module {
    tlm_utils::simple_target_socket<Foreign> in;
    std::shared_ptr<ForeignTarget> target;
    std::uint64_t latency_ps;
    std::exception_ptr error;

    Foreign(sc_core::sc_module_name name, const TargetDescription& description)
        : sc_module(name),
          in("in"),
          target(description.target),
          latency_ps(description.latency_ps) {
        in.register_b_transport(this, &Foreign::b_transport);
        in.register_transport_dbg(this, &Foreign::transport_dbg);
    }
    bool access(tlm::tlm_generic_payload& payload) {
        try {
            target->access(payload.is_write(), payload.get_address(), payload.get_data_ptr(),
                           payload.get_data_length());
            return true;
        } catch (...) {
            error = std::current_exception();
            sc_core::sc_pause();
            return false;
        }
    }
    void b_transport(tlm::tlm_generic_payload& payload, sc_core::sc_time& delay) {
        delay += sc_core::sc_time::from_value(latency_ps);
        payload.set_response_status(access(payload) ? tlm::TLM_OK_RESPONSE
                                                    : tlm::TLM_GENERIC_ERROR_RESPONSE);
    }
    unsigned transport_dbg(tlm::tlm_generic_payload& payload) {
        target->access(payload.is_write(), payload.get_address(), payload.get_data_ptr(),
                       payload.get_data_length());
        return payload.get_data_length();
    }
};

Machine::Machine(const MachineDescription& description, bool functional)
    : description_(description) {
    Simulation::Scope scope(simulation_);
    interconnect_ = make_interconnect();
    for (std::size_t i = 0; i < description.cores.size(); ++i) {
        const CoreDescription& c = description.cores[i];
        core::Environment env;
        env.core_index = static_cast<std::uint32_t>(i);
        env.core_count = static_cast<std::uint32_t>(description.cores.size());
        env.period_ps = description.period_ps;
        env.window_bytes = description.core_window;
        env.host_base = description.host_base + i * host::Host::page_bytes;
        env.semaphore_base = description.semaphore_base;
        env.semaphores = description.semaphores;
        for (const CoreDescription& peer : description.cores)
            env.cores.push_back({peer.base, static_cast<std::uint64_t>(peer.parameters.vlen),
                                 peer.parameters.vector_format,
                                 static_cast<std::uint64_t>(peer.parameters.vector_sram_bytes)});
        env.functional = functional;
        env.quantum_cycles = std::max<std::uint64_t>(
            1, static_cast<std::uint64_t>(c.parameters.quantum) / description.period_ps);
        env.interrupted = &interrupted;
        env.on_finished = [this] {
            if (--running_ == 0) sc_core::sc_pause();
        };
        env.on_trap = [this] {
            trapped_ = true;
            sc_core::sc_pause();
        };
        env.owner_of = [this](std::uint64_t address) { return owner_of(address); };
        env.mapped_bytes = [this](std::uint64_t address, std::uint64_t bytes) {
            return mapped_bytes(address, bytes);
        };
        cores_.push_back(
            std::make_unique<core::Core>(c.name.c_str(), c.parameters, c.energy, env, hub_));
        bind(cores_.back()->dma.out);
        bind(cores_.back()->control);
    }
    for (const MemoryDescription& m : description.memories) {
        std::vector<std::unique_ptr<memory::Backend>> backends;
        for (std::size_t i = 0; i < std::max<std::size_t>(1, m.nodes.size()); ++i)
            backends.push_back(memory::make_backend(m.backend, m.config));
        const std::size_t nodes = backends.size();
        memories_.push_back(std::make_unique<memory::Memory>(
            m.name.c_str(), std::move(backends), noc::kInterleaveBytes, hub_, m.energy));
        for (std::size_t i = 0; i < nodes; ++i) bind(memories_.back()->in);
    }
    for (auto& c : cores_) bind(c->window);
    host_ = std::make_unique<host::Host>("host", static_cast<std::uint32_t>(cores_.size()),
                                         description.host_fifo_words, hub_);
    bind(host_->in);
    semaphores_ = std::make_unique<host::Semaphores>("semaphores", description.semaphores,
                                                     description.period_ps, hub_);
    bind(semaphores_->in);
    for (const TargetDescription& t : description.targets) {
        foreign_.push_back(std::make_unique<Foreign>(t.name.c_str(), t));
        bind(foreign_.back()->in);
    }
    sc_core::sc_start(sc_core::SC_ZERO_TIME);  // elaborates; cores have no text yet and wait
}

/// The mesh or the bus, with its regions. Initiators: per core its DMA, then its control port.
/// Targets: the nodes of every memory, the windows of the cores, the host, the semaphores (at the
/// host's port), the foreign ones.
std::unique_ptr<noc::Interconnect> Machine::make_interconnect() {
    const MachineDescription& d = description_;
    std::vector<noc::Region> regions;
    noc::MeshDescription mesh;
    unsigned target = 0;
    const auto port = [&](const std::string& name, noc::Node node) {
        mesh.endpoints.push_back({name, node});
        return static_cast<std::uint32_t>(mesh.endpoints.size() - 1);
    };
    for (const MemoryDescription& m : d.memories) {
        const auto nodes = static_cast<unsigned>(std::max<std::size_t>(1, m.nodes.size()));
        regions.push_back({m.name, m.base, m.bytes, target, nodes});
        target += nodes;
        for (std::size_t i = 0; i < m.nodes.size(); ++i)
            mesh.targets.push_back(
                port(nodes > 1 ? m.name + "_" + std::to_string(i) : m.name, m.nodes[i]));
    }
    for (const CoreDescription& c : d.cores) {
        regions.push_back({c.name, c.base, d.core_window, target++});
        const std::uint32_t at = port(c.name, c.node);
        mesh.targets.push_back(at);
        mesh.initiators.insert(mesh.initiators.end(), {at, at});
    }
    regions.push_back({"host", d.host_base, d.cores.size() * host::Host::page_bytes, target++});
    const std::uint32_t host_port = port("host", d.host_node);
    mesh.targets.push_back(host_port);
    regions.push_back({"semaphores", d.semaphore_base, host::Semaphores::bytes, target++, 1, true});
    mesh.targets.push_back(host_port);
    for (const TargetDescription& t : d.targets) {
        regions.push_back({t.name, t.base, t.bytes, target++});
        mesh.targets.push_back(port(t.name, t.node));
    }
    if (!d.noc) return std::make_unique<noc::Crossbar>("crossbar", std::move(regions));
    mesh.shape = d.noc->shape;
    mesh.period_ps = d.period_ps;
    mesh.flit_bytes = d.noc->flit_bytes;
    mesh.hop_fj = d.noc->hop_fj;
    auto made =
        std::make_unique<noc::Mesh>(d.noc->name.c_str(), std::move(regions), std::move(mesh), hub_);
    mesh_ = made.get();
    return made;
}

void Machine::bind(tlm::tlm_base_initiator_socket<>& initiator) {
    if (description_.probe)
        description_.probe->connect(initiator, *interconnect_);
    else
        interconnect_->bind_initiator(initiator);
}

void Machine::bind(tlm::tlm_base_target_socket_b<>& target) {
    if (description_.probe)
        description_.probe->connect(*interconnect_, target);
    else
        interconnect_->bind_target(target);
}

std::vector<std::string> Machine::waiting() const {
    return interconnect_->waiting();
}

Machine::~Machine() {
    Simulation::Scope scope(simulation_);
    foreign_.clear();
    semaphores_.reset();  // gives back transactions that belong to the cores
    cores_.clear();
    memories_.clear();
    host_.reset();
    interconnect_.reset();
}

std::string Machine::owner_of(std::uint64_t address) const {
    char text[32];
    for (const auto& region : description_.regions)
        if (address >= region.base && address - region.base < region.bytes) {
            std::snprintf(text, sizeof text, " + 0x%llx",
                          static_cast<unsigned long long>(address - region.base));
            return region.name + text;
        }
    std::string known;
    for (const auto& region : description_.regions) {
        std::snprintf(text, sizeof text, "0x%llx..0x%llx",
                      static_cast<unsigned long long>(region.base),
                      static_cast<unsigned long long>(region.base + region.bytes - 1));
        known += (known.empty() ? "" : ", ") + region.name + " " + text;
    }
    return "in no region (" + known + ")";
}

std::uint64_t Machine::mapped_bytes(std::uint64_t address, std::uint64_t bytes) const {
    std::uint64_t mapped = 0;
    for (bool found = true; found && mapped < bytes;) {
        found = false;
        for (const auto& region : description_.regions) {
            const std::uint64_t at = address + mapped;
            if (at < region.base || at - region.base >= region.bytes) continue;
            mapped += region.base + region.bytes - at;
            found = true;
        }
    }
    return std::min(mapped, bytes);
}

void Machine::access(bool write, std::uint64_t address, std::uint8_t* data, std::uint64_t bytes) {
    Simulation::Scope scope(simulation_);
    const noc::Region* region = interconnect_->map.find(address, bytes);
    if (!region) {
        char text[64];
        std::snprintf(text, sizeof text, "0x%llx..0x%llx ",
                      static_cast<unsigned long long>(address),
                      static_cast<unsigned long long>(address + bytes - 1));
        throw std::out_of_range(std::string(text) + owner_of(address));
    }
    constexpr std::uint64_t piece = 1u << 30;
    for (std::uint64_t done = 0; done < bytes;) {
        const auto count = static_cast<unsigned>(std::min(piece, bytes - done));
        tlm::tlm_generic_payload payload;
        payload.set_command(write ? tlm::TLM_WRITE_COMMAND : tlm::TLM_READ_COMMAND);
        payload.set_address(address + done);
        payload.set_data_ptr(data + done);
        payload.set_data_length(count);
        payload.set_streaming_width(count);
        if (interconnect_->debug(*region, payload) != count) {
            char text[64];
            std::snprintf(text, sizeof text, "0x%llx..0x%llx",
                          static_cast<unsigned long long>(address),
                          static_cast<unsigned long long>(address + bytes - 1));
            throw std::out_of_range(std::string(text) + " is not all storage of " +
                                    owner_of(address));
        }
        done += count;
    }
}

/// There is a reason not to go on.
bool Machine::stopped() const {
    bool failed = false;
    for (const auto& f : foreign_) failed = failed || f->error;
    return running_ == 0 || trapped_ || interrupted || given_up_ || failed;
}

/// Runs to the end; false where the watchdog has ended it. Time passes in pieces as long as the
/// watchdog's, without events of its own: those would keep a simulation alive that has starved.
bool Machine::simulate() {
    const auto activities = [this] {
        std::vector<core::Core::Activity> found;
        for (const auto& c : cores_) found.push_back(c->activity());
        return found;
    };
    std::vector<core::Core::Activity> before = activities();
    while (true) {
        const sc_core::sc_time left = sc_core::sc_max_time() - sc_core::sc_time_stamp();
        const auto piece =
            description_.watchdog_ps
                ? std::min(sc_core::sc_time::from_value(description_.watchdog_ps), left)
                : left;
        sc_core::sc_start(piece, sc_core::SC_EXIT_ON_STARVATION);
        if (stopped() || !sc_core::sc_pending_activity()) return true;
        const std::vector<core::Core::Activity> now = activities();
        bool progress = false;
        for (std::size_t i = 0; i < now.size(); ++i) progress = progress || now[i].since(before[i]);
        if (!progress) return false;
        before = now;
    }
}

Outcome Machine::run() {
    if (ran_) throw std::logic_error("a machine runs once");
    ran_ = true;
    Running run{Simulation::Scope(simulation_), {}};
    run_ = &run;
    running_ = cores_.size();
    hub_.start_worker();
    host_->launch(0);
    for (auto& c : cores_) c->start();
    const bool stalled = !simulate();
    for (auto& c : cores_) end_ps_ = std::max(end_ps_, c->end_ps());
    end_ps_ = std::max<std::uint64_t>(end_ps_,
                                      trapped_ || running_ ? sc_core::sc_time_stamp().value() : 0);
    for (auto& m : memories_) m->finish(end_ps_);
    if (!trapped_ && running_ == 0) host_->done(end_ps_);
    hub_.finish(end_ps_);
    run_ = nullptr;
    for (auto& f : foreign_)
        if (f->error) std::rethrow_exception(f->error);
    if (trapped_) return Outcome::trapped;
    if (interrupted) return Outcome::interrupted;
    if (stalled) return Outcome::stalled;
    return running_ ? Outcome::deadlocked : Outcome::finished;
}

void Machine::give_up() {
    given_up_ = true;
    sc_core::sc_pause();
}

void Machine::step_aside() {
    run_->guard.suspend();
    run_->scope.suspend();
}

void Machine::step_back() {
    run_->scope.resume();
    run_->guard.resume();
}

bool Machine::take_interrupt() {
    const bool was = interrupted;
    interrupted = false;
    return was;
}

std::vector<std::pair<std::string, std::uint64_t>> Machine::digests() {
    std::vector<std::pair<std::string, std::uint64_t>> parts;
    for (const auto& c : cores_)
        for (const auto& [part, value] : c->digests())
            parts.emplace_back(std::string(c->name()) + "." + part, value);
    for (const auto& m : memories_) {
        std::uint64_t sum = 0;  // pages come in no order
        m->contents().for_each_page([&](std::uint64_t address, const std::uint8_t* data) {
            core::Digest digest;
            digest.add(address);
            digest.bytes(data, memory::SparseStore::page_bytes);
            sum += digest.value();
        });
        core::Digest digest;
        digest.add(sum);
        digest.add(m->bytes_read());
        digest.add(m->bytes_written());
        digest.add(m->outstanding());
        parts.emplace_back(m->name(), digest.value());
    }
    core::Digest energy;
    for (const trace::Source& source : hub_.sources()) energy.add(source.dynamic_fj);
    parts.emplace_back("energy", energy.value());
    core::Digest time;
    time.add(now_ps());
    parts.emplace_back("time", time.value());
    return parts;
}

std::uint64_t Machine::now_ps() {
    Simulation::Scope scope(simulation_);
    return sc_core::sc_time_stamp().value();
}

std::uint64_t Machine::progress_ps() const {
    std::uint64_t furthest = 0;
    for (const auto& c : cores_)
        furthest = std::max(furthest, c->local_cycle() * description_.period_ps);
    return furthest;
}

}  // namespace npuvp::platform
