// Every kernel on every SIMD target against plain C++, on heap buffers of exactly the row's length:
// under AddressSanitizer these are the tests that no kernel touches a byte beside its row. Bit
// equality with the golden twin is proved in tests/npuvp/golden.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <limits>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "numerics/bf16.h"
#include "numerics/gemm.h"
#include "numerics/mx.h"
#include "numerics/philox.h"
#include "numerics/rows.h"
#include "numerics/scalar.h"
#include "numerics/targets.h"
#include "numerics/topk.h"

using namespace npuvp::numerics;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
const float nan = float_of_bits(canonical_nan_fp32);

// A row of n lanes on the heap, in either format.
class Row {
  public:
    Row(Format format, std::size_t n) : format_(format), n_(n), bytes_(n * bytes_of(format)) {}

    Row(Format format, const std::vector<float>& values) : Row(format, values.size()) {
        row_kernels(format).from_float(data(), values.data(), n_);
    }

    void* data() { return bytes_.data(); }
    std::size_t size() const { return n_; }
    std::vector<float> values() const {
        std::vector<float> x(n_);
        row_kernels(format_).to_float(x.data(), bytes_.data(), n_);
        return x;
    }

  private:
    Format format_;
    std::size_t n_;
    std::vector<std::uint8_t> bytes_;
};

std::vector<float> noise(std::size_t n, unsigned seed, float scale = 3.0f) {
    std::mt19937 generator(seed);
    std::normal_distribution<float> normal(0.0f, scale);
    std::vector<float> x(n);
    for (float& value : x) value = normal(generator);
    if (n > 3) x[n / 2] = nan, x[n / 3] = infinity, x[n - 1] = -0.0f;
    return x;
}

void same(const std::vector<float>& actual, const std::vector<float>& expected) {
    REQUIRE(actual.size() == expected.size());
    for (std::size_t i = 0; i < actual.size(); ++i) {
        REQUIRE(float_bits(actual[i]) == float_bits(expected[i]));
    }
}

template <class Body>
void on_every_target_and_length(Body body) {
    for (const std::string& target : simd_targets()) {
        CAPTURE(target);
        use_simd_target(target);
        for (const Format format : {Format::bf16, Format::fp32}) {
            for (const std::size_t n : {1, 4, 7, 32, 63, 64, 100, 512, 515}) {
                CAPTURE(n);
                body(format, n);
            }
        }
    }
    use_simd_target("");
}

template <class Function>
std::vector<float> lane_by_lane(Format format, const Row& a, const Row& b, Function f) {
    const auto x = a.values(), y = b.values();
    std::vector<float> result(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) result[i] = round_to(format, f(x[i], y[i]));
    return result;
}

float propagating_max(float a, float b) {
    return a != a || b != b ? nan : max(a, b);
}
float propagating_min(float a, float b) {
    return a != a || b != b ? nan : min(a, b);
}

}  // namespace

TEST_CASE("BF16 conversion rounds to nearest even and keeps subnormals") {
    CHECK(float_to_bf16(float_of_bits(0x3F808000)) == 0x3F80);
    CHECK(float_to_bf16(float_of_bits(0x3F808001)) == 0x3F81);
    CHECK(float_to_bf16(float_of_bits(0x3F818000)) == 0x3F82);
    CHECK(float_to_bf16(float_of_bits(0x7F7F7FFF)) == 0x7F7F);
    CHECK(float_to_bf16(float_of_bits(0x7F7F8000)) == 0x7F80);
    CHECK(float_to_bf16(float_of_bits(0x00008001)) == 0x0001);
    CHECK(float_to_bf16(float_of_bits(0x00008000)) == 0x0000);
    CHECK(float_to_bf16(float_of_bits(0xFFFFFFFF)) == canonical_nan_bf16);
    CHECK(float_to_bf16(float_of_bits(0x7F800001)) == canonical_nan_bf16);
    CHECK(bf16_to_float(0xFF80) == -infinity);
    CHECK(float_bits(round_to(Format::fp32, float_of_bits(0xFFC12345))) == canonical_nan_fp32);
    CHECK(round_to(Format::bf16, 1.00390625f) == 1.0f);
    CHECK(round_to(Format::fp32, 1.00390625f) == 1.00390625f);
}

TEST_CASE("a lane mask is walked in the longest runs") {
    const LaneMask mask{0b0110, 8};
    LaneRuns runs(&mask, 40);
    REQUIRE(runs.next());
    CHECK((!runs.enabled() && runs.begin() == 0 && runs.length() == 8));
    REQUIRE(runs.next());
    CHECK((runs.enabled() && runs.begin() == 8 && runs.length() == 16));
    REQUIRE(runs.next());
    CHECK((!runs.enabled() && runs.begin() == 24 && runs.length() == 16));
    CHECK(!runs.next());
    LaneRuns all(nullptr, 40);
    REQUIRE(all.next());
    CHECK((all.enabled() && all.length() == 40));
    CHECK(!all.next());
    const LaneMask one_lane_heads{0xFFFFFFFFu, 1};
    CHECK(one_lane_heads.enabled(31));
    CHECK(!one_lane_heads.enabled(32));
}

TEST_CASE("lane kernels compute what the scalar unit does") {
    on_every_target_and_length([](Format format, std::size_t n) {
        const RowKernels& k = row_kernels(format);
        Row a(format, noise(n, 1)), b(format, noise(n, 2)), d(format, n);
        k.add_vv(d.data(), a.data(), b.data(), n, nullptr);
        same(d.values(), lane_by_lane(format, a, b, add));
        k.sub_vv(d.data(), a.data(), b.data(), n, nullptr);
        same(d.values(), lane_by_lane(format, a, b, sub));
        k.mul_vv(d.data(), a.data(), b.data(), n, nullptr);
        same(d.values(), lane_by_lane(format, a, b, mul));
        k.max_vv(d.data(), a.data(), b.data(), n, nullptr);
        same(d.values(), lane_by_lane(format, a, b, propagating_max));
        k.min_vf(d.data(), a.data(), 0.3f, n, nullptr);
        same(d.values(),
             lane_by_lane(format, a, b, [](float x, float) { return propagating_min(x, 0.3f); }));
        k.rsub_vf(d.data(), a.data(), 0.3f, n, nullptr);
        same(d.values(), lane_by_lane(format, a, b, [](float x, float) { return sub(0.3f, x); }));
        k.exp(d.data(), a.data(), n, nullptr);
        same(d.values(), lane_by_lane(format, a, b, [](float x, float) { return exp(x); }));
        k.log(d.data(), a.data(), n, nullptr);
        same(d.values(), lane_by_lane(format, a, b, [](float x, float) { return log(x); }));
        k.reciprocal(d.data(), a.data(), n, nullptr);
        same(d.values(), lane_by_lane(format, a, b, [](float x, float) { return reciprocal(x); }));
        k.compare_vv[static_cast<int>(Relation::ge)](d.data(), a.data(), b.data(), n, nullptr);
        same(d.values(),
             lane_by_lane(format, a, b, [](float x, float y) { return x >= y ? 1.0f : 0.0f; }));
    });
}

TEST_CASE("masked lanes keep the first source, masked reductions leave lanes out") {
    on_every_target_and_length([](Format format, std::size_t n) {
        const RowKernels& k = row_kernels(format);
        const LaneMask mask{0b1011'0110'1001, 16};
        Row a(format, std::vector<float>(n, 2.0f)), b(format, std::vector<float>(n, 5.0f));
        Row d(format, n);
        k.add_vv(d.data(), a.data(), b.data(), n, &mask);
        float enabled = 0;
        for (std::size_t i = 0; i < n; ++i) {
            REQUIRE(d.values()[i] == (mask.enabled(i) ? 7.0f : 2.0f));
            enabled += mask.enabled(i) ? 1.0f : 0.0f;
        }
        CHECK(k.max(d.data(), n, 1.0f, &mask) == 7.0f);
        if ((n & (n - 1)) == 0) CHECK(k.sum(d.data(), n, 0.5f, &mask) == 0.5f + 7.0f * enabled);
    });
}

TEST_CASE("maximum with index finds the first, wherever it stands") {
    on_every_target_and_length([](Format format, std::size_t n) {
        const RowKernels& k = row_kernels(format);
        for (std::size_t at = 0; at < n; at += 1 + n / 17) {
            std::vector<float> x(n, -3.0f);
            x[at] = -2.0f;
            x[n - 1] = -2.0f;
            Row row(format, x);
            float best = -infinity;
            std::uint32_t index = 999;
            REQUIRE(k.max_index(row.data(), n, nullptr, best, index));
            REQUIRE(index == at);
            REQUIRE(best == -2.0f);
            REQUIRE(!k.max_index(row.data(), n, nullptr, best, index));
        }
    });
}

TEST_CASE("microscaling round trips on exact buffers") {
    on_every_target_and_length([](Format format, std::size_t n) {
        for (std::size_t f = 0; f < mx_formats; ++f) {
            const auto mx = static_cast<MxFormat>(f);
            for (const std::size_t block : {8, 16, 32}) {
                std::vector<std::uint8_t> elements(mx_element_bytes(mx, n));
                std::vector<std::uint8_t> scales(mx_scale_bytes(mx, block, n));
                std::vector<float> x(n);
                for (std::size_t i = 0; i < n; ++i) x[i] = 1.0f - static_cast<float>(i % 3);
                Row row(format, x), back(format, n);
                mx_encode_row(mx, block, format, row.data(), n, elements.data(), scales.data());
                mx_decode_row(mx, block, elements.data(), scales.data(), n, format, back.data());
                same(back.values(), x);
            }
        }
    });
}

TEST_CASE("a matrix product on exact buffers") {
    on_every_target_and_length([](Format format, std::size_t n) {
        const std::size_t m = 5, k = 9;
        std::vector<float> x(m * k), y(k * n), z(m * n, 1.0f), expected(m * n, 1.0f);
        for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 7) - 3.0f;
        for (std::size_t i = 0; i < y.size(); ++i) y[i] = static_cast<float>(i % 5) - 2.0f;
        Row a(format, x), b(format, y);
        gemm(m, n, k, {format, a.data(), k, 1}, {format, b.data(), n, 1}, z.data(), n);
        for (std::size_t i = 0; i < m; ++i) {
            for (std::size_t j = 0; j < n; ++j) {
                for (std::size_t p = 0; p < k; ++p) {
                    expected[i * n + j] += x[i * k + p] * y[p * n + j];
                }
            }
        }
        same(z, expected);
    });
}

TEST_CASE("top-k marks what it should on exact buffers") {
    on_every_target_and_length([](Format format, std::size_t n) {
        std::vector<float> x(n), all(n, 1.0f), expected(n, 0.0f);
        for (std::size_t i = 0; i < n; ++i) x[i] = static_cast<float>((i * 37) % n);
        Row confidence(format, x), mask(format, all), d(format, n);
        topk_mask(format, confidence.data(), format, mask.data(), d.data(), n, n, n);
        same(d.values(), all);
        topk_mask(Format::fp32, x.data(), format, mask.data(), d.data(), n, 1, n);
        expected[static_cast<std::size_t>(std::max_element(x.begin(), x.end()) - x.begin())] = 1;
        same(d.values(), expected);
    });
}

TEST_CASE("Philox gives its authors' known answer") {
    const auto words =
        philox({0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344}, {0xA4093822, 0x299F31D0});
    CHECK(words == std::array<std::uint32_t, 4>{0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1});
}

TEST_CASE("errors name the value and what is allowed") {
    const std::vector<float> x(100);
    CHECK_THROWS_WITH_AS(row_kernels(Format::fp32).sum(x.data(), 100, 0, nullptr),
                         "sum over 100 lanes: a halving tree needs a power of two",
                         std::invalid_argument);
    CHECK_THROWS_AS(mx_format("mxfp7"), std::invalid_argument);
    CHECK_THROWS_AS(use_simd_target("none"), std::invalid_argument);
}
