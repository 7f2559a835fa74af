#include "memory/dram/scheduler.h"

namespace npuvp::memory::dram {
namespace {

/// Calls `ready_at(bank)` for each bank of the mask and keeps the one that `order_of` puts first
/// among those that are ready.
template <class ReadyAt, class OrderOf>
Pick oldest_ready(std::uint64_t banks, Tick now, ReadyAt ready_at, OrderOf order_of) {
    Pick pick;
    while (banks != 0) {
        const int bank = __builtin_ctzll(banks);
        banks &= banks - 1;
        const Tick ready = ready_at(bank);
        if (ready > now) {
            pick.next = std::min(pick.next, ready);
            continue;
        }
        const std::uint32_t order = order_of(bank);
        if (pick.bank < 0) {
            pick.bank = bank;
            pick.order = order;
        } else {
            // At least two are ready: the loser stays ready until something else issues.
            pick.next = now + 1;
            if (earlier(order, pick.order)) {
                pick.bank = bank;
                pick.order = order;
            }
        }
    }
    return pick;
}

}  // namespace

Pick FrFcfs::active_column(int pc, Tick now) const {
    Pick pick;
    std::uint64_t banks = queues_.masks(pc).active;
    while (banks != 0) {
        const int bank = __builtin_ctzll(banks);
        banks &= banks - 1;
        const Entry& entry = queues_.entry(queues_.bank(pc, bank).active);
        const Tick ready =
            entry.kind == kRead ? timing_.read_ready(pc, bank) : timing_.write_ready(pc, bank);
        if (ready > now) {
            pick.next = std::min(pick.next, ready);
            continue;
        }
        const bool first = pick.bank < 0;
        if (!first) pick.next = now + 1;
        if (first || entry.arrival < pick.arrival ||
            (entry.arrival == pick.arrival && earlier(entry.order, pick.order))) {
            pick.bank = bank;
            pick.arrival = entry.arrival;
            pick.order = entry.order;
        }
    }
    return pick;
}

Pick FrFcfs::hit_column(int pc, Kind kind, Tick now) const {
    const auto order = [&](int bank) { return queues_.bank(pc, bank).lists[kind].hit_order; };
    const std::uint64_t banks = queues_.masks(pc).hit[kind];
    if (kind == kRead) {
        return oldest_ready(
            banks, now, [&](int bank) { return timing_.read_ready(pc, bank); }, order);
    }
    return oldest_ready(banks, now, [&](int bank) { return timing_.write_ready(pc, bank); }, order);
}

Pick FrFcfs::activate(int pc, Kind kind, Tick now) const {
    const BankQueues::Masks& m = queues_.masks(pc);
    const std::uint64_t banks = m.miss[kind] & ~m.open;
    const Tick floor = timing_.activate_floor(pc);
    if (floor > now) {
        Pick pick;
        pick.next = banks != 0 ? floor : kNeverTick;
        return pick;
    }
    return oldest_ready(
        banks, now, [&](int bank) { return timing_.activate_ready(pc, bank); },
        [&](int bank) { return queues_.bank(pc, bank).lists[kind].miss_order; });
}

Pick FrFcfs::precharge(int pc, Kind kind, Tick now) const {
    return oldest_ready(
        precharge_banks(pc, kind), now, [&](int bank) { return timing_.precharge_ready(pc, bank); },
        [&](int bank) { return queues_.bank(pc, bank).lists[kind].miss_order; });
}

}  // namespace npuvp::memory::dram
