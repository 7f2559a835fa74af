#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <type_traits>
#include <vector>

namespace npuvp::memory {

/// Plain structs to bytes, for checkpoints of one build on one kind of machine.
class Writer {
  public:
    template <class T>
    void put(const T& value) {
        static_assert(std::is_trivially_copyable_v<T>);
        append(&value, sizeof value);
    }
    template <class T>
    void put(const std::vector<T>& values) {
        static_assert(std::is_trivially_copyable_v<T>);
        put<std::uint64_t>(values.size());
        append(values.data(), values.size() * sizeof(T));
    }
    std::vector<std::uint8_t> take() { return std::move(bytes_); }

  private:
    void append(const void* data, std::size_t size) {
        const auto* bytes = static_cast<const std::uint8_t*>(data);
        bytes_.insert(bytes_.end(), bytes, bytes + size);
    }
    std::vector<std::uint8_t> bytes_;
};

/// @throws std::runtime_error where the bytes end early or are left over.
class Reader {
  public:
    explicit Reader(const std::vector<std::uint8_t>& bytes) : bytes_(bytes) {}

    template <class T>
    void get(T& value) {
        static_assert(std::is_trivially_copyable_v<T>);
        take(&value, sizeof value);
    }
    template <class T>
    void get(std::vector<T>& values) {
        std::uint64_t count = 0;
        get(count);
        if (count > (bytes_.size() - at_) / sizeof(T)) mismatch();
        values.resize(count);
        take(values.data(), count * sizeof(T));
    }
    /// Values whose number the configuration fixes.
    template <class T>
    void fill(std::vector<T>& values) {
        const std::size_t count = values.size();
        get(values);
        if (values.size() != count) mismatch();
    }
    /// A value that must be as it was when saved.
    template <class T>
    void expect(const T& value) {
        static_assert(std::has_unique_object_representations_v<T>);
        std::array<std::uint8_t, sizeof(T)> saved{};
        take(saved.data(), saved.size());
        if (std::memcmp(saved.data(), &value, sizeof value) != 0) mismatch();
    }
    void finish() const {
        if (at_ != bytes_.size()) mismatch();
    }
    [[noreturn]] static void mismatch() {
        throw std::runtime_error(
            "memory checkpoint does not fit: it was saved with another configuration or version");
    }

  private:
    void take(void* data, std::size_t size) {
        if (size > bytes_.size() - at_) mismatch();
        if (size > 0) std::memcpy(data, bytes_.data() + at_, size);
        at_ += size;
    }
    const std::vector<std::uint8_t>& bytes_;
    std::size_t at_ = 0;
};

}  // namespace npuvp::memory
