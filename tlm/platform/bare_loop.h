#pragma once

#include <cstdint>

namespace npuvp::platform {

/// The yardstick of the instruction benchmark: a thread that does `count` times what the simplest
/// instruction-set simulator does, a b_transport to a target without latency and a wait of one
/// cycle, in a simulation of its own. Returns the seconds that it took.
double bare_loop(std::uint64_t count);

}  // namespace npuvp::platform
