#pragma once

#include "memory/config.h"
#include "memory/dram/timing.h"
#include "ramulator/base/config_node.h"

namespace npuvp::memory::ramulator {

/// The configuration of a memory system for Ramulator 2.1's factory.
/// @throws std::invalid_argument for what it cannot model.
Ramulator::ConfigNode memory_system_config(const Config& config, const dram::TickTable& table);
Ramulator::ConfigNode frontend_config();

}  // namespace npuvp::memory::ramulator
