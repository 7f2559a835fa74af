#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/core.h"
#include "host/host.h"
#include "host/semaphores.h"
#include "memory/config.h"
#include "memory/systemc/memory.h"
#include "noc/interconnect.h"
#include "noc/mesh.h"
#include "parameters.h"
#include "platform/kernel.h"
#include "trace/hub.h"

namespace npuvp::platform {

struct CoreDescription {
    std::string name;
    std::uint64_t base = 0;
    CoreParameters parameters;
    core::CoreEnergy energy;
    noc::Node node;
};

struct MemoryDescription {
    std::string name;
    std::uint64_t base = 0;
    std::uint64_t bytes = 0;
    std::string backend;
    memory::Config config;
    memory::MemoryEnergy energy;
    std::vector<noc::Node>
        nodes;  ///< of the mesh; `config` describes the channels behind one of them
};

/// A memory-mapped target that lives outside this library (a Python class).
class ForeignTarget {
  public:
    virtual ~ForeignTarget() = default;
    /// Bytes [offset, offset + bytes) of the target; a thrown exception ends the run.
    virtual void access(bool write, std::uint64_t offset, std::uint8_t* data, unsigned bytes) = 0;
};

struct TargetDescription {
    std::string name;
    std::uint64_t base = 0;
    std::uint64_t bytes = 0;
    std::uint64_t latency_ps = 0;
    std::shared_ptr<ForeignTarget> target;
    noc::Node node;
};

/// The mesh; without one, a bus without contention connects everything.
struct NocDescription {
    std::string name;
    noc::MeshShape shape;
    std::uint32_t flit_bytes = 64;
    std::uint64_t hop_fj = 0;
};

/// Stands between the sockets of components and the interconnect, to watch what passes.
class Probe {
  public:
    virtual ~Probe() = default;
    virtual void connect(tlm::tlm_base_initiator_socket<>& initiator,
                         noc::Interconnect& interconnect) = 0;
    virtual void connect(noc::Interconnect& interconnect,
                         tlm::tlm_base_target_socket_b<>& target) = 0;
};

struct MachineDescription {
    std::string name;
    std::uint64_t period_ps = 1000;
    std::uint64_t watchdog_ps = 0;  ///< a run without progress for so long ends; 0: never
    std::uint64_t core_window = 0;
    std::vector<CoreDescription> cores;
    std::vector<MemoryDescription> memories;
    std::vector<TargetDescription> targets;
    std::uint64_t host_base = 0;
    std::uint32_t host_fifo_words = 1024;
    noc::Node host_node;
    std::optional<NocDescription> noc;
    std::uint64_t semaphore_base = 0;
    std::uint32_t semaphores = 0;
    struct NamedRegion {
        std::string name;
        std::uint64_t base;
        std::uint64_t bytes;
    };
    std::vector<NamedRegion> regions;  ///< of the whole map, for messages
    Probe* probe = nullptr;            ///< outlives the machine's construction
};

/// `deadlocked`: nothing can happen any more; `stalled`: the watchdog saw no progress.
enum class Outcome : std::uint8_t { finished, trapped, deadlocked, stalled, interrupted, failed };

/// One elaborated platform in a simulation context of its own; it runs once.
class Machine {
  public:
    Machine(const MachineDescription& description, bool functional);
    ~Machine();

    trace::Hub& hub() { return hub_; }
    std::size_t core_count() const { return cores_.size(); }
    core::Core& core(std::size_t index) { return *cores_.at(index); }
    memory::Memory& memory(std::size_t index) { return *memories_.at(index); }
    std::size_t memory_count() const { return memories_.size(); }
    host::Host& host() { return *host_; }
    /// nullptr without a mesh.
    const noc::Mesh* mesh() const { return mesh_; }
    /// What waits outside the cores, one line each, for the message of a run that cannot go on.
    std::vector<std::string> waiting() const;

    /// Reads or writes by global address without time passing.
    /// @throws std::out_of_range naming the address, if it is in no region.
    void access(bool write, std::uint64_t address, std::uint8_t* data, std::uint64_t bytes);

    /// Runs until every core has halted and all it started is complete, or something goes wrong.
    /// Rethrows what a foreign target threw.
    Outcome run();
    /// From within run(): ends it where it stands.
    void give_up();
    /// From within run(), in its thread: lets other threads read the machine and use the kernel,
    /// and takes it back. Ctrl-C belongs to the process meanwhile.
    void step_aside();
    void step_back();
    /// Whether Ctrl-C was pressed while the machine runs; asked once.
    static bool take_interrupt();
    /// Numbers by part of the state, equal where it is equal.
    std::vector<std::pair<std::string, std::uint64_t>> digests();
    std::uint64_t now_ps();
    std::uint64_t end_ps() const { return end_ps_; }
    /// Furthest core clock; may be read by another thread while the run goes on.
    std::uint64_t progress_ps() const;
    std::string owner_of(std::uint64_t address) const;
    /// See core::Environment::mapped_bytes.
    std::uint64_t mapped_bytes(std::uint64_t address, std::uint64_t bytes) const;

  private:
    struct Foreign;
    struct Running;

    bool stopped() const;
    bool simulate();
    std::unique_ptr<noc::Interconnect> make_interconnect();
    void bind(tlm::tlm_base_initiator_socket<>& initiator);
    void bind(tlm::tlm_base_target_socket_b<>& target);

    MachineDescription description_;
    trace::Hub hub_;
    Simulation simulation_;
    std::unique_ptr<noc::Interconnect> interconnect_;
    noc::Mesh* mesh_ = nullptr;  ///< the same, where it is one
    std::unique_ptr<host::Host> host_;
    std::unique_ptr<host::Semaphores> semaphores_;
    std::vector<std::unique_ptr<memory::Memory>> memories_;
    std::vector<std::unique_ptr<core::Core>> cores_;
    std::vector<std::unique_ptr<Foreign>> foreign_;
    std::size_t running_ = 0;
    Running* run_ = nullptr;  ///< while run() goes on
    bool trapped_ = false;
    bool ran_ = false;
    bool given_up_ = false;
    std::uint64_t end_ps_ = 0;
};

}  // namespace npuvp::platform
