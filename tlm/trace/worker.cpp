#include "trace/worker.h"

#include <utility>

namespace npuvp::trace {

Worker::Worker(std::function<void(const Event&)> consume) : consume_(std::move(consume)) {
    batch_.reserve(batch_events);
    thread_ = std::thread([this] { work(); });
}

Worker::~Worker() {
    end();
}

void Worker::advance(Time safe) {
    push({safe, safe, 0, 0, 0, 0, Kind::count_});
    if (!batch_.empty() && std::chrono::steady_clock::now() - handed_over_ > longest_wait)
        hand_over();
}

void Worker::hand_over() {
    std::unique_lock lock(mutex_);
    emptied_.wait(lock, [this] { return full_.size() < most_batches || error_; });
    if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
    full_.push_back(std::move(batch_));
    batch_.clear();
    if (!free_.empty()) {
        batch_ = std::move(free_.back());
        free_.pop_back();
    }
    lock.unlock();
    filled_.notify_one();
    batch_.reserve(batch_events);
    handed_over_ = std::chrono::steady_clock::now();
}

void Worker::work() {
    std::unique_lock lock(mutex_);
    bool failed = false;
    for (;;) {
        filled_.wait(lock, [this] { return stopping_ || !full_.empty(); });
        if (full_.empty()) return;
        std::vector<Event> batch = std::move(full_.front());
        full_.pop_front();
        lock.unlock();
        std::exception_ptr error;
        try {
            if (!failed)
                for (const Event& event : batch) consume_(event);
        } catch (...) {
            error = std::current_exception();
            failed = true;
        }
        batch.clear();
        lock.lock();
        if (error) error_ = error;
        free_.push_back(std::move(batch));
        emptied_.notify_one();
    }
}

void Worker::end() {
    if (!thread_.joinable()) return;
    {
        const std::lock_guard lock(mutex_);
        if (!batch_.empty()) full_.push_back(std::move(batch_));
        batch_.clear();
        stopping_ = true;
    }
    filled_.notify_one();
    thread_.join();
}

void Worker::stop() {
    end();
    if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

}  // namespace npuvp::trace
