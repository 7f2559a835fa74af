#include "memory/dram/scheduler.h"

namespace npuvp::memory::dram {
namespace {

/// Of the banks of a mask, the one that `orders` puts first among those that are ready.
template <class Times>
Pick oldest_ready(std::uint64_t banks, Tick now, const Times times, const std::uint32_t* orders) {
    Pick pick;
    for (; banks != 0; banks &= banks - 1) {
        const int bank = __builtin_ctzll(banks);
        const Tick ready = times(bank);
        if (ready > now) {
            pick.next = std::min(pick.next, ready);
            continue;
        }
        const std::uint32_t order = orders[bank];
        pick.more = pick.bank >= 0;
        if (pick.bank < 0 || earlier(order, pick.order)) {
            pick.bank = bank;
            pick.order = order;
        }
    }
    return pick;
}

}  // namespace

Pick FrFcfs::oldest_active(int pc, Tick now) const {
    Pick pick;
    const std::uint64_t writes = queues_.masks(pc).active_write;
    const TimingChecker::ColumnTimes reads = timing_.reads(pc);
    const std::uint32_t* orders = queues_.active_orders(pc);
    const std::uint32_t* arrivals = queues_.active_arrivals(pc);
    for (std::uint64_t banks = queues_.masks(pc).active; banks != 0; banks &= banks - 1) {
        const int bank = __builtin_ctzll(banks);
        const Tick ready = (writes >> bank & 1) == 0 ? reads(bank) : timing_.write_ready(pc, bank);
        if (ready > now) {
            pick.next = std::min(pick.next, ready);
            continue;
        }
        const bool first = pick.bank < 0;
        pick.more = !first;
        if (first || earlier(arrivals[bank], pick.arrival) ||
            (arrivals[bank] == pick.arrival && earlier(orders[bank], pick.order))) {
            pick.bank = bank;
            pick.arrival = arrivals[bank];
            pick.order = orders[bank];
        }
    }
    return pick;
}

Pick FrFcfs::oldest_hit(int pc, Kind kind, Tick now) const {
    Pick pick;
    // All of a bank are ready together.
    std::uint64_t unseen = queues_.masks(pc).hit[kind];
    for (const HitQueue::Item* hit = queues_.hits(pc, kind).begin(); unseen != 0; ++hit) {
        const std::uint64_t bit = std::uint64_t{1} << hit->bank;
        if ((unseen & bit) == 0) continue;
        unseen &= ~bit;
        const Tick ready =
            kind == kRead ? timing_.read_ready(pc, hit->bank) : timing_.write_ready(pc, hit->bank);
        if (ready <= now) {
            pick.bank = hit->bank;
            pick.order = hit->order;
            pick.more = true;
            break;
        }
        pick.next = std::min(pick.next, ready);
    }
    return pick;
}

Tick FrFcfs::active_ready(int pc) const {
    Tick ready = kNeverTick;
    const BankQueues::Masks& m = queues_.masks(pc);
    for (std::uint64_t banks = m.active; banks != 0; banks &= banks - 1) {
        const int bank = __builtin_ctzll(banks);
        ready = std::min(ready, (m.active_write >> bank & 1) == 0 ? timing_.read_ready(pc, bank)
                                                                  : timing_.write_ready(pc, bank));
    }
    return ready;
}

Pick FrFcfs::activate(int pc, Kind kind, Tick now) const {
    const BankQueues::Masks& m = queues_.masks(pc);
    const std::uint64_t banks = m.miss[kind] & ~m.open;
    const TimingChecker::ActivateTimes times = timing_.activates(pc);
    if (times.floor > now) {
        Pick pick;
        pick.next = banks != 0 ? times.floor : kNeverTick;
        return pick;
    }
    return oldest_ready(banks, now, times, queues_.miss_orders(pc, kind));
}

void FrFcfs::precharge(int pc, Kind kind, Tick now, Watch& watch) const {
    const std::uint64_t wanted = precharge_banks(pc, kind);
    const std::uint32_t* orders = queues_.miss_orders(pc, kind);
    const TimingChecker::PrechargeTimes times = timing_.precharges(pc);
    Pick& pick = watch.pick;
    std::uint64_t rivals = 0;  // what the pick has not been compared with
    if (now >= pick.next) {
        pick.next = kNeverTick;
        for (std::uint64_t banks = wanted & ~watch.ready; banks != 0; banks &= banks - 1) {
            const int bank = __builtin_ctzll(banks);
            if (times.bank[bank] > now) {
                pick.next = std::min(pick.next, times.bank[bank]);
            } else {
                rivals |= std::uint64_t{1} << bank;
            }
        }
        watch.ready |= rivals;
    }
    watch.ready &= wanted;
    if (pick.bank < 0) rivals = watch.ready;
    for (; rivals != 0; rivals &= rivals - 1) {
        const int bank = __builtin_ctzll(rivals);
        if (pick.bank < 0 || earlier(orders[bank], pick.order)) {
            pick.bank = bank;
            pick.order = orders[bank];
        }
    }
    pick.more = (watch.ready & (watch.ready - 1)) != 0;
    watch.found(now);
    // The whole pseudo-channel has to wait after a PRE (tPPD).
    if (pick.bank >= 0 && times.floor > now) {
        watch.look = times.floor;
        pick.bank = -1;
    }
}

}  // namespace npuvp::memory::dram
