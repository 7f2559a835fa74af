#include "memory/dram/refresh.h"

namespace npuvp::memory::dram {
namespace {

class NoRefresh final : public RefreshSchedule {
  public:
    void collect(Tick, std::vector<Maintenance>&) override {}
    std::uint64_t skip(Tick) override { return 0; }
};

/// Every pseudo-channel at the same tick, never postponed.
class AllBankRefresh final : public RefreshSchedule {
  public:
    AllBankRefresh(const Config& config, const TickTable& table)
        : pcs_(config.organization.pseudo_channels), interval_(table.refresh_interval) {
        state_.due = interval_;
    }
    void collect(Tick, std::vector<Maintenance>& owed) override {
        for (std::uint32_t pc = 0; pc < pcs_; ++pc) {
            owed.push_back({Maintenance::Kind::refresh_all, static_cast<std::uint8_t>(pc), 0});
        }
        state_.due += interval_;
    }
    std::uint64_t skip(Tick until) override {
        const Tick intervals = (until - state_.due) / interval_ - 1;
        if (intervals <= 0) return 0;
        state_.due += intervals * interval_;
        return static_cast<std::uint64_t>(intervals) * pcs_;
    }

  private:
    std::uint32_t pcs_;
    Tick interval_;
};

/// One bank of the channel after the other.
class BankByBankRefresh final : public RefreshSchedule {
  public:
    BankByBankRefresh(const Config& config, const TickTable& table)
        : banks_(config.organization.stack_ids * config.organization.bank_groups *
                 config.organization.banks),
          turns_(banks_ * config.organization.pseudo_channels),
          interval_(table.bank_refresh_interval) {
        state_.due = interval_;
    }
    void collect(Tick, std::vector<Maintenance>& owed) override {
        owed.push_back({Maintenance::Kind::refresh_bank,
                        static_cast<std::uint8_t>(state_.turn / banks_),
                        static_cast<std::uint8_t>(state_.turn % banks_)});
        state_.turn = (state_.turn + 1) % turns_;
        state_.due += interval_;
    }
    std::uint64_t skip(Tick until) override {
        const Tick rounds = (until - state_.due) / (interval_ * turns_) - 1;
        if (rounds <= 0) return 0;
        state_.due += rounds * interval_ * turns_;
        return static_cast<std::uint64_t>(rounds) * turns_;
    }

  private:
    std::uint32_t banks_;
    std::uint32_t turns_;
    Tick interval_;
};

/// The same bank of every pseudo-channel, a tick apart, one stack id after the other. A new round
/// over the banks of a stack id waits for the last refresh of its previous round.
class TogetherRefresh final : public RefreshSchedule {
  public:
    TogetherRefresh(const Config& config, const TickTable& table)
        : pcs_(config.organization.pseudo_channels),
          stacks_(config.organization.stack_ids),
          banks_(config.organization.bank_groups * config.organization.banks),
          interval_(table.bank_refresh_interval),
          duration_(table.bank_refresh_time) {
        state_.due = interval_;
    }
    void collect(Tick now, std::vector<Maintenance>& owed) override {
        owed.push_back({Maintenance::Kind::refresh_bank, static_cast<std::uint8_t>(state_.pc),
                        static_cast<std::uint8_t>(state_.turn)});
        if (++state_.pc < pcs_) {
            state_.due = now + 1;
            return;
        }
        state_.pc = 0;
        const std::uint32_t stack = state_.turn / banks_;
        if (state_.turn % banks_ == banks_ - 1) state_.round_allowed[stack] = now + duration_;
        state_.turn = (state_.turn + 1) % (banks_ * stacks_);
        const Tick begun = now + 1 - static_cast<Tick>(pcs_);
        state_.due = std::max(begun + interval_, state_.round_allowed[state_.turn / banks_]);
    }
    std::uint64_t skip(Tick until) override {
        if (interval_ * banks_ * (stacks_ - 1) < duration_ + static_cast<Tick>(pcs_)) return 0;
        const Tick round = interval_ * banks_ * stacks_;
        const Tick rounds = (until - state_.due) / round - 1;
        if (rounds <= 0) return 0;
        state_.due += rounds * round;
        for (Tick& allowed : state_.round_allowed) allowed += rounds * round;
        return static_cast<std::uint64_t>(rounds) * banks_ * stacks_ * pcs_;
    }

  private:
    std::uint32_t pcs_;
    std::uint32_t stacks_;
    std::uint32_t banks_;
    Tick interval_;
    Tick duration_;
};

template <class T>
std::unique_ptr<RefreshSchedule> make(const Config& config, const TickTable& table) {
    return std::make_unique<T>(config, table);
}

}  // namespace

std::unique_ptr<RefreshSchedule> make_refresh_schedule(const Config& config,
                                                       const TickTable& table) {
    switch (config.controller.refresh) {
        case Refresh::all_bank:
            return make<AllBankRefresh>(config, table);
        case Refresh::per_bank:
            return config.controller.bank_refresh_order ==
                           BankRefreshOrder::pseudo_channels_together
                       ? make<TogetherRefresh>(config, table)
                       : make<BankByBankRefresh>(config, table);
        case Refresh::none:
            break;
    }
    return std::make_unique<NoRefresh>();
}

}  // namespace npuvp::memory::dram
