#include "memory/sparse.h"

#include <algorithm>
#include <cstring>

namespace npuvp::memory {

SparseStore::Page* SparseStore::find(std::uint64_t number) const {
    if (number == last_number_) return last_;
    auto it = pages_.find(number);
    if (it == pages_.end()) return nullptr;
    last_number_ = number;
    last_ = const_cast<Page*>(&it->second);
    return last_;
}

SparseStore::Page& SparseStore::page(std::uint64_t number) {
    if (Page* found = find(number)) return *found;
    Page& created = pages_[number];
    created.data = std::make_unique<std::uint8_t[]>(page_bytes);
    last_number_ = number;
    last_ = &created;
    return created;
}

void SparseStore::read(std::uint64_t address, void* out, std::uint64_t bytes) const {
    auto* to = static_cast<std::uint8_t*>(out);
    while (bytes > 0) {
        const std::uint64_t offset = address % page_bytes;
        const std::uint64_t count = std::min(bytes, page_bytes - offset);
        if (const Page* p = find(address / page_bytes))
            std::memcpy(to, p->data.get() + offset, count);
        else
            std::memset(to, 0, count);
        address += count;
        to += count;
        bytes -= count;
    }
}

void SparseStore::write(std::uint64_t address, const void* data, std::uint64_t bytes) {
    auto* from = static_cast<const std::uint8_t*>(data);
    while (bytes > 0) {
        const std::uint64_t offset = address % page_bytes;
        const std::uint64_t count = std::min(bytes, page_bytes - offset);
        std::memcpy(page(address / page_bytes).data.get() + offset, from, count);
        address += count;
        from += count;
        bytes -= count;
    }
}

bool SparseStore::word_tainted(std::uint64_t address) const {
    const Page* p = find(address / page_bytes);
    if (!p || !p->taint) return false;
    const std::uint64_t word = address % page_bytes / 4;
    return (p->taint[word / 64] >> (word % 64)) & 1u;
}

void SparseStore::set_word_taint(std::uint64_t address, bool tainted) {
    if (!tainted) {
        const Page* p = find(address / page_bytes);
        if (!p || !p->taint) return;
    }
    Page& p = page(address / page_bytes);
    if (!p.taint) p.taint = std::make_unique<std::uint64_t[]>(page_bytes / 4 / 64);
    const std::uint64_t word = address % page_bytes / 4;
    const std::uint64_t bit = 1ull << (word % 64);
    if (tainted)
        p.taint[word / 64] |= bit;
    else
        p.taint[word / 64] &= ~bit;
}

}  // namespace npuvp::memory
