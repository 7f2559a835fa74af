#pragma once

#include <nanobind/nanobind.h>

#include "memory/config.h"

namespace npuvp::bindings {

/// A memory's description as `npuvp.memory_presets.memory_config` makes it.
/// @throws std::invalid_argument naming a key that is missing or not of its type.
memory::Config memory_config(const nanobind::dict& description);

}  // namespace npuvp::bindings
