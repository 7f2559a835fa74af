#pragma once

#include <systemc>

#include <mutex>

namespace npuvp::platform {

/// SystemC keeps its state behind two global pointers. Each Simulation owns a context of its own;
/// a Scope makes it the current one, and holds the lock that the process-wide kernel needs. Build
/// modules, run, read and destroy them inside a Scope. Scopes nest within one thread.
class Simulation {
  public:
    Simulation();
    ~Simulation();
    Simulation(const Simulation&) = delete;
    Simulation& operator=(const Simulation&) = delete;

    class Scope {
      public:
        explicit Scope(Simulation& simulation);
        ~Scope();
        Scope(const Scope&) = delete;
        Scope& operator=(const Scope&) = delete;
        /// Steps aside, so that others may use the kernel, and comes back: by the thread that made
        /// it.
        void suspend();
        void resume();

      private:
        Simulation& simulation_;
        std::unique_lock<std::recursive_mutex> lock_;
        sc_core::sc_simcontext* previous_current_;
        sc_core::sc_simcontext* previous_default_;
    };

  private:
    sc_core::sc_simcontext* context_;
};

}  // namespace npuvp::platform
