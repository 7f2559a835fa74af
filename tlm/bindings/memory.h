#pragma once

#include <nanobind/nanobind.h>

#include "memory/backend.h"
#include "memory/config.h"

namespace npuvp::bindings {

/// A memory's description as `npuvp.memory_presets.memory_config` makes it.
/// @throws std::invalid_argument naming a key that is missing or not of its type.
memory::Config memory_config(const nanobind::dict& description);

/// What a backend counted, by name; times end in _ps.
nanobind::dict memory_counts(const memory::Statistics& statistics);

}  // namespace npuvp::bindings
