#include "trace/worker.h"

#include <utility>

namespace npuvp::trace {

Worker::Worker(Consume consume) : consume_(std::move(consume)) {
    begin_batch(nullptr);
    thread_ = std::thread([this] { work(); });
}

Worker::~Worker() {
    end();
}

void Worker::begin_batch(std::unique_ptr<Event[]> events) {
    // Not set to 0: events are written before they are read.
    batch_ = events ? std::move(events) : std::unique_ptr<Event[]>(new Event[batch_events]);
    next_ = batch_.get();
    end_ = next_ + batch_events;
}

void Worker::advance(Time safe) {
    push({safe, safe, 0, 0, 0, 0, Kind::count_});
    if (next_ != batch_.get() && std::chrono::steady_clock::now() - handed_over_ > longest_wait)
        hand_over();
}

void Worker::hand_over() {
    std::unique_lock lock(mutex_);
    emptied_.wait(lock, [this] { return full_.size() < most_batches || error_; });
    if (error_) {
        next_ = batch_.get();  // nothing of it is of use any more
        std::rethrow_exception(std::exchange(error_, nullptr));
    }
    const auto count = static_cast<std::size_t>(next_ - batch_.get());
    full_.push_back({std::move(batch_), count});
    std::unique_ptr<Event[]> events;
    if (!free_.empty()) {
        events = std::move(free_.back());
        free_.pop_back();
    }
    lock.unlock();
    filled_.notify_one();
    begin_batch(std::move(events));
    handed_over_ = std::chrono::steady_clock::now();
}

void Worker::work() {
    std::unique_lock lock(mutex_);
    bool failed = false;
    for (;;) {
        filled_.wait(lock, [this] { return stopping_ || !full_.empty(); });
        if (full_.empty()) return;
        Batch batch = std::move(full_.front());
        full_.pop_front();
        lock.unlock();
        std::exception_ptr error;
        try {
            if (!failed) consume_(batch.events.get(), batch.events.get() + batch.count);
        } catch (...) {
            error = std::current_exception();
            failed = true;
        }
        lock.lock();
        if (error) error_ = error;
        free_.push_back(std::move(batch.events));
        emptied_.notify_one();
    }
}

void Worker::end() {
    if (!thread_.joinable()) return;
    {
        const std::lock_guard lock(mutex_);
        const auto count = static_cast<std::size_t>(next_ - batch_.get());
        if (count > 0) full_.push_back({std::move(batch_), count});
        next_ = end_ = nullptr;
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
