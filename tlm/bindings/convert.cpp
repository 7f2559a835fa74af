// Conversions between NumPy arrays and storage formats, for the host side: inputs, outputs, dumps.
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include <stdexcept>
#include <vector>

#include "bindings/bindings.h"
#include "numerics/bf16.h"
#include "numerics/mx.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace npuvp::bindings {

namespace {

using Bytes = nb::ndarray<nb::numpy, std::uint8_t, nb::ndim<1>>;
using Floats = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using InBytes = nb::ndarray<const std::uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

template <class T>
T* allocate(std::size_t count, nb::capsule& owner) {
    T* data = new T[count ? count : 1];
    owner = nb::capsule(data, [](void* p) noexcept { delete[] static_cast<T*>(p); });
    return data;
}

/// Rows of float32 to packed elements and scales, each row by itself.
nb::tuple encode_rows(Floats rows, const std::string& format_name, std::size_t block) {
    const numerics::MxFormat format = numerics::mx_format(format_name);
    const std::size_t n = rows.shape(0);
    const std::size_t length = rows.shape(1);
    const std::size_t element_bytes = numerics::mx_element_bytes(format, length);
    const std::size_t scale_bytes =
        numerics::mx_traits(format).scaled() ? numerics::mx_scale_bytes(format, block, length) : 0;
    nb::capsule element_owner;
    nb::capsule scale_owner;
    auto* elements = allocate<std::uint8_t>(n * element_bytes, element_owner);
    auto* scales = allocate<std::uint8_t>(n * scale_bytes, scale_owner);
    {
        nb::gil_scoped_release release;
        for (std::size_t i = 0; i < n; ++i)
            numerics::mx_encode_row(format, block, numerics::Format::fp32, rows.data() + i * length,
                                    length, elements + i * element_bytes, scales + i * scale_bytes);
    }
    const std::size_t element_shape[] = {n * element_bytes};
    const std::size_t scale_shape[] = {n * scale_bytes};
    return nb::make_tuple(Bytes(elements, 1, element_shape, element_owner),
                          Bytes(scales, 1, scale_shape, scale_owner));
}

nb::ndarray<nb::numpy, float, nb::ndim<2>> decode_rows(InBytes elements, InBytes scales,
                                                       const std::string& format_name,
                                                       std::size_t block, std::size_t n,
                                                       std::size_t length) {
    const numerics::MxFormat format = numerics::mx_format(format_name);
    const std::size_t element_bytes = numerics::mx_element_bytes(format, length);
    const std::size_t scale_bytes =
        numerics::mx_traits(format).scaled() ? numerics::mx_scale_bytes(format, block, length) : 0;
    if (elements.size() != n * element_bytes || scales.size() != n * scale_bytes)
        throw std::invalid_argument(
            "decode_rows: " + std::to_string(n) + " rows of " + std::to_string(length) + " in " +
            format_name + " take " + std::to_string(n * element_bytes) + " element and " +
            std::to_string(n * scale_bytes) + " scale bytes, got " +
            std::to_string(elements.size()) + " and " + std::to_string(scales.size()));
    nb::capsule owner;
    auto* out = allocate<float>(n * length, owner);
    {
        nb::gil_scoped_release release;
        for (std::size_t i = 0; i < n; ++i)
            numerics::mx_decode_row(format, block, elements.data() + i * element_bytes,
                                    scales.data() + i * scale_bytes, length, numerics::Format::fp32,
                                    out + i * length);
    }
    const std::size_t shape[] = {n, length};
    return nb::ndarray<nb::numpy, float, nb::ndim<2>>(out, 2, shape, owner);
}

}  // namespace

void convert(nb::module_& parent) {
    nb::module_ m = parent.def_submodule("convert", "Storage formats.");
    m.def("encode_rows", &encode_rows, "rows"_a, "format"_a, "block"_a);
    m.def("decode_rows", &decode_rows, "elements"_a, "scales"_a, "format"_a, "block"_a, "n"_a,
          "length"_a);
    m.def(
        "element_bytes",
        [](const std::string& format, std::size_t n) {
            return numerics::mx_element_bytes(numerics::mx_format(format), n);
        },
        "format"_a, "n"_a);
    m.def(
        "scale_bytes",
        [](const std::string& format, std::size_t block, std::size_t n) {
            const numerics::MxFormat f = numerics::mx_format(format);
            return numerics::mx_traits(f).scaled() ? numerics::mx_scale_bytes(f, block, n) : 0;
        },
        "format"_a, "block"_a, "n"_a);
}

}  // namespace npuvp::bindings
