#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <array>
#include <cstddef>
#include <stdexcept>
#include <string>

/// Strict reading of the plain dicts that Platform.description() consists of. The generated
/// parameters_from_dict.h is written in terms of it.
namespace npuvp::bindings {

/// from[name], which must be there and of the type itself: no conversion.
template <class T>
T dict_value(const nanobind::dict& from, const char* owner, const char* name) {
    const std::string path = std::string(owner) + "." + name;
    if (!from.contains(name)) throw std::invalid_argument(path + " is missing");
    T result{};
    if (!nanobind::try_cast<T>(from[name], result, false))
        throw std::invalid_argument(path + " has the wrong type");
    return result;
}

/// The enumerator whose declared name is from[name].
template <class E, std::size_t n>
E dict_enumerator(const nanobind::dict& from, const char* owner, const char* name,
                  const std::array<const char*, n>& names) {
    const auto text = dict_value<std::string>(from, owner, name);
    for (std::size_t i = 0; i < n; ++i)
        if (text == names[i]) return static_cast<E>(i);
    throw std::invalid_argument(std::string(owner) + "." + name + " = " + text +
                                " is no declared value");
}

/// Every declared key is read; another number of entries means that one is unknown.
inline void demand_size(const nanobind::dict& from, const char* owner, std::size_t declared) {
    if (from.size() != declared)
        throw std::invalid_argument(std::string(owner) + " has " + std::to_string(from.size()) +
                                    " entries where " + std::to_string(declared) + " are declared");
}

}  // namespace npuvp::bindings
