#include "core/core.h"

namespace npuvp::core {

template <bool functional>
bool Core::execute_matrix(const D& d) {
    throw Trap{std::string(isa::info(d.op).mnemonic) + " is not supported by this machine", ""};
}

template bool Core::execute_matrix<true>(const D&);
template bool Core::execute_matrix<false>(const D&);

}  // namespace npuvp::core
