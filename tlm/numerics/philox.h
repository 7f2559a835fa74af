#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace npuvp::numerics {

/// Philox-4x32 with 10 rounds: four random words per counter and key, without state.
/// J. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter,
                                    std::array<std::uint32_t, 2> key);

/// A float32 strictly between 0 and 1 from the upper 24 bits of a word:
/// float((word >> 8) | 1) * 2^-24, exactly.
float uniform(std::uint32_t word);

/// Standard Gumbel noise -log(-log(u)) of u = uniform(word) with the logarithm of scalar.h.
/// Between -2.82 and 16.64.
float gumbel(std::uint32_t word);

/// d[i] = gumbel(word i % 4 of philox({first + i / 4, stream}, key)) for i < n; 64-bit numbers
/// stand in counter and key with their low half first.
void gumbel_row(float* d, std::size_t n, std::uint64_t first, std::uint64_t stream,
                std::uint64_t key);

}  // namespace npuvp::numerics
