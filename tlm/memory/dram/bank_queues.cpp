#include "memory/dram/bank_queues.h"

namespace npuvp::memory::dram {

BankQueues::BankQueues(int pseudo_channels, int banks, int depth)
    : depth_(depth),
      hits_{{HitQueue(depth), HitQueue(depth)}, {HitQueue(depth), HitQueue(depth)}},
      entries_(static_cast<std::size_t>(depth) * kKinds +
               static_cast<std::size_t>(pseudo_channels) * banks),
      writes_at_(256) {
    for (int index = static_cast<int>(entries_.size()) - 1; index >= 0; --index) release(index);
}

void BankQueues::refresh_masks(int pc, int bank, Kind kind) {
    PseudoChannel& p = pcs_[pc];
    const Bank& b = p.banks[bank];
    Masks& masks = p.masks;
    const std::uint64_t bit = std::uint64_t{1} << bank;
    const bool hit = b.hits[kind] != 0;
    const int miss = b.misses[kind].head;
    if (miss >= 0) p.miss_orders[kind][bank] = entries_[miss].order;
    const auto put = [bit](std::uint64_t& mask, bool on) { mask = on ? mask | bit : mask & ~bit; };
    put(masks.hit[kind], hit);
    put(masks.miss[kind], miss >= 0);
    put(masks.hit_first[kind],
        hit && miss >= 0 &&
            !earlier(entries_[miss].arrival,
                     entries_[hits(pc, kind).oldest_of(bank)->entry].arrival));
}

bool BankQueues::finds_write(int pc, int bank, std::uint64_t unit) const {
    const Bank& b = this->bank(pc, bank);
    for (int i = b.misses[kWrite].head; i >= 0; i = entries_[i].next) {
        if (entries_[i].unit == unit) return true;
    }
    if (b.hits[kWrite] == 0) return false;
    for (const HitQueue::Item& hit : hits(pc, kWrite)) {
        if (entries_[hit.entry].unit == unit) return true;
    }
    return false;
}

int BankQueues::activate(int pc, int bank, Kind kind) {
    PseudoChannel& p = pcs_[pc];
    Bank& b = p.banks[bank];
    const std::uint64_t bit = std::uint64_t{1} << bank;
    const int index = b.misses[kind].head;
    Entry& e = entries_[index];
    b.misses[kind].head = e.next;
    e.order = activations_++;
    --size_[kind];
    if (kind == kWrite) --writes_at_[bucket(e.unit)];
    b.active = static_cast<std::int16_t>(index);
    b.row = e.row;
    b.columns = 0;
    ++actives_;
    p.masks.open |= bit;
    p.masks.active |= bit;
    if (kind == kWrite) p.masks.active_write |= bit;
    p.active_orders[bank] = e.order;
    p.active_arrivals[bank] = e.arrival;
    for (Kind k : {kRead, kWrite}) {
        std::int16_t i = b.misses[k].head;
        b.misses[k] = {};
        while (i >= 0) {
            const std::int16_t next = entries_[i].next;
            if (entries_[i].row == b.row) {
                hits_[pc][k].insert({entries_[i].order, i, static_cast<std::uint16_t>(bank)});
                ++b.hits[k];
            } else {
                entries_[i].next = -1;
                append(b.misses[k], i);
            }
            i = next;
        }
        refresh_masks(pc, bank, k);
    }
    return index;
}

void BankQueues::close(int pc, int bank) {
    PseudoChannel& p = pcs_[pc];
    Bank& b = p.banks[bank];
    p.masks.open &= ~(std::uint64_t{1} << bank);
    b.row = kNoRow;
    for (Kind k : {kRead, kWrite}) {
        if (b.hits[k] == 0) continue;
        std::int16_t miss = b.misses[k].head;
        b.misses[k] = {};
        b.hits[k] = 0;
        const auto next_miss = [&] {
            const std::int16_t index = miss;
            miss = entries_[index].next;
            entries_[index].next = -1;
            append(b.misses[k], index);
        };
        hits_[pc][k].erase_all(bank, [&](std::int16_t hit) {
            while (miss >= 0 && earlier(entries_[miss].order, entries_[hit].order)) next_miss();
            entries_[hit].next = -1;
            append(b.misses[k], hit);
        });
        while (miss >= 0) next_miss();
        refresh_masks(pc, bank, k);
    }
}

Entry BankQueues::take_active(int pc, int bank) {
    PseudoChannel& p = pcs_[pc];
    Bank& b = p.banks[bank];
    const Entry taken = entries_[b.active];
    release(b.active);
    b.active = -1;
    ++b.columns;
    --actives_;
    p.masks.active &= ~(std::uint64_t{1} << bank);
    p.masks.active_write &= ~(std::uint64_t{1} << bank);
    return taken;
}

void BankQueues::save(Writer& writer) const {
    writer.put(size_);
    writer.put(actives_);
    writer.put(arrivals_);
    writer.put(activations_);
    writer.put(free_);
    writer.put(pcs_);
    for (const auto& kinds : hits_)
        for (const HitQueue& hits : kinds) hits.save(writer);
    writer.put(entries_);
    writer.put(writes_at_);
}

void BankQueues::restore(Reader& reader) {
    reader.get(size_);
    reader.get(actives_);
    reader.get(arrivals_);
    reader.get(activations_);
    reader.get(free_);
    reader.get(pcs_);
    for (auto& kinds : hits_)
        for (HitQueue& hits : kinds) hits.restore(reader);
    reader.fill(entries_);
    reader.fill(writes_at_);
}

}  // namespace npuvp::memory::dram
