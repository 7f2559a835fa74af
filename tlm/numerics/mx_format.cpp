#include <array>
#include <stdexcept>

#include "numerics/mx.h"

namespace npuvp::numerics {

namespace {

constexpr std::array<MxTraits, mx_formats> traits = {{
    {"mxfp8_e4m3", MxKind::ocp_float, 8, 4, 3, 7, 8, 448.0f},
    {"mxfp8_e5m2", MxKind::ocp_float, 8, 5, 2, 15, 15, 57344.0f},
    {"mxfp6_e3m2", MxKind::ocp_float, 6, 3, 2, 3, 4, 28.0f},
    {"mxfp6_e2m3", MxKind::ocp_float, 6, 2, 3, 1, 2, 7.5f},
    {"mxfp4_e2m1", MxKind::ocp_float, 4, 2, 1, 1, 2, 6.0f},
    {"mxint8", MxKind::ocp_int, 8, 0, 6, 0, 0, 1.984375f},
    {"mxint4", MxKind::ocp_int, 4, 0, 2, 0, 0, 1.75f},
    {"plena_e4m3", MxKind::plena, 8, 4, 3, 7, 7, 240.0f},
    {"plena_e5m2", MxKind::plena, 8, 5, 2, 15, 15, 57344.0f},
    {"plena_e3m4", MxKind::plena, 8, 3, 4, 3, 3, 15.5f},
    {"plena_e2m5", MxKind::plena, 8, 2, 5, 1, 1, 3.9375f},
    {"bf16", MxKind::plain, 16, 8, 7, 127, 127, 0x1.fep127f},
    {"fp16", MxKind::plain, 16, 5, 10, 15, 15, 65504.0f},
    {"fp32", MxKind::plain, 32, 8, 23, 127, 127, 0x1.fffffep127f},
}};

}  // namespace

const MxTraits& mx_traits(MxFormat format) {
    return traits[static_cast<std::size_t>(format)];
}

MxFormat mx_format(std::string_view name) {
    std::string known;
    for (std::size_t i = 0; i < traits.size(); ++i) {
        if (name == traits[i].name) return static_cast<MxFormat>(i);
        known += std::string(known.empty() ? "" : ", ") + traits[i].name;
    }
    throw std::invalid_argument("element format '" + std::string(name) + "' is not one of " +
                                known);
}

std::size_t mx_element_bytes(MxFormat format, std::size_t n) {
    return (n * mx_traits(format).element_bits + 7) / 8;
}

std::size_t mx_scale_bytes(MxFormat format, std::size_t block, std::size_t n) {
    if (!mx_traits(format).scaled()) return 0;
    if (block == 0) throw std::invalid_argument("microscaling block of 0 elements");
    return (n + block - 1) / block;
}

}  // namespace npuvp::numerics
