#include "bindings/bindings.h"

namespace nb = nanobind;

NB_MODULE(_core, m) {
    // A platform in a script's globals keeps its last machine until the interpreter is gone.
    nb::set_leak_warnings(false);
    m.doc() = "Private extension module of npuvp: use the package npuvp.";
    npuvp::bindings::convert(m);
    npuvp::bindings::flow(m);
    npuvp::bindings::isa(m);
    npuvp::bindings::machine(m);
    npuvp::bindings::debugger(m);
    npuvp::bindings::estimate(m);
    npuvp::bindings::memory_model(m);
    npuvp::bindings::numerics(m);
    npuvp::bindings::trace(m);
}
