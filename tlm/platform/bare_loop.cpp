#include "platform/bare_loop.h"

#include <tlm_utils/simple_initiator_socket.h>
#include <tlm_utils/simple_target_socket.h>
#include <systemc>
#include <tlm>

#include <chrono>

#include "platform/kernel.h"

namespace npuvp::platform {

namespace {

struct Target : sc_core::sc_module {
    tlm_utils::simple_target_socket<Target> in;
    explicit Target(sc_core::sc_module_name name) : sc_module(name), in("in") {
        in.register_b_transport(this, &Target::b_transport);
    }
    void b_transport(tlm::tlm_generic_payload& payload, sc_core::sc_time&) {
        payload.set_response_status(tlm::TLM_OK_RESPONSE);
    }
};

struct Initiator : sc_core::sc_module {
    SC_HAS_PROCESS(Initiator);
    tlm_utils::simple_initiator_socket<Initiator> out;
    std::uint64_t count;
    Initiator(sc_core::sc_module_name name, std::uint64_t loops)
        : sc_module(name), out("out"), count(loops) {
        SC_THREAD(run);
    }
    void run() {
        unsigned char data[4] = {};
        tlm::tlm_generic_payload payload;
        payload.set_command(tlm::TLM_READ_COMMAND);
        payload.set_data_ptr(data);
        payload.set_data_length(sizeof data);
        payload.set_streaming_width(sizeof data);
        const sc_core::sc_time cycle(1, sc_core::SC_NS);
        for (std::uint64_t i = 0; i < count; ++i) {
            sc_core::sc_time delay = sc_core::SC_ZERO_TIME;
            payload.set_address(4 * i % 4096);
            out->b_transport(payload, delay);
            wait(delay + cycle);
        }
    }
};

}  // namespace

double bare_loop(std::uint64_t count) {
    Simulation simulation;
    Simulation::Scope scope(simulation);
    Initiator initiator("initiator", count);
    Target target("target");
    initiator.out.bind(target.in);
    sc_core::sc_start(sc_core::SC_ZERO_TIME);
    const auto begin = std::chrono::steady_clock::now();
    sc_core::sc_start();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace npuvp::platform
