#include "memory/dram/bank_queues.h"

namespace npuvp::memory::dram {

BankQueues::BankQueues(int pseudo_channels, int banks, int depth)
    : depth_(depth),
      entries_(static_cast<std::size_t>(depth) * kKinds +
               static_cast<std::size_t>(pseudo_channels) * banks),
      writes_at_(256) {
    for (int index = static_cast<int>(entries_.size()) - 1; index >= 0; --index) release(index);
}

void BankQueues::append(std::int16_t& head, std::int16_t& tail, int index) {
    entries_[index].next = -1;
    if (head < 0) {
        head = static_cast<std::int16_t>(index);
    } else {
        entries_[tail].next = static_cast<std::int16_t>(index);
    }
    tail = static_cast<std::int16_t>(index);
}

void BankQueues::refresh_masks(int pc, int bank, Kind kind) {
    PseudoChannel& p = pcs_[pc];
    const List& list = p.banks[bank].lists[kind];
    Masks& masks = p.masks;
    const std::uint64_t bit = std::uint64_t{1} << bank;
    const bool hit = list.hit_head >= 0;
    const bool miss = list.miss_head >= 0;
    if ((masks.hit[kind] & bit) != 0) p.hit_ages[kind].remove(bank);
    if (hit) {
        p.hit_orders[kind][bank] = entries_[list.hit_head].order;
        p.hit_ages[kind].insert(bank, p.hit_orders[kind].data());
    }
    if (miss) p.miss_orders[kind][bank] = entries_[list.miss_head].order;
    const auto put = [bit](std::uint64_t& mask, bool on) { mask = on ? mask | bit : mask & ~bit; };
    put(masks.hit[kind], hit);
    put(masks.miss[kind], miss);
    put(masks.hit_first[kind],
        hit && miss && !earlier(entries_[list.miss_head].arrival, entries_[list.hit_head].arrival));
}

bool BankQueues::finds_write(int pc, int bank, std::uint64_t unit) const {
    const List& list = this->bank(pc, bank).lists[kWrite];
    for (int head : {list.hit_head, list.miss_head}) {
        for (int i = head; i >= 0; i = entries_[i].next) {
            if (entries_[i].unit == unit) return true;
        }
    }
    return false;
}

int BankQueues::activate(int pc, int bank, Kind kind) {
    PseudoChannel& p = pcs_[pc];
    Bank& b = p.banks[bank];
    const std::uint64_t bit = std::uint64_t{1} << bank;
    const int index = b.lists[kind].miss_head;
    Entry& e = entries_[index];
    b.lists[kind].miss_head = e.next;
    if (e.next < 0) b.lists[kind].miss_tail = -1;
    e.order = activations_++;
    e.next = -1;
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
        List& list = b.lists[k];
        std::int16_t i = list.miss_head;
        list.miss_head = list.miss_tail = -1;
        while (i >= 0) {
            const std::int16_t next = entries_[i].next;
            if (entries_[i].row == b.row) {
                append(list.hit_head, list.hit_tail, i);
            } else {
                append(list.miss_head, list.miss_tail, i);
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
        List& list = b.lists[k];
        if (list.hit_head < 0) continue;
        std::int16_t hit = list.hit_head;
        std::int16_t miss = list.miss_head;
        list = {};
        while (hit >= 0 || miss >= 0) {
            const bool take_hit =
                miss < 0 || (hit >= 0 && earlier(entries_[hit].order, entries_[miss].order));
            std::int16_t& from = take_hit ? hit : miss;
            const std::int16_t index = from;
            from = entries_[index].next;
            append(list.miss_head, list.miss_tail, index);
        }
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
    reader.fill(entries_);
    reader.fill(writes_at_);
}

}  // namespace npuvp::memory::dram
