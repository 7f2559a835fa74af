#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "trace/event.h"

namespace npuvp::trace {

/// Takes events off the simulation's thread: they are handed over in batches, in order, and sinks
/// see them on a thread of their own. Kind::count_ stands for "all before `begin` is known".
class Worker {
  public:
    using Consume = std::function<void(const Event* first, const Event* last)>;
    explicit Worker(Consume consume);
    ~Worker();
    Worker(const Worker&) = delete;
    Worker& operator=(const Worker&) = delete;

    /// Rethrows what a sink threw.
    void push(const Event& event) {
        *next_++ = event;
        if (next_ == end_) hand_over();
    }
    /// As push; hands over what has waited for long, so that files on disk keep up.
    void advance(Time safe);
    /// Returns when all is consumed and the thread has ended. Rethrows what a sink threw.
    void stop();

  private:
    static constexpr std::size_t batch_events = 2048;
    static constexpr std::size_t most_batches = 32;
    static constexpr auto longest_wait = std::chrono::milliseconds(100);

    struct Batch {
        std::unique_ptr<Event[]> events;
        std::size_t count = 0;
    };
    void hand_over();
    void work();
    void end();
    void begin_batch(std::unique_ptr<Event[]> events);

    Consume consume_;
    std::unique_ptr<Event[]> batch_;
    Event* next_ = nullptr;  ///< where the next event goes, and where the batch ends
    Event* end_ = nullptr;
    std::chrono::steady_clock::time_point handed_over_ = std::chrono::steady_clock::now();

    std::mutex mutex_;
    std::condition_variable filled_, emptied_;
    std::deque<Batch> full_;
    std::vector<std::unique_ptr<Event[]>> free_;
    std::exception_ptr error_;
    bool stopping_ = false;
    std::thread thread_;
};

}  // namespace npuvp::trace
