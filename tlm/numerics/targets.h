#pragma once

#include <string>
#include <vector>

namespace npuvp::numerics {

/// Names of the SIMD targets that were compiled and that this processor runs, best first.
std::vector<std::string> simd_targets();

/// Makes every later dispatch use the named target; "" returns to the best one. For tests.
/// Throws std::invalid_argument for a name that simd_targets() does not hold.
void use_simd_target(const std::string& name);

}  // namespace npuvp::numerics
