#include "platform/kernel.h"

// libsystemc refers to a global sc_main; the platform starts simulations itself and never calls it.
extern "C" __attribute__((visibility("default"))) int sc_main(int, char*[]) {
    return 0;
}

namespace npuvp::platform {

namespace {
std::recursive_mutex& kernel_lock() {
    static std::recursive_mutex lock;
    return lock;
}
}  // namespace

Simulation::Simulation() {
    std::lock_guard<std::recursive_mutex> lock(kernel_lock());
    static const bool quiet = [] {
        // Elaboration alone starts the kernel without any activity; everything else still reports.
        sc_core::sc_report_handler::set_actions(sc_core::SC_ID_NO_SC_START_ACTIVITY_,
                                                sc_core::SC_DO_NOTHING);
        return true;
    }();
    (void)quiet;
    context_ = new sc_core::sc_simcontext;
}

Simulation::~Simulation() {
    std::lock_guard<std::recursive_mutex> lock(kernel_lock());
    if (sc_core::sc_curr_simcontext == context_) sc_core::sc_curr_simcontext = nullptr;
    if (sc_core::sc_default_global_context == context_)
        sc_core::sc_default_global_context = nullptr;
    delete context_;
}

Simulation::Scope::Scope(Simulation& simulation)
    : simulation_(simulation), lock_(kernel_lock(), std::defer_lock) {
    resume();
}

Simulation::Scope::~Scope() {
    suspend();
}

void Simulation::Scope::resume() {
    lock_.lock();
    previous_current_ = sc_core::sc_curr_simcontext;
    previous_default_ = sc_core::sc_default_global_context;
    sc_core::sc_curr_simcontext = simulation_.context_;
    sc_core::sc_default_global_context = simulation_.context_;
}

void Simulation::Scope::suspend() {
    sc_core::sc_curr_simcontext = previous_current_;
    sc_core::sc_default_global_context = previous_default_;
    lock_.unlock();
}

}  // namespace npuvp::platform
