#include "estimate/product.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>

namespace npuvp::estimate {

namespace {

double count(std::int64_t number) {
    return static_cast<double>(number);
}

/// Transfers that were asked for together.
struct Asked {
    std::int64_t last;  // its number
    double end;         // of its service
    double apart;       // of two of them
};

}  // namespace

Stage::Stage(Figures figures)
    : f_(std::move(figures)),
      in_turn_(count(ways()) * (f_.products + f_.stream + f_.skew) / 2),
      plain_(tile(0.0, 0.0)),
      cycles_(count(f_.tiles - 1) * plain_ + tile(0.0, f_.between)) {}

double Stage::alone(double extra, double behind) const {
    const double waits = f_.sets > 1 ? f_.stream : f_.stream + f_.skew;
    double total = 0.0;
    for (std::size_t way = 0; way < f_.tails.size(); ++way) {
        const bool last = way + 1 == f_.tails.size();
        const double instructions = f_.tails[way] + (last ? extra + behind : 0.0);
        total += std::max(f_.products + std::max(waits, instructions), f_.port);
    }
    return total;
}

double Stage::tile(double extra, double behind) const {
    const double found = alone(extra, behind);
    return f_.sets > 1 ? std::max(found, in_turn_) : found;
}

double Stage::early(std::int64_t stages) const {
    if (f_.sets == 1) return 0.0;
    const double found = 2 * std::max(0.0, in_turn_ - alone(0.0, 0.0)) / count(ways());
    return found / count(1 + stages * f_.tiles * ways() % 2);
}

double Stage::more(double extra) const {
    const double inner = std::max(f_.stream, f_.row + extra) - std::max(f_.stream, f_.row);
    const double outer = tile(extra, 0.0) - plain_;
    return (count(f_.rows - 1) * inner + outer) / count(f_.rows);
}

Product::Passed Product::pass(const Chunk& chunk, std::int64_t all_rows) const {
    const Stage& stage = chunk.stage;
    const Stage::Figures& figures = stage.figures();
    const ResultCosts& costs = f_.costs;
    const std::int64_t number = chunk.panels, groups = groups_of(all_rows);
    const double one = stage.cycles(), group = count(f_.group), rows = count(all_rows);
    const double early = stage.early(number * groups);
    if (costs.whole) {
        double behind = count(number) * (count(groups) * one + figures.around);
        behind += count(groups) * figures.last;
        behind += f_.drain + rows * costs.row - early;
        return {behind, behind, 0.0, 0.0};
    }
    const double at_once = count(chunk.at_once), places = count(stage.slices());
    const double hidden = count(f_.hidden_tiles * figures.rows * stage.ways());
    const double some = costs.entry + at_once * costs.row;
    const double turn = stage.more(some);
    const double done = (stage.more(some + costs.finish) - turn) / group;
    // A group that is finished at one go, found and left.
    const double whole = costs.entry + costs.finish + costs.finish_all;
    const double broken = stage.early(number);
    double ready = 0.0, fresh = 0.0;  // rows of results that may be worked on, or soon
    double cycles = 0.0, before = 0.0, lumps = 0.0;
    for (int chunk_number = 0; chunk_number < 2; ++chunk_number) {
        before = cycles;
        lumps = 0.0;
        for (std::int64_t n = 0; n < number; ++n) {
            cycles += figures.around;
            if (0 < n && n < number - 1) {
                cycles += count(groups) * one;
                ready += fresh;
                fresh = 0.0;
                continue;
            }
            for (std::int64_t g = 0; g < groups; ++g) {
                if (n == 0) {
                    const std::int64_t free = groups - 1 - (number > 1 ? g : 0);
                    const double due = ready + fresh - count(free * f_.group);
                    if (due > 0) {
                        lumps += std::max(0.0, due * (costs.row + whole / group) - broken);
                        ready = std::max(0.0, ready + fresh - due);
                        fresh = 0.0;
                    }
                }
                cycles += one;
                if (ready > 0 || fresh > 0) {
                    double turns = std::min(std::ceil(ready / at_once), places);
                    const double now = std::min(ready, turns * at_once);
                    double soon = 0.0;
                    if (fresh > 0) {
                        const double more =
                            std::max(0.0, std::min(places - turns, places - hidden));
                        soon = std::min(fresh, more * at_once);
                        turns += std::ceil(soon / at_once);
                    }
                    cycles += turns * turn + (now + soon) * done;
                    ready = ready - now + fresh - soon;
                    fresh = 0.0;
                }
                if (n == number - 1) {
                    fresh = std::min(group, rows - count(g * f_.group));
                    cycles += figures.last;
                }
            }
        }
        cycles += lumps;
    }
    const double left = ready + fresh;
    // The instructions behind the last tile run while its results leave the array.
    double under = figures.between + figures.around + std::floor(left / group) * whole;
    under = std::min(f_.drain, under + (costs.untouched ? left * costs.row : 0.0));
    const double last = left * costs.row + std::ceil(left / group) * whole - early;
    return {before, cycles - before, f_.drain - under + last, lumps};
}

double Product::each(const ProductMemory& memory) const {
    return memory.panel / count(f_.weights.pieces * f_.weights.descriptors);
}

/// Cycles that the memory has to do when a piece has been asked for, if it is the limit.
double Product::backlog(const ProductMemory& memory) const {
    const std::int64_t all = f_.weights.pieces * f_.weights.descriptors;
    return count(std::min(memory.queue, all)) * each(memory);
}

Product::Begin Product::begin(const ProductMemory& memory, double stage, double cleared) const {
    const Weights& w = f_.weights;
    const double each = this->each(memory), latency = memory.latency, pieces = count(w.pieces);
    const double descriptors = count(w.descriptors), queue = count(memory.queue);
    const double lead = std::max(0.0, w.issue - descriptors * w.descriptor);
    const double wanted = pieces * std::min(1.0, w.panels);
    double now = w.begin;
    const double asked = std::max(now + lead + w.descriptor + latency, memory.arriving);
    double free = memory.arriving, latest = 0.0;
    std::int64_t done = memory.before, size = 1, ahead = 0;
    const double apart = memory.before ? memory.arriving / count(memory.before) : 0.0;
    std::vector<Asked> ends{{memory.before, memory.arriving, apart}};
    while (count(ahead) < wanted) {
        size = std::min(size, w.pieces - ahead);
        now += lead;
        const double first = now + w.descriptor;
        const double amount = std::min(count(size), wanted - count(ahead)) * each;
        double one = amount;
        now += descriptors * w.descriptor;
        if (w.descriptors > memory.queue) one = std::max(one, (latency + one) / queue);
        // Served one by one; the queue takes the last one when there is room, and it is there a
        // latency later.
        free = std::max(free, first + latency) + descriptors * one;
        done += w.descriptors;
        ends.push_back({done, free, one});
        const std::int64_t waited = done - memory.queue;
        const auto found = std::find_if(ends.begin(), ends.end(), [&](const Asked& group) {
            return 0 < waited && waited <= group.last;
        });
        if (found != ends.end()) {
            now = std::max(now, found->end - count(found->last - waited) * found->apart);
        }
        free = std::max(free, now + latency + amount);
        ends.back().end = free;
        latest = std::max(latest, free - count(ahead) / pieces * stage);
        ahead += size;
        size = ahead > 1 ? 2 * size : 1;
    }
    return {std::max(now + cleared, latest), asked};
}

/// From a piece to the next one where core and array take `core` cycles for it: by ways round that
/// lead through the core's work, and by those that do not.
///
/// A way round that leads over the queue: the core asks for a piece, the memory answers a latency
/// later and serves what does not fit into the queue, the core multiplies; or the same over several
/// pieces. Another one leads over a panel's pieces: a piece is asked for, is there, and is
/// multiplied a panel later.
///
/// @param lead Cycles from the first product with a piece to where the piece is asked for that
///     takes its place.
/// @param other Cycles for which other transfers between the two keep the memory.
/// @param transfers How many those are.
Product::Period Product::period(const ProductMemory& memory, double core, double lead, double other,
                                double transfers) const {
    const Weights& w = f_.weights;
    const double each = this->each(memory), latency = memory.latency;
    const double descriptors = count(w.descriptors), queue = count(memory.queue);
    double beside = std::max(descriptors * each + other, descriptors * (latency + each) / queue);
    beside = std::max(beside, (lead + latency + other + descriptors * each) / count(w.pieces));
    double longest = core;
    const double multiplied = core - (descriptors - 1) * w.descriptor;
    // Others are served while the core multiplies, or wait with the piece.
    const double behind = std::max(0.0, other - multiplied);
    for (int pieces = 1; pieces < 5; ++pieces) {
        for (int crossed = 1; crossed <= pieces; ++crossed) {
            const double between = pieces - crossed + 1;
            double served = between * (descriptors + transfers) - queue;
            if (served < 1) continue;
            served = std::min(served, between * descriptors);
            const double way = multiplied + behind + (crossed - 1) * core + latency + served * each;
            longest = std::max(longest, way / pieces);
        }
    }
    return {longest, beside};
}

/// Cycles for which the core waits for weights, or for room in the queue.
double Product::waits(const ProductMemory& memory, const Load& load, std::int64_t groups) const {
    const Weights& w = f_.weights;
    const Chunk& chunk = f_.chunks.back();
    const double pieces = count(w.pieces), loaded = load.loaded;
    std::int64_t chunks = 0;
    for (const Chunk& one : f_.chunks) chunks += one.times;
    // What a panel takes while a piece of the next one is asked for.
    const double piece = load.core / pieces + chunk.stage.more(w.issue + w.due);
    // A block of columns is there before its product.
    const double lead = chunk.stage.figures().tails.back();
    const Period alone = period(memory, piece, lead, 0.0, 0.0);
    double by_core = loaded * pieces * alone.core, by_memory = loaded * pieces * alone.memory;
    if (memory.loading > 0) {
        // Behind a chunk's first panel rows that results are added to come between,
        const double among = std::min(loaded, count(chunks)) * pieces;
        double moved = memory.loading, transfers = count(groups);
        if (chunk.panels == 1 && chunks > 1 && groups > 1) {  // and those of groups before.
            moved += memory.storing;
            transfers = 2 * count(groups);
        }
        const Period others = period(memory, piece, lead, moved / pieces, transfers / pieces);
        by_core += among * (others.core - alone.core);
        by_memory += among * (others.memory - alone.memory);
    }
    if (load.places > 0) {
        // Where a group is finished at one go, the memory may have nothing left to do.
        const double idle = piece + memory.latency - backlog(memory);
        by_core += load.lumps;
        by_memory +=
            load.places * (std::max(0.0, idle + load.lumps / load.places) - std::max(0.0, idle));
    }
    return std::max(by_core, by_memory) - loaded * load.core - load.lumps;
}

ProductTime Product::time(std::int64_t rows, double clear, const ProductMemory& memory) const {
    const Weights& w = f_.weights;
    const std::int64_t groups = groups_of(rows);
    const double pieces = count(w.pieces);
    double cleared = clear, end = 0.0, paced = 0.0, multiplied = 0.0, lumps = 0.0, last_chunk = 0.0;
    std::int64_t panels = 0, places = 0, chunks = 0;
    for (const Chunk& chunk : f_.chunks) {
        const Passed passed = pass(chunk, rows);
        end = passed.end;
        const double times = count(chunk.times);
        // Asked for as the first panel meets them.
        if (memory.loading > 0 && groups > memory.queue) {
            const double one =
                (memory.latency + memory.loading / count(groups)) / count(memory.queue);
            paced = count(groups) * std::max(0.0, one - chunk.stage.cycles());
        }
        last_chunk = (chunk.times > 1 ? passed.again : passed.once) + paced;
        multiplied += passed.once + (times - 1) * passed.again + times * paced;
        panels += chunk.times * chunk.panels;
        lumps += (times - 1) * passed.lumps;
        if (passed.lumps > 0) places += (chunk.times - 1) * std::min(groups, w.pieces);
        chunks += chunk.times;
    }
    const Chunk& last = f_.chunks.back();
    const double stage = last.stage.cycles();
    if (f_.chunks.size() > 1) {  // the last one is no whole row
        multiplied += cleared;
        cleared = 0.0;
    }
    const Begin begun = begin(memory, stage, cleared + f_.words);
    const double core = (multiplied - lumps) / count(panels);
    const double loaded = std::max(0.0, std::min(count(panels), w.panels) - 1);
    const double share = loaded / std::max(1.0, count(panels - 1));
    const double waited =
        waits(memory, {core, loaded, lumps * share, count(places) * share}, groups);
    // Either that, or the memory is the limit. Then behind the last weights the groups of rows but
    // the first meet the last panel, or those that waited until the queue had room; or behind the
    // last rows that results are added to the work on a group is left.
    double busy = begun.asked + w.panels * memory.panel;
    busy += count(chunks - 1) * (memory.loading + memory.storing);
    const double alone = count(groups - 1) * stage + stage / pieces;
    const double queued = loaded > 0 ? core - backlog(memory) : 0.0;
    double rows_before = 0.0;  // asked for before the last weights
    if (last.panels > 1) {
        const double among =
            last.panels == 2 ? std::floor(count(groups) * (1 - 1 / pieces)) + 1 : count(groups);
        rows_before = memory.loading * among / count(groups);
    }
    const double through = begun.products + multiplied + waited;
    double longest = std::max(through + end, busy + rows_before + std::max(alone, queued) + end);
    const double group = count(std::min(rows, f_.group)) * f_.costs.row;
    longest = std::max(longest, busy + memory.loading + group);
    if (memory.loading > 0 && chunks > 1) {  // the last chunk's rows are asked for as it begins
        // Behind the last rows of the chunk before, which go to memory first.
        const double moved = memory.latency + memory.storing / count(groups) + memory.loading;
        const double work = group + f_.costs.entry + f_.costs.finish;
        longest = std::max(longest, through - last_chunk + moved + work);
    }
    const double ends = busy + memory.loading + memory.storing;
    return {longest, std::max(memory.storing / count(groups), ends - longest)};
}

}  // namespace npuvp::estimate
