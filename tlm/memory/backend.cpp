#include "memory/backend.h"

#include <algorithm>

namespace npuvp::memory {

Sent Backend::send_run(const Request& first, std::uint64_t end, std::uint32_t most) {
    const std::uint64_t unit = access_bytes();
    const bool one = channels() == 1;
    const std::uint32_t channel = one ? 0 : channel_of(first.address);
    Sent sent{first.address, 0};
    while (sent.next < end && sent.accepted < most) {
        const std::uint64_t stop = std::min(end, sent.next / unit * unit + unit);
        if (!send(
                {sent.next, static_cast<std::uint32_t>(stop - sent.next), first.write, first.tag}))
            break;
        ++sent.accepted;
        sent.next = stop;
        while (!one && sent.next < end && channel_of(sent.next) != channel)
            sent.next = std::min(end, sent.next + unit);
    }
    return sent;
}

}  // namespace npuvp::memory
