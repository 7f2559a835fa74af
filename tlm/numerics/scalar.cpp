#include "numerics/scalar.h"

#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "numerics/scalar.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "numerics/elementary-inl.h"

HWY_BEFORE_NAMESPACE();
namespace npuvp::numerics {
namespace HWY_NAMESPACE {

using OneTag = hn::CappedTag<float, 1>;

float scalar_exp(float x) {
    return hn::GetLane(exp(hn::Set(OneTag(), x)));
}
float scalar_log(float x) {
    return hn::GetLane(log(hn::Set(OneTag(), x)));
}

}  // namespace HWY_NAMESPACE
}  // namespace npuvp::numerics
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace npuvp::numerics {

HWY_EXPORT(scalar_exp);
HWY_EXPORT(scalar_log);

float add(float a, float b) {
    return canonical(a + b);
}
float sub(float a, float b) {
    return canonical(a - b);
}
float mul(float a, float b) {
    return canonical(a * b);
}

float max(float a, float b) {
    if (a != a) return canonical(b);
    if (b != b) return a;
    if (a == b) return std::signbit(a) ? b : a;
    return a > b ? a : b;
}

float min(float a, float b) {
    if (a != a) return canonical(b);
    if (b != b) return a;
    if (a == b) return std::signbit(a) ? a : b;
    return a < b ? a : b;
}

float exp(float x) {
    return HWY_DYNAMIC_DISPATCH(scalar_exp)(x);
}
float log(float x) {
    return HWY_DYNAMIC_DISPATCH(scalar_log)(x);
}
float reciprocal(float x) {
    return canonical(1.0f / x);
}
float sqrt(float x) {
    return canonical(std::sqrt(x));
}

}  // namespace npuvp::numerics
#endif
