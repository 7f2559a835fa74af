#pragma once

#include <cstdint>

namespace npuvp::core {

class Core;
struct Descriptor;

/// Whom a core tells what it does: a debugger. Without one it runs a loop that knows of none. A
/// call may last as long as it likes: the simulation stands still meanwhile, and nothing in it
/// changes. An answer of false gives the run up: the core leaves its loop.
class Observer {
  public:
    virtual ~Observer() = default;
    /// Before an instruction is tried, and again after it had to wait.
    virtual bool before(Core& core) = 0;
    /// After the instruction at `pc`, or after the program's end was reached there.
    virtual bool after(Core& core, std::uint32_t pc) = 0;
    /// After a transfer of this core, data in place.
    virtual void transferred(Core& core, const Descriptor& descriptor) = 0;
};

}  // namespace npuvp::core
