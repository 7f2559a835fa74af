#pragma once

namespace npuvp::numerics {

/// The scalar FP unit: float32 in, float32 out, canonical NaN; the caller rounds to its register
/// format. Elementary functions are those of the row kernels (elementary-inl.h), bit for bit.
float add(float a, float b);
float sub(float a, float b);
float mul(float a, float b);
/// Of a number and a NaN the number; -0 is less than +0.
float max(float a, float b);
float min(float a, float b);
/// e^x with x clamped to +-88.
float exp(float x);
/// Natural logarithm.
float log(float x);
float reciprocal(float x);
float sqrt(float x);

}  // namespace npuvp::numerics
