#pragma once

#include <nanobind/nanobind.h>

// One function per file of this folder; module.cpp calls them all.
namespace npuvp::bindings {

void convert(nanobind::module_& m);
void debugger(nanobind::module_& m);
void estimate(nanobind::module_& m);
void flow(nanobind::module_& m);
void isa(nanobind::module_& m);
void machine(nanobind::module_& m);
void memory_model(nanobind::module_& m);
void numerics(nanobind::module_& m);
void trace(nanobind::module_& m);

}  // namespace npuvp::bindings
