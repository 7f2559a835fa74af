#include "numerics/topk.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "numerics/bf16.h"
#include "numerics/scalar.h"

namespace npuvp::numerics {

namespace {

float element(Format format, const void* row, std::size_t i) {
    return format == Format::bf16 ? bf16_to_float(static_cast<const std::uint16_t*>(row)[i])
                                  : static_cast<const float*>(row)[i];
}

// Larger for what ranks earlier: value, then lower index. NaN is below -infinity.
std::uint64_t rank_key(float value, std::size_t index) {
    std::uint32_t order = 0;
    if (value == value) {
        const std::uint32_t bits = float_bits(value == 0.0f ? 0.0f : value);
        order = (bits >> 31) != 0 ? ~bits : bits | 0x80000000u;
    }
    return static_cast<std::uint64_t>(order) << 32 | (0xFFFFFFFFu - index);
}

std::size_t index_of_key(std::uint64_t key) {
    return 0xFFFFFFFFu - static_cast<std::uint32_t>(key);
}

template <class Lane>
void write_mask(void* d, Lane one, std::size_t lanes, const std::vector<std::uint64_t>& keys,
                std::size_t selected) {
    auto* row = static_cast<Lane*>(d);
    std::fill_n(row, lanes, Lane{0});
    for (std::size_t j = 0; j < selected; ++j) row[index_of_key(keys[j])] = one;
}

}  // namespace

void topk_mask(Format confidence_format, const void* confidence, Format row_format,
               const void* mask, void* d, std::size_t n, std::size_t k, std::size_t lanes) {
    if (n > lanes) {
        throw std::invalid_argument("top-k mask over " + std::to_string(n) +
                                    " confidences: a row has " + std::to_string(lanes) + " lanes");
    }
    std::vector<std::uint64_t> keys;
    keys.reserve(n);
    for (std::size_t i = 0; i < n; ++i) {
        if (element(row_format, mask, i) == 0.0f) continue;
        keys.push_back(rank_key(element(confidence_format, confidence, i), i));
    }
    const std::size_t selected = std::min(k, keys.size());
    if (selected < keys.size()) {
        std::nth_element(keys.begin(), keys.begin() + static_cast<std::ptrdiff_t>(selected),
                         keys.end(), std::greater<>());
    }
    if (row_format == Format::bf16) {
        write_mask(d, std::uint16_t{0x3F80}, lanes, keys, selected);
    } else {
        write_mask(d, std::uint32_t{0x3F800000}, lanes, keys, selected);
    }
}

void topk_softmax(Format format, const void* logits, std::size_t n, std::size_t k,
                  TopkWeights weights_over, std::uint32_t* indices, float* weights) {
    if (k > n) {
        throw std::invalid_argument("top-k of " + std::to_string(n) + " logits: k is " +
                                    std::to_string(k) + ", allowed 0.." + std::to_string(n));
    }
    if (k == 0) return;
    constexpr float lowest = -std::numeric_limits<float>::infinity();
    std::vector<float> x(n);
    std::vector<std::uint64_t> keys(n);
    for (std::size_t i = 0; i < n; ++i) {
        const float value = element(format, logits, i);
        x[i] = value == value ? value : lowest;
        keys[i] = rank_key(x[i], i);
    }
    const auto end = keys.begin() + static_cast<std::ptrdiff_t>(k);
    std::partial_sort(keys.begin(), end, keys.end(), std::greater<>());
    for (std::size_t j = 0; j < k; ++j) {
        indices[j] = static_cast<std::uint32_t>(index_of_key(keys[j]));
    }

    const float largest = x[indices[0]];
    if (largest == lowest) {
        std::fill_n(weights, k, 0.0f);
        return;
    }
    const auto exponential = [largest](float value) {
        return value == lowest ? 0.0f : exp(value - largest);
    };
    float sum = 0.0f;
    if (weights_over == TopkWeights::all) {
        for (std::size_t i = 0; i < n; ++i) sum = sum + exponential(x[i]);
    } else {
        for (std::size_t j = 0; j < k; ++j) sum = sum + exponential(x[indices[j]]);
    }
    for (std::size_t j = 0; j < k; ++j) {
        weights[j] = canonical(exponential(x[indices[j]]) / sum);
    }
}

}  // namespace npuvp::numerics
