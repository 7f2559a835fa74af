#include <nanobind/nanobind.h>

#include <cstdint>

#include "bindings/bindings.h"
#include "estimate/attention_rounds.h"

namespace nb = nanobind;

namespace npuvp::bindings {

void estimate(nb::module_& m) {
    using npuvp::estimate::RoundCosts;
    using npuvp::estimate::RoundTiles;
    using npuvp::estimate::RoundTransfers;
    nb::module_ sub = m.def_submodule("estimate", "Loops of the closed forms.");
    nb::class_<RoundTiles>(sub, "RoundTiles")
        .def(nb::init<double, double, double>(), nb::arg("next"), nb::arg("last"),
             nb::arg("issue"));
    nb::class_<RoundCosts>(sub, "RoundCosts")
        .def(nb::init<>())
        .def_rw("rows", &RoundCosts::rows)
        .def_rw("outputs", &RoundCosts::outputs)
        .def_rw("scores", &RoundCosts::scores)
        .def_rw("together", &RoundCosts::together)
        .def_rw("tiles", &RoundCosts::tiles)
        .def_rw("one_buffer", &RoundCosts::one_buffer)
        .def_rw("output", &RoundCosts::output)
        .def_rw("score", &RoundCosts::score)
        .def_rw("settled", &RoundCosts::settled)
        .def_rw("row", &RoundCosts::row)
        .def_rw("alone", &RoundCosts::alone)
        .def_rw("merged", &RoundCosts::merged)
        .def_rw("enter", &RoundCosts::enter)
        .def_rw("visit", &RoundCosts::visit)
        .def_rw("unit", &RoundCosts::unit)
        .def_rw("begin", &RoundCosts::begin)
        .def_rw("before_outputs", &RoundCosts::before_outputs)
        .def_rw("mask", &RoundCosts::mask)
        .def_rw("ask_values", &RoundCosts::ask_values)
        .def_rw("load_rows", &RoundCosts::load_rows)
        .def_rw("before_scores", &RoundCosts::before_scores)
        .def_rw("ask_next", &RoundCosts::ask_next)
        .def_rw("load_group", &RoundCosts::load_group)
        .def_rw("finish", &RoundCosts::finish)
        .def_rw("store_group", &RoundCosts::store_group)
        .def_rw("after", &RoundCosts::after)
        .def(
            "cycles",
            [](const RoundCosts& costs, std::int64_t visits, std::int64_t units, double latency,
               std::int64_t queue, double debt, double keys, double values, double queries,
               double mask, double written, double store) {
                const RoundTransfers transfers{latency, queue,   debt, keys,    values,
                                               queries, mask, written, store};
                return npuvp::estimate::attention_rounds(costs, transfers, visits, units);
            },
            nb::arg("visits"), nb::arg("units"), nb::arg("latency"), nb::arg("queue"),
            nb::arg("debt"), nb::arg("keys"), nb::arg("values"), nb::arg("queries"),
            nb::arg("mask"), nb::arg("written"), nb::arg("store"));
}

}  // namespace npuvp::bindings
