#include "memory/dram/channel.h"

#include <cmath>

namespace npuvp::memory::dram {

Channel::Channel(const Config& config, const TickTable& table, const TickClock& clock)
    : table_(table),
      clock_(clock),
      edge_(table.clock - 1),
      pcs_(static_cast<int>(config.organization.pseudo_channels)),
      banks_(static_cast<int>(config.organization.stack_ids * config.organization.bank_groups *
                              config.organization.banks)),
      all_bank_(config.controller.refresh == Refresh::all_bank),
      row_policy_(config.controller),
      queues_(pcs_, banks_, static_cast<int>(config.controller.queue_depth) * pcs_),
      timing_(table, config.organization),
      scheduler_(queues_, timing_, config.controller.protect_row_hits),
      refresh_(make_refresh_schedule(config, table)) {
    // A share such as 0.2 is not exact in binary: 0.2 * 40 must mean 8.
    constexpr double kSlack = 1e-9;
    const double depth = queues_.depth();
    write_start_ =
        static_cast<int>(std::floor(config.controller.write_drain_start * depth + kSlack));
    write_stop_ = static_cast<int>(std::ceil(config.controller.write_drain_stop * depth - kSlack));
    next_ = 1;
    // Nothing is ever due in a pseudo-channel that is not there, so that loops need not count.
    for (int pc = pcs_; pc < kMaxPseudoChannels; ++pc) {
        state_[pc].column = kNeverTick;
        state_[pc].activation.look = state_[pc].precharging.look = kNeverTick;
    }
}

void Channel::lead(int pc, int bank, std::uint32_t row, Tick now) {
    PseudoChannel& state = state_[pc];
    const std::uint64_t bit = std::uint64_t{1} << bank;
    Tick ready = kNeverTick;
    if ((queues_.masks(pc).open & bit) == 0) {
        ready = align(std::max(timing_.activate_ready(pc, bank), now + 1));
        state.activation.add(ready);
        ready = std::max(ready, row_free_);
    } else if (queues_.bank(pc, bank).row == row) {
        ready = mode_ == kRead ? timing_.read_ready(pc, bank) : timing_.write_ready(pc, bank);
        ready = align(std::max(ready, now + 1));
        state.column = std::min(state.column, ready);
        // An older request that wants the row closed may have to wait for this one now.
        if ((scheduler_.precharge_banks(pc, mode_) & bit) == 0) state.precharging.forget(bank);
    } else if ((scheduler_.precharge_banks(pc, mode_) & bit) != 0) {
        ready = std::max(timing_.precharge_ready(pc, bank), now + 1);
        state.precharging.add(ready);
        ready = std::max(ready, row_free_);
    }
    next_ = std::min(next_, ready);
}

void Channel::run(Tick until, std::vector<Completion>& completions) {
    while (next_ <= until) {
        if (!record_ && next_ == refresh_->due() && idle() && owed_.empty()) {
            bool closed = true;
            for (int pc = 0; pc < pcs_; ++pc) closed = closed && queues_.masks(pc).open == 0;
            // A channel at rest repeats itself: the last intervals before `until` are enough.
            if (closed) {
                const std::uint64_t skipped = refresh_->skip(until);
                (all_bank_ ? counts_.refreshes_all : counts_.refreshes_bank) += skipped;
                next_ = refresh_->due();
            }
        }
        if (!stream(until, completions)) step(next_, completions);
    }
}

Tick Channel::active_ready(int pc) {
    PseudoChannel& state = state_[pc];
    if (!state.active_known) {
        state.active = scheduler_.active_ready(pc);
        state.active_known = true;
    }
    return state.active;
}

Tick Channel::actives_ready(Tick end) {
    if (active_ > end) return active_;
    active_ = kNeverTick;
    for (int pc = 0; pc < pcs_; ++pc) active_ = std::min(active_, active_ready(pc));
    return active_;
}

Tick Channel::row_ready() const {
    Tick ready = kNeverTick;
    for (const PseudoChannel& state : state_)
        ready = std::min({ready, align(state.activation.look), state.precharging.look});
    return std::max(ready, row_free_);
}

inline const HitQueue::Item* Channel::ready_hit(int pc, Tick t) {
    if (state_[pc].column > t) return nullptr;
    const HitQueue& hits = queues_.hits(pc, kRead);
    // Mostly the first.
    if (hits.begin() != hits.end() && timing_.read_ready(pc, hits.begin()->bank) <= t)
        return hits.begin();
    const Pick pick = scheduler_.oldest_hit(pc, kRead, t);
    if (pick.bank >= 0) return hits.oldest_of(pick.bank);
    state_[pc].column = align(std::min(pick.next, active_ready(pc)));
    return nullptr;
}

template <int pc>
inline void Channel::read_hit(const HitQueue::Item* hit, Tick t, Tick& row,
                              std::vector<Completion>& completions) {
    const int bank = hit->bank;
    const Entry& entry = queues_.take_hit(pc, kRead, hit);
    record(t, Command::read, pc, bank, queues_.bank(pc, bank).row);
    timing_.read(pc, bank, t);
    ++counts_.reads;
    counts_.row_hits += !entry.counted;
    counts_.bytes_read += entry.bytes;
    // In place: a copy would be read again before it has left the store buffer.
    Completion& completion = completions.emplace_back();
    completion.tag = entry.tag;
    completion.time = clock_.time(t + table_.read_latency);
    completion.bytes = entry.bytes;
    column_free_ = t + table_.column_busy;
    PseudoChannel& state = state_[pc];
    state.active_known = false;
    state.column = align(t + table_.column_gap);
    state.precharging.forget(bank);
    if ((queues_.masks(pc).miss[kRead] >> bank & 1) != 0 &&
        (scheduler_.precharge_banks(pc, kRead) >> bank & 1) != 0) {
        // Another request waits for the row to be closed now.
        state.precharging.add(timing_.precharge_ready(pc, bank));
        row = std::min(row, std::max({state.precharging.look, row_free_, t}));
    }
}

Tick Channel::read_hits(Tick from, Tick end, Tick& row, std::vector<Completion>& completions) {
    static_assert(kMaxPseudoChannels == 2);
    Tick last = -1;
    while (queues_.size(kRead) > 0) {
        const Tick t = align(std::max(column_ready(), from));
        if (t > std::min(end, row)) break;
        last = t;
        const HitQueue::Item* first = ready_hit(0, t);
        const HitQueue::Item* second = ready_hit(1, t);
        if (!first && !second) continue;
        // As a constant, the number of the pseudo-channel saves a seventh of the instructions.
        if (!second || (first && earlier(first->order, second->order))) {
            read_hit<0>(first, t, row, completions);
        } else {
            read_hit<1>(second, t, row, completions);
        }
        from = column_free_;
    }
    return last;
}

bool Channel::stream(Tick until, std::vector<Completion>& completions) {
    if (mode_ != kRead || !owed_.empty() || !row_policy_.leaves_open() || mode_would_flip())
        return false;
    const Tick limit = std::min(until, refresh_->due() - 1);
    Tick last = -1;
    Tick from = next_;
    Tick row = std::max(row_ready(), from);
    while (mode_ == kRead && queues_.size(kRead) > 0) {
        const Tick end = std::min(limit, actives_ready(std::min(limit, row)) - 1);
        Tick now = read_hits(std::max(column_free_, from), end, row, completions);
        if (now >= 0) {
            last = now;
            from = now + 1;
        }
        // Without a read left, the writes may be served at once.
        if (row > now && queues_.size(kRead) > 0) {
            const Tick t = align(std::max({column_ready(), column_free_, from}));
            now = std::min(t, row);
            if (now > limit) break;
            if (t == now) {
                if (t < actives_ready(t)) continue;  // put off by the reads since
                column_slot(t, completions);
                row = std::max(row_ready(), now);
            }
        }
        if (row <= now || queues_.size(kRead) == 0) {
            row_slot(now);
            row = std::max(row_ready(), now + 1);
        }
        last = now;
        from = now + 1;
    }
    if (last < 0) return false;
    schedule(last);
    return true;
}

void Channel::step(Tick t, std::vector<Completion>& completions) {
    if (t >= refresh_->due()) refresh_->collect(t, owed_);
    if (row_policy_.closes_by_itself()) collect_capped(t);
    if (owed_.empty()) choose_mode(t);
    if (rising(t) && t >= column_free_) column_slot(t, completions);
    row_slot(t);
    schedule(t);
}

void Channel::choose_mode(Tick t) {
    if (!mode_would_flip()) return;
    mode_ = mode_ == kRead ? kWrite : kRead;
    wake(t);
}

void Channel::wake(Tick t) {
    for (int pc = 0; pc < pcs_; ++pc) {
        state_[pc].column = align(t);
        state_[pc].activation.reset(align(t));
        state_[pc].precharging.reset(t);
    }
}

void Channel::column_slot(Tick t, std::vector<Completion>& completions) {
    const bool requests = owed_.empty();
    Pick best;
    int best_pc = -1;
    bool best_active = false;
    for (int pc = 0; pc < pcs_; ++pc) {
        PseudoChannel& state = state_[pc];
        if (state.column > t) continue;
        Pick pick = scheduler_.active_column(pc, t);
        const bool active = pick.bank >= 0;
        if (requests && !active) {
            const Tick next = pick.next;
            // A hit cannot win against the other pseudo-channel's activated row.
            if (best_active) {
                pick.next = t + 1;
            } else if (queues_.masks(pc).hit[mode_] != 0) {
                pick = scheduler_.oldest_hit(pc, mode_, t);
                pick.next = std::min(pick.next, next);
            }
        }
        state.column = align(pick.bank >= 0 ? t + 1 : pick.next);
        if (pick.bank < 0) continue;
        bool better = best_pc < 0 || active;
        if (best_pc >= 0 && active == best_active) {
            better = active ? earlier(pick.arrival, best.arrival) ||
                                  (pick.arrival == best.arrival && earlier(pick.order, best.order))
                            : earlier(pick.order, best.order);
        }
        if (better) {
            best = pick;
            best_pc = pc;
            best_active = active;
        }
    }
    if (best_pc < 0) return;
    // Where nothing else was ready and no hit went unseen, what was not ready yet says when to
    // look.
    const bool hits_unseen = best_active && queues_.masks(best_pc).hit[mode_] != 0;
    const Tick rest = best.more || hits_unseen ? 0 : best.next;
    issue_column(best_pc, best.bank, best_active, t, completions);
    const bool bank_hit = (queues_.masks(best_pc).hit[mode_] >> best.bank & 1) != 0;
    state_[best_pc].column = align(std::max(bank_hit ? 0 : rest, t + table_.column_gap));
}

void Channel::issue_column(int pc, int bank, bool active, Tick t,
                           std::vector<Completion>& completions) {
    const std::uint32_t columns_before = queues_.bank(pc, bank).columns;
    const bool write = active ? (queues_.masks(pc).active_write >> bank & 1) != 0 : mode_ == kWrite;
    Entry entry = active
                      ? queues_.take_active(pc, bank)
                      : Entry(queues_.take_hit(pc, mode_, queues_.hits(pc, mode_).oldest_of(bank)));
    count_first_command(entry, counts_.row_hits);
    const BankQueues::Masks& masks = queues_.masks(pc);
    const std::uint64_t bit = std::uint64_t{1} << bank;
    const bool held = (masks.active & bit) != 0;
    const bool wanted = ((masks.hit[kRead] | masks.hit[kWrite]) & bit) != 0;
    const bool close = !held && row_policy_.auto_precharge(columns_before, wanted);
    const std::uint64_t row = queues_.bank(pc, bank).row;
    if (!write) {
        record(t, close ? Command::read_precharge : Command::read, pc, bank, row);
        if (close) {
            timing_.read_and_close(pc, bank, t);
        } else {
            timing_.read(pc, bank, t);
        }
        ++counts_.reads;
        counts_.bytes_read += entry.bytes;
        completions.push_back({entry.tag, clock_.time(t + table_.read_latency), entry.bytes});
    } else {
        record(t, close ? Command::write_precharge : Command::write, pc, bank, row);
        timing_.write(pc, bank, t, close);
        ++counts_.writes;
        counts_.bytes_written += entry.bytes;
    }
    column_free_ = t + table_.column_busy;
    PseudoChannel& state = state_[pc];
    state.active_known = false;
    state.precharging.forget(bank);
    if (close) {
        close_bank(pc, bank, t);
        ++counts_.precharges;
        state.activation.add(align(timing_.activate_ready(pc, bank)));
        return;
    }
    if ((scheduler_.precharge_banks(pc, mode_) & bit) != 0) {
        state.precharging.add(timing_.precharge_ready(pc, bank));
    }
    if (row_policy_.close_now(queues_.bank(pc, bank).columns)) state.capped |= bit;
}

void Channel::count_first_command(Entry& entry, std::uint64_t& counter) {
    if (entry.counted) return;
    entry.counted = true;
    ++counter;
}

void Channel::row_slot(Tick t) {
    if (!owed_.empty()) {
        serve_maintenance(t);
        return;
    }
    choose_mode(t);
    if (t < row_free_) return;
    const Pick* best = nullptr;
    int best_pc = -1;
    bool best_activates = false;
    const auto consider = [&](const Pick& pick, int pc, bool activates) {
        if (pick.bank < 0 || (best && !earlier(pick.order, best->order))) return;
        best = &pick;
        best_pc = pc;
        best_activates = activates;
    };
    for (int pc = 0; pc < pcs_; ++pc) {
        PseudoChannel& state = state_[pc];
        if (state.activation.look <= t && rising(t)) {
            if (!state.activation.holds(t)) {
                state.activation.pick = scheduler_.activate(pc, mode_, t);
                state.activation.found(t);
            }
            consider(state.activation.pick, pc, true);
        }
        if (state.precharging.look <= t) {
            if (!state.precharging.holds(t)) {
                scheduler_.precharge(pc, mode_, t, state.precharging);
            }
            consider(state.precharging.pick, pc, false);
        }
    }
    if (!best) return;
    const int bank = best->bank;
    if (best_activates) {
        issue_activate(best_pc, bank, t);
    } else {
        const std::int32_t head = queues_.bank(best_pc, bank).misses[mode_].head;
        count_first_command(queues_.entry(head), counts_.row_conflicts);
        state_[best_pc].precharging.take(t);
        issue_precharge(best_pc, bank, t);
    }
}

void Channel::issue_activate(int pc, int bank, Tick t) {
    PseudoChannel& state = state_[pc];
    if (queues_.masks(pc).open == 0) state.opened = t;
    const int index = queues_.activate(pc, bank, mode_);
    count_first_command(queues_.entry(index), counts_.row_misses);
    record(t, Command::activate, pc, bank, queues_.bank(pc, bank).row);
    timing_.activate(pc, bank, t);
    ++counts_.activates;
    row_free_ = t + table_.activate_busy;
    state.activation.reset(align(timing_.activates(pc).floor));
    const Tick column = std::min(timing_.read_ready(pc, bank), timing_.write_ready(pc, bank));
    state.column = std::min(state.column, align(column));
    state.active_known = false;
    active_ = std::min(active_, column);
}

void Channel::send_precharge(int pc, int bank, Tick t) {
    record(t, Command::precharge, pc, bank, 0);
    timing_.precharge(pc, bank, t);
    ++counts_.precharges;
    row_free_ = t + table_.precharge_busy;
}

void Channel::issue_precharge(int pc, int bank, Tick t) {
    send_precharge(pc, bank, t);
    close_bank(pc, bank, t);
    PseudoChannel& state = state_[pc];
    state.activation.add(align(timing_.activate_ready(pc, bank)));
}

void Channel::close_bank(int pc, int bank, Tick t) {
    queues_.close(pc, bank);
    PseudoChannel& state = state_[pc];
    state.capped &= ~(std::uint64_t{1} << bank);
    if (queues_.masks(pc).open == 0) rows_open_ += t - state.opened;
}

void Channel::collect_capped(Tick t) {
    if (t < row_free_) return;
    for (int pc = 0; pc < pcs_; ++pc) {
        for (std::uint64_t banks = state_[pc].capped; banks != 0; banks &= banks - 1) {
            const int bank = __builtin_ctzll(banks);
            if (timing_.precharge_ready(pc, bank) > t) continue;
            state_[pc].capped &= ~(std::uint64_t{1} << bank);
            owed_.push_back({Maintenance::Kind::precharge, static_cast<std::uint8_t>(pc),
                             static_cast<std::uint8_t>(bank)});
        }
    }
}

Tick Channel::capped_ready() const {
    Tick ready = kNeverTick;
    for (int pc = 0; pc < pcs_; ++pc) {
        for (std::uint64_t banks = state_[pc].capped; banks != 0; banks &= banks - 1)
            ready = std::min(ready, timing_.precharge_ready(pc, __builtin_ctzll(banks)));
    }
    return std::max(ready, row_free_);
}

void Channel::serve_maintenance(Tick t) {
    if (owed_.empty() || maintenance_ready(t) > t) return;
    const Maintenance front = owed_.front();
    const std::uint64_t open = queues_.masks(front.pc).open;
    if (front.kind == Maintenance::Kind::refresh_all) {
        if (open != 0) {
            record(t, Command::precharge_all, front.pc, 0, 0);
            timing_.precharge_all(front.pc, t);
            ++counts_.precharges_all;
            row_free_ = t + table_.precharge_busy;
            for (std::uint64_t banks = open; banks != 0; banks &= banks - 1) {
                close_bank(front.pc, __builtin_ctzll(banks), t);
            }
            return;
        }
        record(t, Command::refresh_all, front.pc, 0, 0);
        timing_.refresh_all(front.pc, t);
        ++counts_.refreshes_all;
        row_free_ = t + table_.refresh_busy;
    } else if (((open >> front.bank) & 1) != 0) {
        issue_precharge(front.pc, front.bank, t);
        if (front.kind == Maintenance::Kind::refresh_bank) return;
    } else if (front.kind == Maintenance::Kind::precharge) {
        // Once owed, it is issued even if something else has closed the row before.
        send_precharge(front.pc, front.bank, t);
    } else {
        record(t, Command::refresh_bank, front.pc, front.bank, 0);
        timing_.refresh_bank(front.pc, front.bank, t);
        ++counts_.refreshes_bank;
        row_free_ = t + table_.refresh_busy;
    }
    finish_maintenance(t);
}

void Channel::finish_maintenance(Tick t) {
    owed_.erase(owed_.begin());
    if (owed_.empty()) wake(t + 1);
}

Tick Channel::maintenance_ready(Tick from) const {
    const Maintenance& front = owed_.front();
    const BankQueues::Masks& masks = queues_.masks(front.pc);
    const std::uint64_t bit = std::uint64_t{1} << front.bank;
    const bool whole = front.kind == Maintenance::Kind::refresh_all;
    if ((whole ? masks.active : masks.active & bit) != 0) return kNeverTick;
    const bool precharges = front.kind == Maintenance::Kind::precharge;
    if (precharges || (whole ? masks.open : masks.open & bit) != 0) {
        return std::max(row_free_, whole ? timing_.precharge_all_ready(front.pc)
                                         : timing_.precharge_ready(front.pc, front.bank));
    }
    return align(std::max({from, row_free_,
                           whole ? timing_.refresh_all_ready(front.pc)
                                 : timing_.refresh_bank_ready(front.pc, front.bank)}));
}

void Channel::schedule(Tick t) {
    Tick next = refresh_->due();
    for (int pc = 0; pc < pcs_; ++pc) next = std::min(next, state_[pc].column);
    if (owed_.empty()) {
        next = std::min(next, row_ready());
        if (mode_would_flip()) next = t + 1;
    } else {
        next = std::min(next, maintenance_ready(t + 1));
    }
    if (row_policy_.closes_by_itself()) next = std::min(next, capped_ready());
    next_ = std::max(next, t + 1);
}

Statistics Channel::statistics(Tick now) const {
    Statistics result = counts_;
    Tick open = rows_open_;
    for (int pc = 0; pc < pcs_; ++pc) {
        if (queues_.masks(pc).open != 0) open += now - state_[pc].opened;
    }
    result.rows_open = clock_.time(open);
    result.data_busy =
        clock_.time(static_cast<Tick>(counts_.reads + counts_.writes) * table_.burst);
    return result;
}

void Channel::save(Writer& writer) const {
    queues_.save(writer);
    timing_.save(writer);
    writer.put(refresh_->state());
    writer.put(mode_);
    writer.put(next_);
    writer.put(row_free_);
    writer.put(column_free_);
    writer.put(state_);
    writer.put(owed_);
    writer.put(counts_);
    writer.put(rows_open_);
}

void Channel::restore(Reader& reader) {
    queues_.restore(reader);
    timing_.restore(reader);
    RefreshSchedule::State refresh;
    reader.get(refresh);
    refresh_->set_state(refresh);
    reader.get(mode_);
    reader.get(next_);
    reader.get(row_free_);
    reader.get(column_free_);
    reader.get(state_);
    reader.get(owed_);
    reader.get(counts_);
    reader.get(rows_open_);
    active_ = 0;
}

}  // namespace npuvp::memory::dram
