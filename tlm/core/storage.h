#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <vector>

namespace npuvp::core {

/// Zeroed array whose untouched pages cost nothing (a PLENA Vector SRAM has four million rows).
template <typename T>
class LazyArray {
  public:
    explicit LazyArray(std::uint64_t count)
        : data_(static_cast<T*>(std::calloc(count ? count : 1, sizeof(T)))), count_(count) {
        if (!data_) throw std::bad_alloc();
    }
    T* data() { return data_.get(); }
    const T* data() const { return data_.get(); }
    T& operator[](std::uint64_t i) { return data_.get()[i]; }
    const T& operator[](std::uint64_t i) const { return data_.get()[i]; }
    std::uint64_t size() const { return count_; }

  private:
    struct Free {
        void operator()(T* p) const { std::free(p); }
    };
    std::unique_ptr<T[], Free> data_;
    std::uint64_t count_;
};

/// A unit that produces results or occupies time; cycles are accounted by these classes.
enum class Class : std::uint8_t { scalar, vector, matrix, memory, control, count_ };

/// When a value is there and who makes it, in one comparable word: cycle * 8 + class.
using Ready = std::uint64_t;
inline Ready ready_at(std::uint64_t cycle, Class by) {
    return cycle * 8 + static_cast<std::uint64_t>(by);
}
inline std::uint64_t cycle_of(Ready ready) {
    return ready / 8;
}
inline Class class_of(Ready ready) {
    return static_cast<Class>(ready % 8);
}

/// Memories of a core that instructions address.
enum class Space : std::uint8_t { vector, matrix, fp, integer };

}  // namespace npuvp::core
