#pragma once

#include <cstddef>

#include "numerics/format.h"

namespace npuvp::numerics {

/// A matrix in memory: element (r, c) is data[r * row_stride + c * column_stride] in elements of
/// its format. The transposed matrix has the strides swapped.
struct MatrixView {
    Format format;
    const void* data;
    std::size_t row_stride;
    std::size_t column_stride;
};

/// c[i * c_stride + j] += sum over p of a(i, p) * b(p, j), for i < m, j < n, p < k.
///
/// p ascends into the one float32 accumulator c[..]; every product is rounded to float32 before it
/// is added. NaNs are canonical afterwards. The result does not depend on how k is split over
/// calls, nor on the SIMD target. c overlaps neither operand.
void gemm(std::size_t m, std::size_t n, std::size_t k, const MatrixView& a, const MatrixView& b,
          float* c, std::size_t c_stride);

}  // namespace npuvp::numerics
