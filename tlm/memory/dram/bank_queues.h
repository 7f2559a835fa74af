#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "memory/backend.h"
#include "memory/dram/hit_queue.h"
#include "memory/dram/limits.h"
#include "memory/dram/ticks.h"
#include "memory/serial.h"

namespace npuvp::memory::dram {

enum Kind : std::uint8_t { kRead = 0, kWrite = 1 };
inline constexpr int kKinds = 2;

/// One access of a channel as it is sent.
struct Access {
    Kind kind;
    std::uint32_t bytes;
    std::uint64_t unit;  ///< address / access size
    std::uint64_t tag;
};

/// One waiting access of a channel: half a cache line, for there are many.
struct Entry {
    std::uint64_t unit = 0;
    std::uint64_t tag = 0;
    std::uint32_t arrival = 0;  ///< tick; wraps, compare by `earlier`
    std::uint32_t order = 0;    ///< of arrival, of activation once activated
    std::uint32_t row = 0;
    std::int16_t next = -1;
    std::uint16_t bytes : 15;
    std::uint16_t counted : 1;  ///< as row hit, miss or conflict

    Entry() : bytes(0), counted(0) {}
};
static_assert(sizeof(Entry) == 32);

/// The read and the write queue of a channel, split into requests that hit their bank's open row,
/// kept per pseudo-channel, and requests that do not, kept per bank, each in order of arrival; and
/// the state of the banks' rows.
/// A request that has activated its row leaves its queue: its bank holds the row for it.
/// Bitmaps, one bit per bank of a pseudo-channel, name the banks that have something to do, so the
/// cost of a decision follows them and not the length of the queues.
class BankQueues {
  public:
    struct Masks {
        std::uint64_t open = 0;
        std::uint64_t active = 0;        ///< the row is held for the request that activated it
        std::uint64_t active_write = 0;  ///< which is a write
        std::uint64_t hit[kKinds] = {};
        std::uint64_t miss[kKinds] = {};
        /// The oldest miss is not older than the oldest hit, so it must not close the row.
        std::uint64_t hit_first[kKinds] = {};
    };
    struct Chain {
        std::int16_t head = -1, tail = -1;
    };
    static constexpr std::uint32_t kNoRow = ~std::uint32_t{0};
    struct alignas(32) Bank {
        Chain misses[kKinds];
        std::uint16_t hits[kKinds] = {};  ///< how many
        std::int16_t active = -1;
        std::uint32_t row = kNoRow;  ///< that is open
        std::uint32_t columns = 0;   ///< accesses since the row was opened
    };

    BankQueues(int pseudo_channels, int banks, int depth);
    BankQueues(const BankQueues&) = delete;
    BankQueues& operator=(const BankQueues&) = delete;

    bool full(Kind kind) const { return size_[kind] >= depth_; }
    int size(Kind kind) const { return size_[kind]; }
    int depth() const { return depth_; }
    int actives() const { return actives_; }
    const Masks& masks(int pc) const { return pcs_[pc].masks; }
    const Bank& bank(int pc, int bank) const { return pcs_[pc].banks[bank]; }
    const HitQueue& hits(int pc, Kind kind) const { return hits_[pc][kind]; }
    /// Per bank of a pseudo-channel, the order of its oldest miss, and order and arrival of the
    /// request that activated its row.
    const std::uint32_t* miss_orders(int pc, Kind kind) const {
        return pcs_[pc].miss_orders[kind].data();
    }
    const std::uint32_t* active_orders(int pc) const { return pcs_[pc].active_orders.data(); }
    const std::uint32_t* active_arrivals(int pc) const { return pcs_[pc].active_arrivals.data(); }
    Entry& entry(int index) { return entries_[index]; }
    const Entry& entry(int index) const { return entries_[index]; }

    /// True if the request now leads its bank's hits or misses, so that a decision may change.
    bool push(int pc, int bank, std::uint32_t row, const Access& access, Tick now) {
        const Kind kind = access.kind;
        const std::int16_t index = free_;
        Entry& e = entries_[index];
        free_ = e.next;
        e.unit = access.unit;
        e.tag = access.tag;
        e.arrival = static_cast<std::uint32_t>(now);
        e.order = arrivals_++;
        e.row = row;
        e.next = -1;
        e.bytes = static_cast<std::uint16_t>(access.bytes) & 0x7FFF;
        e.counted = 0;
        ++size_[kind];
        if (kind == kWrite) ++writes_at_[bucket(access.unit)];
        Bank& b = pcs_[pc].banks[bank];
        bool first;
        if (b.row == row) {
            hits_[pc][kind].push_back({e.order, index, static_cast<std::uint16_t>(bank)});
            first = b.hits[kind]++ == 0;
        } else {
            first = b.misses[kind].head < 0;
            append(b.misses[kind], index);
        }
        if (first) refresh_masks(pc, bank, kind);
        return first;
    }
    /// A write to `unit` waits (writes whose row is already activated do not count).
    bool write_waits(int pc, int bank, std::uint64_t unit) const {
        return size_[kWrite] != 0 && writes_at_[bucket(unit)] != 0 && finds_write(pc, bank, unit);
    }

    /// The oldest miss of `kind` opens its row and leaves its queue.
    int activate(int pc, int bank, Kind kind);
    void close(int pc, int bank);
    /// Removes a hit, its bank's oldest / the request that activated the row, and counts a column
    /// access. The entry may be read until the next `push`.
    const Entry& take_hit(int pc, Kind kind, const HitQueue::Item* hit) {
        PseudoChannel& p = pcs_[pc];
        const int bank = hit->bank;
        const std::int16_t index = hit->entry;
        const Entry& taken = entries_[index];
        Bank& b = p.banks[bank];
        hits_[pc][kind].erase(hit);
        --size_[kind];
        if (kind == kWrite) --writes_at_[bucket(taken.unit)];
        ++b.columns;
        // Hits only grow younger, so a miss that came first stays first.
        const std::uint64_t bit = std::uint64_t{1} << bank;
        if (--b.hits[kind] == 0 || (p.masks.hit_first[kind] & bit) != 0)
            refresh_masks(pc, bank, kind);
        release(index);
        return taken;
    }
    Entry take_active(int pc, int bank);

    void save(Writer& writer) const;
    void restore(Reader& reader);

  private:
    template <class T>
    using PerBank = std::array<T, kMaxBanks>;
    struct PseudoChannel {
        Masks masks;
        PerBank<Bank> banks;
        // Copies of what decisions compare, one array each: they look at many banks and one value.
        PerBank<std::uint32_t> miss_orders[kKinds] = {};
        PerBank<std::uint32_t> active_orders = {};
        PerBank<std::uint32_t> active_arrivals = {};
    };

    void append(Chain& chain, std::int16_t index) {
        if (chain.head < 0) {
            chain.head = index;
        } else {
            entries_[chain.tail].next = index;
        }
        chain.tail = index;
    }
    void release(int index) {
        entries_[index].next = free_;
        free_ = static_cast<std::int16_t>(index);
    }
    bool finds_write(int pc, int bank, std::uint64_t unit) const;
    void refresh_masks(int pc, int bank, Kind kind);
    static std::size_t bucket(std::uint64_t unit) {
        return static_cast<std::size_t>((unit * 0x9E3779B97F4A7C15ULL) >> 56);
    }

    int depth_;
    int size_[kKinds] = {};
    int actives_ = 0;
    std::uint32_t arrivals_ = 0;
    std::uint32_t activations_ = 0;
    std::int16_t free_ = -1;
    // In place, not behind a pointer: every access looks at them.
    std::array<PseudoChannel, kMaxPseudoChannels> pcs_;
    HitQueue hits_[kMaxPseudoChannels][kKinds];
    std::vector<Entry> entries_;
    std::vector<std::uint16_t> writes_at_;  ///< waiting writes by hash of their unit
};

}  // namespace npuvp::memory::dram
