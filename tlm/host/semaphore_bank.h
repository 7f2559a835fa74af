#pragma once

#include <cstdint>
#include <deque>
#include <vector>

namespace npuvp::host {

/// Counting semaphores and barriers, without time. A requester is a number of the caller's; those
/// that a call lets go on are appended to `granted`, in order.
class SemaphoreBank {
  public:
    using Requester = std::uint64_t;

    explicit SemaphoreBank(std::uint32_t count) : semaphores_(count), barriers_(count) {}

    std::uint32_t size() const { return static_cast<std::uint32_t>(semaphores_.size()); }
    std::uint32_t value(std::uint32_t index) const { return semaphores_.at(index).value; }
    void set(std::uint32_t index, std::uint32_t value, std::vector<Requester>& granted);

    /// False, with nothing changed, where the value would pass 2^32 - 1.
    bool signal(std::uint32_t index, std::uint32_t count, std::vector<Requester>& granted);
    /// Takes `count` as soon as it is there and those who came before have theirs.
    void wait(std::uint32_t index, std::uint32_t count, Requester by,
              std::vector<Requester>& granted);

    /// All `count` go on when the last of them arrives. False, with nothing changed, where those
    /// who wait said another count.
    bool arrive(std::uint32_t index, std::uint32_t count, Requester by,
                std::vector<Requester>& granted);
    std::uint32_t arrived(std::uint32_t index) const {
        return static_cast<std::uint32_t>(barriers_.at(index).waiting.size());
    }
    /// What those who wait at the barrier said; 0 where nobody does.
    std::uint32_t expected(std::uint32_t index) const { return barriers_.at(index).count; }

  private:
    struct Waiting {
        std::uint32_t count;
        Requester by;
    };
    struct Semaphore {
        std::uint32_t value = 0;
        std::deque<Waiting> waiting;
    };
    struct Barrier {
        std::uint32_t count = 0;
        std::vector<Requester> waiting;
    };
    void serve(Semaphore& semaphore, std::vector<Requester>& granted);

    std::vector<Semaphore> semaphores_;
    std::vector<Barrier> barriers_;
};

}  // namespace npuvp::host
