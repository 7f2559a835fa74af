#include <nanobind/nanobind.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings/bindings.h"
#include "estimate/attention_rounds.h"
#include "estimate/memory.h"
#include "estimate/product.h"
#include "estimate/work.h"

namespace nb = nanobind;

namespace npuvp::bindings {

namespace {

namespace estimates = npuvp::estimate;

void work(nb::module_& sub) {
    using estimates::Work;
    nb::class_<Work>(sub, "Work")
        .def(nb::init<double, double, double, double, double, double, double>(),
             nb::arg("cycles") = 0.0, nb::arg("femtojoules") = 0.0, nb::arg("vector") = 0.0,
             nb::arg("matrix") = 0.0, nb::arg("macs") = 0.0, nb::arg("read") = 0.0,
             nb::arg("written") = 0.0)
        .def_rw("cycles", &Work::cycles)
        .def_rw("femtojoules", &Work::femtojoules)
        .def_rw("vector", &Work::vector)
        .def_rw("matrix", &Work::matrix)
        .def_rw("macs", &Work::macs)
        .def_rw("read", &Work::read)
        .def_rw("written", &Work::written)
        .def("add", &Work::add, nb::arg("other"), nb::arg("times") = 1.0)
        .def("beside", &Work::beside, nb::arg("other"), nb::arg("times") = 1.0)
        .def("rest",
             [](const Work& self) {
                 return std::tuple(self.femtojoules, self.vector, self.matrix, self.macs, self.read,
                                   self.written);
             })
        .def(
            "repeated",
            [](const Work& self, double times) {
                Work found;
                found.add(self, times);
                return found;
            },
            nb::arg("times"));
}

void memory(nb::module_& sub) {
    using estimates::Memory;
    using Moved = std::tuple<double, double, std::int64_t, double>;
    nb::class_<Memory>(sub, "Memory")
        .def(nb::init<double, double, double, double, double, double, double, double, double>(),
             nb::kw_only(), nb::arg("bytes_per_cycle"), nb::arg("port_bytes"),
             nb::arg("burst_bytes"), nb::arg("flit_bytes"), nb::arg("reads"), nb::arg("queue"),
             nb::arg("latency"), nb::arg("refresh"), nb::arg("refresh_every"))
        .def(
            "streamed",
            [](const Memory& self, const std::vector<Moved>& parts, double transfers, bool write,
               bool before) {
                std::vector<estimates::Pieces> pieces;
                pieces.reserve(parts.size());
                for (const auto& [rows, row_bytes, pitch, share] : parts)
                    pieces.push_back({rows, row_bytes, pitch, share});
                return self.streamed(pieces, transfers, write, before);
            },
            nb::arg("parts"), nb::arg("transfers"), nb::arg("write"), nb::arg("before"));
}

void attention_rounds(nb::module_& sub) {
    using estimates::RoundCosts;
    using estimates::RoundTiles;
    using estimates::RoundTransfers;
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
                const RoundTransfers transfers{latency, queue, debt,    keys, values,
                                               queries, mask,  written, store};
                return estimates::attention_rounds(costs, transfers, visits, units);
            },
            nb::arg("visits"), nb::arg("units"), nb::arg("latency"), nb::arg("queue"),
            nb::arg("debt"), nb::arg("keys"), nb::arg("values"), nb::arg("queries"),
            nb::arg("mask"), nb::arg("written"), nb::arg("store"));
}

void product(nb::module_& sub) {
    using estimates::Chunk;
    using estimates::Product;
    using estimates::ProductMemory;
    using estimates::ResultCosts;
    using estimates::Stage;
    using estimates::Weights;
    nb::class_<Stage>(sub, "Stage")
        .def(
            "__init__",
            [](Stage* self, double products, double stream, double skew, double row,
               std::int64_t rows, std::vector<double> tails, std::int64_t sets, double port,
               std::int64_t tiles, double between, double last, double around) {
                new (self) Stage({products, stream, skew, row, rows, std::move(tails), sets, port,
                                  tiles, between, last, around});
            },
            nb::kw_only(), nb::arg("products"), nb::arg("stream"), nb::arg("skew"), nb::arg("row"),
            nb::arg("rows"), nb::arg("tails"), nb::arg("sets"), nb::arg("port"), nb::arg("tiles"),
            nb::arg("between"), nb::arg("last"), nb::arg("around"));
    nb::class_<ResultCosts>(sub, "ResultCosts")
        .def(nb::init<double, double, double, double, bool, bool>(), nb::kw_only(), nb::arg("row"),
             nb::arg("entry"), nb::arg("finish"), nb::arg("finish_all"), nb::arg("whole"),
             nb::arg("untouched"));
    nb::class_<Chunk>(sub, "Chunk")
        .def(nb::init<Stage, std::int64_t, std::int64_t, std::int64_t>(), nb::arg("stage"),
             nb::arg("panels"), nb::arg("at_once"), nb::arg("times"));
    nb::class_<Weights>(sub, "Weights")
        .def(nb::init<double, std::int64_t, std::int64_t, double, double, double, double>(),
             nb::kw_only(), nb::arg("panels"), nb::arg("pieces"), nb::arg("descriptors"),
             nb::arg("descriptor"), nb::arg("issue"), nb::arg("due"), nb::arg("begin"));
    nb::class_<Product>(sub, "Product")
        .def(
            "__init__",
            [](Product* self, std::vector<Chunk> chunks, std::int64_t group,
               std::int64_t hidden_tiles, const ResultCosts& costs, const Weights& weights,
               double words, double drain) {
                new (self)
                    Product({std::move(chunks), group, hidden_tiles, costs, weights, words, drain});
            },
            nb::kw_only(), nb::arg("chunks"), nb::arg("group"), nb::arg("hidden_tiles"),
            nb::arg("costs"), nb::arg("weights"), nb::arg("words"), nb::arg("drain"))
        .def(
            "time",
            [](const Product& self, std::int64_t rows, double clear, double latency,
               std::int64_t queue, double panel, double loading, double storing, double arriving,
               std::int64_t before) {
                const auto found = self.time(
                    rows, clear, {latency, queue, panel, loading, storing, arriving, before});
                return std::pair(found.cycles, found.behind);
            },
            nb::arg("rows"), nb::arg("clear"), nb::arg("latency"), nb::arg("queue"),
            nb::arg("panel"), nb::arg("loading"), nb::arg("storing"), nb::arg("arriving"),
            nb::arg("before"));
}

}  // namespace

void estimate(nb::module_& m) {
    nb::module_ sub = m.def_submodule("estimate", "Loops of the closed forms.");
    work(sub);
    memory(sub);
    attention_rounds(sub);
    product(sub);
}

}  // namespace npuvp::bindings
