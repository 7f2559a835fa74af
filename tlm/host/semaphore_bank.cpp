#include "host/semaphore_bank.h"

#include <limits>

namespace npuvp::host {

void SemaphoreBank::serve(Semaphore& semaphore, std::vector<Requester>& granted) {
    while (!semaphore.waiting.empty() && semaphore.waiting.front().count <= semaphore.value) {
        semaphore.value -= semaphore.waiting.front().count;
        granted.push_back(semaphore.waiting.front().by);
        semaphore.waiting.pop_front();
    }
}

void SemaphoreBank::set(std::uint32_t index, std::uint32_t value, std::vector<Requester>& granted) {
    Semaphore& semaphore = semaphores_.at(index);
    semaphore.value = value;
    serve(semaphore, granted);
}

bool SemaphoreBank::signal(std::uint32_t index, std::uint32_t count,
                           std::vector<Requester>& granted) {
    Semaphore& semaphore = semaphores_.at(index);
    if (count > std::numeric_limits<std::uint32_t>::max() - semaphore.value) return false;
    semaphore.value += count;
    serve(semaphore, granted);
    return true;
}

void SemaphoreBank::wait(std::uint32_t index, std::uint32_t count, Requester by,
                         std::vector<Requester>& granted) {
    Semaphore& semaphore = semaphores_.at(index);
    semaphore.waiting.push_back({count, by});
    serve(semaphore, granted);
}

bool SemaphoreBank::arrive(std::uint32_t index, std::uint32_t count, Requester by,
                           std::vector<Requester>& granted) {
    Barrier& barrier = barriers_.at(index);
    if (!barrier.waiting.empty() && barrier.count != count) return false;
    barrier.count = count;
    barrier.waiting.push_back(by);
    if (barrier.waiting.size() < count) return true;
    granted.insert(granted.end(), barrier.waiting.begin(), barrier.waiting.end());
    barrier = {};
    return true;
}

}  // namespace npuvp::host
