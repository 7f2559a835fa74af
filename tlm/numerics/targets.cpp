#include "numerics/targets.h"

#include <stdexcept>

#include "hwy/highway.h"

namespace npuvp::numerics {

namespace {

std::vector<std::int64_t> supported() {
    hwy::SetSupportedTargetsForTest(0);
    return hwy::SupportedAndGeneratedTargets();
}

}  // namespace

std::vector<std::string> simd_targets() {
    std::vector<std::string> names;
    for (const std::int64_t target : supported()) names.emplace_back(hwy::TargetName(target));
    return names;
}

void use_simd_target(const std::string& name) {
    if (name.empty()) {
        hwy::SetSupportedTargetsForTest(0);
        hwy::GetChosenTarget().DeInit();
        return;
    }
    std::string known;
    for (const std::int64_t target : supported()) {
        if (name == hwy::TargetName(target)) {
            hwy::SetSupportedTargetsForTest(target);
            hwy::GetChosenTarget().Update(target);
            return;
        }
        known += std::string(known.empty() ? "" : ", ") + hwy::TargetName(target);
    }
    throw std::invalid_argument("SIMD target '" + name + "' is not one of " + known);
}

}  // namespace npuvp::numerics
