#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>

namespace npuvp::memory {

/// Byte contents of a memory of up to 2^64 bytes. Pages appear on the first write; what was never
/// written reads as zero, so a 64 GiB memory costs what is touched. A page can also carry taint: a
/// bit per 32-bit word whose value is unknown in timing mode.
class SparseStore {
  public:
    static constexpr std::uint64_t page_bytes = 64 * 1024;

    void read(std::uint64_t address, void* out, std::uint64_t bytes) const;
    void write(std::uint64_t address, const void* data, std::uint64_t bytes);
    std::uint64_t pages() const { return pages_.size(); }

    /// Calls `visit(address, data)` for every page, in no order.
    template <typename Visit>
    void for_each_page(Visit visit) const {
        for (const auto& [number, page] : pages_) visit(number * page_bytes, page.data.get());
    }

    /// `address` and the word it names are 4-byte aligned.
    bool word_tainted(std::uint64_t address) const;
    void set_word_taint(std::uint64_t address, bool tainted);

  private:
    struct Page {
        std::unique_ptr<std::uint8_t[]> data;
        std::unique_ptr<std::uint64_t[]> taint;
    };
    Page* find(std::uint64_t number) const;
    Page& page(std::uint64_t number);

    std::unordered_map<std::uint64_t, Page> pages_;
    mutable std::uint64_t last_number_ = ~0ull;
    mutable Page* last_ = nullptr;  // elements of an unordered_map do not move
};

}  // namespace npuvp::memory
