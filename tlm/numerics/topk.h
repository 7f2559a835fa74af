#pragma once

#include <cstddef>
#include <cstdint>

#include "numerics/format.h"

namespace npuvp::numerics {

/// Marks the largest confidences of a row.
///
/// Of the lanes i < n whose `mask` lane is not zero (NaN is not), the k with the largest
/// `confidence` get 1 in `d`, or all of them where they are fewer; every other lane below `lanes`
/// gets 0. Ties go to the lower index, +0 and -0 tie, and NaN ranks below every number. Mask and
/// destination are rows of `row_format`, confidences have a format of their own (FP SRAM, or the
/// Vector SRAM again). The destination may be either source. n is at most `lanes`.
void topk_mask(Format confidence_format, const void* confidence, Format row_format,
               const void* mask, void* d, std::size_t n, std::size_t k, std::size_t lanes);

/// What the weights of topk_softmax add up to one over.
enum class TopkWeights : std::uint8_t { selected, all };

/// Router: the k largest of n logits, largest first, ties to the lower index, NaN as -infinity.
///
/// Writes their indices and float32 weights e_i / sum with e_i = exp(x_i - largest), where an e_i
/// of -infinity is 0 and the sum starts at +0 and adds, in float32, the selected e_i in order of
/// rank (`selected`) or all n in order of index (`all`). If every logit is -infinity the weights
/// are 0. A largest logit of +infinity gives NaN weights for the infinities and 0 or NaN as the
/// formula says for the rest. k is at most n.
void topk_softmax(Format format, const void* logits, std::size_t n, std::size_t k,
                  TopkWeights weights_over, std::uint32_t* indices, float* weights);

}  // namespace npuvp::numerics
