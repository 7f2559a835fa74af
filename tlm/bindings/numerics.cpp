#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <time.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "bindings/bindings.h"
#include "numerics/gemm.h"
#include "numerics/mx.h"
#include "numerics/philox.h"
#include "numerics/rows.h"
#include "numerics/scalar.h"
#include "numerics/targets.h"
#include "numerics/topk.h"

namespace nb = nanobind;

namespace npuvp::bindings {

namespace {

using namespace npuvp::numerics;

// Rows are one-dimensional: uint16 holds BF16, float32 itself.
using Row = nb::ndarray<nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Bytes = nb::ndarray<std::uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Floats = nb::ndarray<float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Words = nb::ndarray<std::uint32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Mask = std::optional<std::tuple<std::uint32_t, std::uint32_t>>;

Format format_of(const Row& row) {
    if (row.dtype() == nb::dtype<std::uint16_t>()) return Format::bf16;
    if (row.dtype() == nb::dtype<float>()) return Format::fp32;
    throw std::invalid_argument("rows are uint16 (BF16) or float32 arrays");
}

void same_shape(const Row& a, const Row& b) {
    if (format_of(a) != format_of(b) || a.shape(0) != b.shape(0)) {
        throw std::invalid_argument("rows differ in length or format");
    }
}

void at_least(std::size_t have, std::size_t need, const char* what) {
    if (have < need) {
        throw std::invalid_argument(std::string(what) + ": " + std::to_string(have) +
                                    " elements where " + std::to_string(need) + " are needed");
    }
}

// The mask in the form the kernels take; lives as long as this object.
class MaskArgument {
  public:
    explicit MaskArgument(const Mask& mask) {
        if (!mask) return;
        mask_ = {std::get<0>(*mask), std::get<1>(*mask)};
        if (mask_.hlen == 0) throw std::invalid_argument("hlen is 0");
        pointer_ = &mask_;
    }
    const LaneMask* get() const { return pointer_; }

  private:
    LaneMask mask_{};
    const LaneMask* pointer_ = nullptr;
};

template <class Table>
auto find(const Table& table, const std::string& name) {
    const auto entry = table.find(name);
    if (entry == table.end()) throw std::invalid_argument("no row kernel '" + name + "'");
    return entry->second;
}

const std::map<std::string, std::function<RowKernels::Vv(const RowKernels&)>> vv_kernels = {
    {"add_vv", [](const RowKernels& k) { return k.add_vv; }},
    {"sub_vv", [](const RowKernels& k) { return k.sub_vv; }},
    {"mul_vv", [](const RowKernels& k) { return k.mul_vv; }},
    {"max_vv", [](const RowKernels& k) { return k.max_vv; }},
    {"min_vv", [](const RowKernels& k) { return k.min_vv; }},
    {"lt_vv", [](const RowKernels& k) { return k.compare_vv[0]; }},
    {"le_vv", [](const RowKernels& k) { return k.compare_vv[1]; }},
    {"eq_vv", [](const RowKernels& k) { return k.compare_vv[2]; }},
    {"ge_vv", [](const RowKernels& k) { return k.compare_vv[3]; }},
    {"gt_vv", [](const RowKernels& k) { return k.compare_vv[4]; }},
};

const std::map<std::string, std::function<RowKernels::Vf(const RowKernels&)>> vf_kernels = {
    {"add_vf", [](const RowKernels& k) { return k.add_vf; }},
    {"sub_vf", [](const RowKernels& k) { return k.sub_vf; }},
    {"rsub_vf", [](const RowKernels& k) { return k.rsub_vf; }},
    {"mul_vf", [](const RowKernels& k) { return k.mul_vf; }},
    {"max_vf", [](const RowKernels& k) { return k.max_vf; }},
    {"min_vf", [](const RowKernels& k) { return k.min_vf; }},
    {"lt_vf", [](const RowKernels& k) { return k.compare_vf[0]; }},
    {"le_vf", [](const RowKernels& k) { return k.compare_vf[1]; }},
    {"eq_vf", [](const RowKernels& k) { return k.compare_vf[2]; }},
    {"ge_vf", [](const RowKernels& k) { return k.compare_vf[3]; }},
    {"gt_vf", [](const RowKernels& k) { return k.compare_vf[4]; }},
};

const std::map<std::string, std::function<RowKernels::V(const RowKernels&)>> v_kernels = {
    {"exp", [](const RowKernels& k) { return k.exp; }},
    {"reciprocal", [](const RowKernels& k) { return k.reciprocal; }},
    {"log", [](const RowKernels& k) { return k.log; }},
    {"sqrt", [](const RowKernels& k) { return k.sqrt; }},
    {"abs", [](const RowKernels& k) { return k.abs; }},
    {"floor_power_of_two", [](const RowKernels& k) { return k.floor_power_of_two; }},
};

const std::map<std::string, std::function<RowKernels::Reduce(const RowKernels&)>> reduce_kernels = {
    {"sum", [](const RowKernels& k) { return k.sum; }},
    {"max", [](const RowKernels& k) { return k.max; }},
    {"min", [](const RowKernels& k) { return k.min; }},
};

void vv(const std::string& name, Row d, Row a, Row b, const Mask& mask) {
    same_shape(d, a);
    same_shape(d, b);
    find(vv_kernels, name)(row_kernels(format_of(d)))(d.data(), a.data(), b.data(), d.shape(0),
                                                      MaskArgument(mask).get());
}

void vf(const std::string& name, Row d, Row a, float f, const Mask& mask) {
    same_shape(d, a);
    find(vf_kernels, name)(row_kernels(format_of(d)))(d.data(), a.data(), f, d.shape(0),
                                                      MaskArgument(mask).get());
}

void v(const std::string& name, Row d, Row a, const Mask& mask) {
    same_shape(d, a);
    find(v_kernels, name)(row_kernels(format_of(d)))(d.data(), a.data(), d.shape(0),
                                                     MaskArgument(mask).get());
}

float reduce(const std::string& name, Row a, float f, const Mask& mask) {
    return find(reduce_kernels, name)(row_kernels(format_of(a)))(a.data(), a.shape(0), f,
                                                                 MaskArgument(mask).get());
}

std::tuple<bool, float, std::uint32_t> max_index(Row a, float best, std::uint32_t index,
                                                 const Mask& mask) {
    const bool found = row_kernels(format_of(a))
                           .max_index(a.data(), a.shape(0), MaskArgument(mask).get(), best, index);
    return {found, best, index};
}

void select(Row d, Row mask, Row a, Row b) {
    same_shape(d, mask);
    same_shape(d, a);
    same_shape(d, b);
    row_kernels(format_of(d)).select(d.data(), mask.data(), a.data(), b.data(), d.shape(0));
}

void shift(Row d, Row a, std::size_t count) {
    same_shape(d, a);
    row_kernels(format_of(d)).shift(d.data(), a.data(), d.shape(0), count);
}

void fill(Row d, float f) {
    row_kernels(format_of(d)).fill(d.data(), f, d.shape(0));
}

void to_float(Floats d, Row a) {
    at_least(d.shape(0), a.shape(0), "destination");
    row_kernels(format_of(a)).to_float(d.data(), a.data(), a.shape(0));
}

void from_float(Row d, Floats a) {
    at_least(d.shape(0), a.shape(0), "destination");
    row_kernels(format_of(d)).from_float(d.data(), a.data(), a.shape(0));
}

void decode_row(const std::string& name, std::size_t block, Bytes elements, Bytes scales, Row row) {
    const MxFormat format = mx_format(name);
    at_least(elements.shape(0), mx_element_bytes(format, row.shape(0)), "element bytes");
    at_least(scales.shape(0), mx_scale_bytes(format, block, row.shape(0)), "scale bytes");
    mx_decode_row(format, block, elements.data(), scales.data(), row.shape(0), format_of(row),
                  row.data());
}

void encode_row(const std::string& name, std::size_t block, Row row, Bytes elements, Bytes scales) {
    const MxFormat format = mx_format(name);
    at_least(elements.shape(0), mx_element_bytes(format, row.shape(0)), "element bytes");
    at_least(scales.shape(0), mx_scale_bytes(format, block, row.shape(0)), "scale bytes");
    mx_encode_row(format, block, format_of(row), row.data(), row.shape(0), elements.data(),
                  scales.data());
}

void mask_of_largest(Row confidence, Row mask, Row d, std::size_t n, std::size_t k) {
    same_shape(mask, d);
    at_least(confidence.shape(0), n, "confidences");
    topk_mask(format_of(confidence), confidence.data(), format_of(mask), mask.data(), d.data(), n,
              k, d.shape(0));
}

void softmax_of_largest(Row logits, Words indices, Floats weights, bool over_all) {
    at_least(weights.shape(0), indices.shape(0), "weights");
    topk_softmax(format_of(logits), logits.data(), logits.shape(0), indices.shape(0),
                 over_all ? TopkWeights::all : TopkWeights::selected, indices.data(),
                 weights.data());
}

void matrix_product(Row a, Row b, Floats c, std::size_t m, std::size_t n, std::size_t k,
                    std::tuple<std::size_t, std::size_t> a_strides,
                    std::tuple<std::size_t, std::size_t> b_strides) {
    const auto [a_row, a_column] = a_strides;
    const auto [b_row, b_column] = b_strides;
    if (m * n == 0) return;
    if (k > 0) {
        at_least(a.shape(0), (m - 1) * a_row + (k - 1) * a_column + 1, "a");
        at_least(b.shape(0), (k - 1) * b_row + (n - 1) * b_column + 1, "b");
    }
    at_least(c.shape(0), m * n, "c");
    gemm(m, n, k, {format_of(a), a.data(), a_row, a_column},
         {format_of(b), b.data(), b_row, b_column}, c.data(), n);
}

void random_words(Words d, std::tuple<std::uint32_t, std::uint32_t, std::uint32_t, std::uint32_t> c,
                  std::tuple<std::uint32_t, std::uint32_t> key) {
    at_least(d.shape(0), 4, "destination");
    const auto words = philox({std::get<0>(c), std::get<1>(c), std::get<2>(c), std::get<3>(c)},
                              {std::get<0>(key), std::get<1>(key)});
    std::copy(words.begin(), words.end(), d.data());
}

void uniforms(Floats d, Words words) {
    at_least(d.shape(0), words.shape(0), "destination");
    for (std::size_t i = 0; i < words.shape(0); ++i) d.data()[i] = uniform(words.data()[i]);
}

void gumbels(Floats d, Words words) {
    at_least(d.shape(0), words.shape(0), "destination");
    for (std::size_t i = 0; i < words.shape(0); ++i) d.data()[i] = gumbel(words.data()[i]);
}

double thread_seconds() {
    timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

// Mean processor time of a kernel on rows of Gumbel noise; "decode FORMAT" and "encode FORMAT"
// convert blocks of 32.
double nanoseconds(const std::string& name, const std::string& format_name, std::size_t n,
                   std::size_t repeat) {
    const Format format = format_name == "bf16" ? Format::bf16 : Format::fp32;
    const RowKernels& k = row_kernels(format);
    std::vector<float> values(n);
    gumbel_row(values.data(), n, 0, 0, 0);
    std::vector<std::uint32_t> a(n), b(n), d(n);
    k.from_float(a.data(), values.data(), n);
    gumbel_row(values.data(), n, n, 0, 0);
    k.from_float(b.data(), values.data(), n);
    std::vector<std::uint8_t> elements(4 * n), scales(n);
    const bool decode = name.rfind("decode ", 0) == 0;
    const bool encode = name.rfind("encode ", 0) == 0;
    const MxFormat packed = mx_format(decode || encode ? name.substr(7) : "mxfp8_e4m3");
    mx_encode_row(packed, 32, format, a.data(), n, elements.data(), scales.data());
    std::function<void()> call;
    if (decode) {
        call = [&] {
            mx_decode_row(packed, 32, elements.data(), scales.data(), n, format, d.data());
        };
    } else if (encode) {
        call = [&] {
            mx_encode_row(packed, 32, format, a.data(), n, elements.data(), scales.data());
        };
    } else if (name == "max_index") {
        call = [&] {
            float best = -std::numeric_limits<float>::infinity();
            std::uint32_t index = 0;
            k.max_index(a.data(), n, nullptr, best, index);
        };
    } else if (vv_kernels.count(name) > 0) {
        call = [&, kernel = vv_kernels.at(name)(k)] {
            kernel(d.data(), a.data(), b.data(), n, nullptr);
        };
    } else if (vf_kernels.count(name) > 0) {
        call = [&, kernel = vf_kernels.at(name)(k)] {
            kernel(d.data(), a.data(), 1.5f, n, nullptr);
        };
    } else if (reduce_kernels.count(name) > 0) {
        call = [&, kernel = reduce_kernels.at(name)(k)] { kernel(a.data(), n, 0.0f, nullptr); };
    } else {
        call = [&, kernel = find(v_kernels, name)(k)] { kernel(d.data(), a.data(), n, nullptr); };
    }
    call();
    const double begin = thread_seconds();
    for (std::size_t i = 0; i < repeat; ++i) call();
    return (thread_seconds() - begin) * 1e9 / static_cast<double>(repeat);
}

template <float (*function)(float)>
void unary(Floats d, Floats a) {
    at_least(d.shape(0), a.shape(0), "destination");
    for (std::size_t i = 0; i < a.shape(0); ++i) d.data()[i] = function(a.data()[i]);
}

template <float (*function)(float, float)>
void binary(Floats d, Floats a, Floats b) {
    at_least(d.shape(0), a.shape(0), "destination");
    at_least(b.shape(0), a.shape(0), "second operand");
    for (std::size_t i = 0; i < a.shape(0); ++i) {
        d.data()[i] = function(a.data()[i], b.data()[i]);
    }
}

}  // namespace

void numerics(nb::module_& m) {
    nb::module_ s = m.def_submodule("numerics", "The numeric kernels, for tests and benchmarks.");
    s.def("simd_targets", &simd_targets);
    s.def("use_simd_target", &use_simd_target, nb::arg("name"));

    s.def("vv", &vv, nb::arg("name"), nb::arg("d"), nb::arg("a"), nb::arg("b"),
          nb::arg("mask") = nb::none());
    s.def("vf", &vf, nb::arg("name"), nb::arg("d"), nb::arg("a"), nb::arg("f"),
          nb::arg("mask") = nb::none());
    s.def("v", &v, nb::arg("name"), nb::arg("d"), nb::arg("a"), nb::arg("mask") = nb::none());
    s.def("reduce", &reduce, nb::arg("name"), nb::arg("a"), nb::arg("f"),
          nb::arg("mask") = nb::none());
    s.def("max_index", &max_index, nb::arg("a"), nb::arg("best"), nb::arg("index"),
          nb::arg("mask") = nb::none());
    s.def("select", &select, nb::arg("d"), nb::arg("mask"), nb::arg("a"), nb::arg("b"));
    s.def("shift", &shift, nb::arg("d"), nb::arg("a"), nb::arg("count"));
    s.def("fill", &fill, nb::arg("d"), nb::arg("f"));
    s.def("to_float", &to_float, nb::arg("d"), nb::arg("a"));
    s.def("from_float", &from_float, nb::arg("d"), nb::arg("a"));

    s.def("mx_element_bytes", [](const std::string& name, std::size_t n) {
        return mx_element_bytes(mx_format(name), n);
    });
    s.def("mx_scale_bytes", [](const std::string& name, std::size_t block, std::size_t n) {
        return mx_scale_bytes(mx_format(name), block, n);
    });
    s.def("mx_decode_row", &decode_row, nb::arg("format"), nb::arg("block"), nb::arg("elements"),
          nb::arg("scales"), nb::arg("row"));
    s.def("mx_encode_row", &encode_row, nb::arg("format"), nb::arg("block"), nb::arg("row"),
          nb::arg("elements"), nb::arg("scales"));
    s.def("topk_mask", &mask_of_largest, nb::arg("confidence"), nb::arg("mask"), nb::arg("d"),
          nb::arg("n"), nb::arg("k"));
    s.def("topk_softmax", &softmax_of_largest, nb::arg("logits"), nb::arg("indices"),
          nb::arg("weights"), nb::arg("over_all"));

    s.def("gemm", &matrix_product, nb::arg("a"), nb::arg("b"), nb::arg("c"), nb::arg("m"),
          nb::arg("n"), nb::arg("k"), nb::arg("a_strides"), nb::arg("b_strides"));
    s.def("philox", &random_words, nb::arg("d"), nb::arg("counter"), nb::arg("key"));
    s.def("uniform", &uniforms, nb::arg("d"), nb::arg("words"));
    s.def("gumbel", &gumbels, nb::arg("d"), nb::arg("words"));
    s.def("gumbel_row", [](Floats d, std::uint64_t first, std::uint64_t stream, std::uint64_t key) {
        gumbel_row(d.data(), d.shape(0), first, stream, key);
    });
    s.def("nanoseconds", &nanoseconds, nb::arg("name"), nb::arg("format"), nb::arg("n"),
          nb::arg("repeat"));

    s.def("scalar_add", &binary<add>);
    s.def("scalar_sub", &binary<sub>);
    s.def("scalar_mul", &binary<mul>);
    s.def("scalar_max", &binary<max>);
    s.def("scalar_min", &binary<min>);
    s.def("scalar_exp", &unary<exp>);
    s.def("scalar_log", &unary<log>);
    s.def("scalar_reciprocal", &unary<reciprocal>);
    s.def("scalar_sqrt", &unary<sqrt>);
}

}  // namespace npuvp::bindings
