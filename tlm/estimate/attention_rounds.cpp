#include "estimate/attention_rounds.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <vector>

namespace npuvp::estimate {

namespace {

/// Rounds from a unit's first stage to its outputs.
constexpr std::int64_t to_outputs = 4;
/// Heads of a group that are looked at one by one.
constexpr std::int64_t most_heads = 8;
/// Visits after which all others are taken to last as long as the last two.
constexpr std::int64_t settling_visits = 5;

/// When something is there, by its number; numbers come one after the other.
using Times = std::vector<double>;

void move(Times& times, double by) {
    for (double& time : times) time += by;
}

/// Goes through the rounds of a call.
class Rounds {
  public:
    Rounds(const RoundCosts& costs, const RoundTransfers& transfers, std::int64_t visits,
           std::int64_t units)
        : c_(costs),
          t_(transfers),
          heads_(std::min(costs.together, most_heads)),
          all_groups_(units / costs.together),
          groups_(std::min(all_groups_, std::max<std::int64_t>(4, 3 + (7 + heads_) / heads_))),
          visits_(visits),
          units_(groups_ * heads_),
          number_(visits * units_),
          part_((costs.rows + costs.outputs + costs.scores - 1) / (costs.outputs + costs.scores)),
          memory_free_(transfers.debt + transfers.latency) {}

    double cycles() {
        for (std::int64_t round = 0; round <= number_ + to_outputs; ++round) go(round);
        return now_ + repeated_ + t_.store;
    }

  private:
    void go(std::int64_t round);
    void enter(std::int64_t round, std::int64_t unit, bool new_group);
    void load_next(std::int64_t round, std::int64_t unit, bool enters, bool new_group);
    void store(std::int64_t unit, double made_at);
    void leave_out(std::int64_t unit, double began);

    bool exists(std::int64_t unit) const { return 0 <= unit && unit < number_; }
    double& made(std::int64_t unit) { return made_[static_cast<std::size_t>(unit) % made_.size()]; }

    void wait(double until) { now_ = std::max(now_, until); }

    /// Until the queue of the DMA engine has room.
    void wait_for_queue() {
        const auto queue = static_cast<std::size_t>(t_.queue);
        if (pending_.size() >= queue) wait(pending_[pending_.size() - queue]);
    }

    /// A load that is issued now: when it is there.
    double load(double keeps) {
        wait_for_queue();
        memory_free_ = std::max(memory_free_, now_ + t_.latency) + keeps;
        pending_.push_back(memory_free_);
        return memory_free_;
    }

    /// Tiles with a part of the softmax behind each, as long as rows are left.
    void multiply(std::int64_t number, const RoundTiles& tiles) {
        const double whole = tiles.issue + static_cast<double>(part_) * c_.row;
        const double step = std::max(whole, tiles.next);
        const std::int64_t full = left_ / part_;
        if (full >= number) {
            const double last = now_ + static_cast<double>(number - 1) * step;
            now_ = last + whole;
            array_ = last + tiles.last;
            left_ -= number * part_;
            return;
        }
        // Some with a whole part, one with the rest, and none with the others.
        double rest = tiles.issue + static_cast<double>(left_ % part_) * c_.row;
        double last = now_ + static_cast<double>(full) * step;
        const std::int64_t behind = number - 1 - full;
        if (behind > 0) {
            const double alone = std::max(tiles.issue, tiles.next);
            last += std::max(rest, tiles.next) + static_cast<double>(behind - 1) * alone;
            rest = tiles.issue;
        }
        now_ = last + rest;
        array_ = last + tiles.last;
        left_ = 0;
    }

    const RoundCosts& c_;
    const RoundTransfers& t_;
    std::int64_t heads_;       // of a group that are gone through
    std::int64_t all_groups_;  // of a visit
    std::int64_t groups_;      // of those that are gone through
    std::int64_t visits_;
    std::int64_t units_;   // of a visit
    std::int64_t number_;  // of units
    std::int64_t part_;    // rows of softmax behind a tile
    double now_ = 0.0;
    double array_ = 0.0;  // free again
    double memory_free_;
    double repeated_ = 0.0;  // visits that are not gone through
    double group_ended_ = 0.0;
    std::int64_t left_ = 0;   // rows of softmax in this round
    std::int64_t begun_ = 0;  // visits
    std::array<double, 3> begins_{};
    std::array<double, 8> made_{};  // scores of the latest units
    Times keys_, values_;           // by visit
    Times queries_;                 // by group
    Times pending_;                 // transfers
};

void Rounds::enter(std::int64_t round, std::int64_t unit, bool new_group) {
    if (new_group) {
        now_ += c_.enter;
        if (unit % units_ == 0) {
            now_ += c_.visit;
            begins_ = {begins_[1], begins_[2], now_};
            ++begun_;
            if (round > 2 * to_outputs + units_ && 2 < begun_ && begun_ < visits_ - 2) {
                const double period = begins_[2] - begins_[1];
                const double before = begins_[1] - begins_[0];
                if (std::abs(period - before) < 0.01 * period || begun_ > settling_visits) {
                    // All others but the last ones take as long.
                    const std::int64_t others = visits_ - begun_ - 2;
                    repeated_ += static_cast<double>(others) * (begins_[2] - begins_[0]) / 2;
                    number_ -= others * units_;
                    visits_ = begun_ + 2;
                }
            }
        }
    }
    now_ += c_.unit;
}

void Rounds::load_next(std::int64_t round, std::int64_t unit, bool enters, bool new_group) {
    const std::int64_t following = enters ? unit / heads_ + 1 : 0;
    if ((new_group || round == 0) && following * heads_ < number_) {
        now_ += c_.load_group;
        queries_.push_back(load(t_.queries));
        if (following * heads_ % units_ == 0 && !c_.one_buffer) {
            now_ += c_.load_rows;
            keys_.push_back(load(t_.keys));
        }
    }
    if (c_.one_buffer && enters && unit % units_ == 0) {
        now_ += c_.load_rows;
        keys_.push_back(load(t_.keys));
    }
}

void Rounds::store(std::int64_t unit, double made_at) {
    if (c_.merged > 0.0 && unit % c_.tiles != 0) now_ = std::max(now_, made_at) + c_.merged;
    const std::int64_t stored = c_.tiles == 1 ? heads_ : c_.tiles;
    if ((unit + 1) % stored != 0) return;
    now_ = std::max(now_ + c_.store_group, made_at);
    wait_for_queue();
    memory_free_ = std::max(memory_free_, now_ + t_.latency) + t_.written;
    pending_.push_back(std::max(now_, memory_free_ - t_.latency));
}

void Rounds::leave_out(std::int64_t unit, double began) {
    double skipped = 0.0;
    if (unit % heads_ == most_heads - 3) {
        skipped = static_cast<double>(c_.together - heads_) * (now_ - began);
    } else if ((unit + 1) % heads_ == 0) {
        if (unit % units_ / heads_ == groups_ - 2) {
            skipped = static_cast<double>(all_groups_ - groups_) * (now_ - group_ended_);
            memory_free_ += skipped;
            for (Times* times : {&pending_, &keys_, &queries_, &values_}) move(*times, skipped);
        }
        group_ended_ = now_;
    }
    now_ += skipped;
    array_ += skipped;
    for (double& time : made_) time += skipped;
}

void Rounds::go(std::int64_t round) {
    const double began = now_;
    const std::int64_t first = round - 1, scored = round - 2, softmax = round - 4,
                       output = round - 5;
    const bool enters = exists(first), has_scores = exists(scored), has_softmax = exists(softmax),
               has_outputs = exists(output);
    const bool new_group = enters && first % heads_ == 0;
    if (enters) enter(round, first, new_group);
    now_ += c_.begin;
    left_ = has_softmax ? c_.rows : 0;
    if (heads_ > 1 && enters) {
        wait(queries_[static_cast<std::size_t>(first / heads_)]);
        if (!has_softmax) now_ += c_.alone;
    }
    if (has_softmax) wait(made(softmax));  // its scores have left the array
    now_ += c_.before_outputs;
    double made_at = 0.0;
    if (has_outputs) {
        wait(std::max(array_, values_[static_cast<std::size_t>(output / units_)]));
        multiply(c_.outputs, c_.output);
        made_at = array_ + c_.settled;
    }
    now_ += c_.mask;
    if (c_.mask > 0.0 && has_softmax) load(t_.mask);
    now_ += c_.ask_values;
    if (has_softmax && softmax % units_ == 0) {
        now_ += c_.load_rows;
        values_.push_back(load(t_.values));
    }
    now_ += c_.before_scores;
    if (has_scores) {
        wait(array_);
        wait(keys_[static_cast<std::size_t>(scored / units_)]);
        wait(queries_[static_cast<std::size_t>(scored / heads_)]);
        multiply(c_.scores, c_.score);
        made(scored) = array_ + c_.settled;
    }
    now_ += c_.ask_next;
    load_next(round, first, enters, new_group);
    now_ += static_cast<double>(left_) * c_.row + c_.finish;
    if (has_outputs) store(output, made_at);
    now_ += c_.after;
    if (enters) leave_out(first, began);
}

}  // namespace

double attention_rounds(const RoundCosts& costs, const RoundTransfers& transfers,
                        std::int64_t visits, std::int64_t units) {
    return Rounds(costs, transfers, visits, units).cycles();
}

}  // namespace npuvp::estimate
