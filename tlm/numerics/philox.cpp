#include "numerics/philox.h"

#include <algorithm>

#include "numerics/rows.h"
#include "numerics/scalar.h"

namespace npuvp::numerics {

namespace {

std::uint32_t low(std::uint64_t value) {
    return static_cast<std::uint32_t>(value);
}
std::uint32_t high(std::uint64_t value) {
    return static_cast<std::uint32_t>(value >> 32);
}

}  // namespace

std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter,
                                    std::array<std::uint32_t, 2> key) {
    for (int round = 0; round < 10; ++round) {
        const std::uint64_t even = std::uint64_t{0xD2511F53u} * counter[0];
        const std::uint64_t odd = std::uint64_t{0xCD9E8D57u} * counter[2];
        counter = {high(odd) ^ counter[1] ^ key[0], low(odd), high(even) ^ counter[3] ^ key[1],
                   low(even)};
        key = {key[0] + 0x9E3779B9u, key[1] + 0xBB67AE85u};
    }
    return counter;
}

float uniform(std::uint32_t word) {
    return static_cast<float>((word >> 8) | 1u) * 0x1p-24f;
}

float gumbel(std::uint32_t word) {
    return -log(-log(uniform(word)));
}

void gumbel_row(float* d, std::size_t n, std::uint64_t first, std::uint64_t stream,
                std::uint64_t key) {
    for (std::size_t i = 0; i < n; i += 4) {
        const std::uint64_t block = first + i / 4;
        const auto words =
            philox({low(block), high(block), low(stream), high(stream)}, {low(key), high(key)});
        for (std::size_t j = i; j < std::min(i + 4, n); ++j) d[j] = uniform(words[j - i]);
    }
    const RowKernels& rows = row_kernels(Format::fp32);
    for (int step = 0; step < 2; ++step) {
        rows.log(d, d, n, nullptr);
        for (std::size_t i = 0; i < n; ++i) d[i] = -d[i];
    }
}

}  // namespace npuvp::numerics
