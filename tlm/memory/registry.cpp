#include <array>
#include <stdexcept>

#include "memory/backend.h"
#include "memory/dram/dram_backend.h"
#include "memory/ideal.h"
#if NPUVP_WITH_RAMULATOR
#include "memory/ramulator/ramulator_backend.h"
#endif

namespace npuvp::memory {
namespace {

template <class T>
std::unique_ptr<Backend> make(const Config& config) {
    return std::make_unique<T>(config);
}

struct Entry {
    const char* name;
    std::unique_ptr<Backend> (*make)(const Config&);
    const char* unavailable;  ///< empty if it can be made
};

constexpr std::array kBackends = {
    Entry{"builtin", make<dram::DramBackend>, ""},
    Entry{"ideal", make<IdealBackend>, ""},
#if NPUVP_WITH_RAMULATOR
    Entry{"ramulator", make<ramulator::RamulatorBackend>, ""},
#else
    Entry{"ramulator", nullptr,
          "memory backend 'ramulator' is not part of this build: npuvp was built without Ramulator "
          "2.1. Build Ramulator 2.1 in a tree of your own (it leaves libramulator.so in its root), "
          "set RAMULATOR_ROOT to that tree (environment or CMake variable) and set npuvp up again; "
          "or use the backend 'builtin'"},
#endif
};

const Entry& find(const std::string& name) {
    std::string known;
    for (const Entry& entry : kBackends) {
        if (name == entry.name) return entry;
        known += known.empty() ? "" : ", ";
        known += entry.name;
    }
    throw std::invalid_argument("memory backend '" + name + "' is unknown; allowed: " + known);
}

}  // namespace

std::unique_ptr<Backend> make_backend(const std::string& name, const Config& config) {
    const Entry& entry = find(name);
    if (*entry.unavailable != '\0') throw std::invalid_argument(entry.unavailable);
    return entry.make(config);
}

std::vector<std::string> backend_names() {
    std::vector<std::string> names;
    for (const Entry& entry : kBackends) names.emplace_back(entry.name);
    return names;
}

std::string backend_unavailable_reason(const std::string& name) {
    return find(name).unavailable;
}

}  // namespace npuvp::memory
