#include <array>
#include <stdexcept>

#include "memory/backend.h"
#include "memory/dram/dram_backend.h"
#include "memory/ideal.h"

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
