#include "estimate/memory.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace npuvp::estimate {

double Memory::streamed(const std::vector<Pieces>& parts, double transfers, bool write,
                        bool before) const {
    double cycles = 0.0, bytes = 0.0, bursts = 0.0;
    for (const Pieces& part : parts) {
        const bool one = static_cast<double>(part.pitch) <= part.row_bytes;
        const double rows = one ? transfers : part.rows;
        const double row_bytes = one ? part.rows * part.row_bytes / transfers : part.row_bytes;
        cycles += rows * row_bytes / (one ? bytes_per_cycle : bytes_per_cycle * part.share);
        bytes += rows * row_bytes;
        bursts += rows * std::max(1.0, row_bytes / burst_bytes);
    }
    if (!(bytes > 0.0)) throw std::domain_error("a transfer of no bytes");
    const double each = bytes / bursts, rate = bytes / cycles;
    // Behind the memory: the ports, and on a mesh a packet per burst, with a header flit.
    double behind = each / port_bytes;
    if (flit_bytes > 0.0) behind = std::max(behind, 1.0 + std::ceil(each / flit_bytes));
    // What has been read covers a part of each refresh.
    const double exposed = std::max(0.0, refresh - reads * behind);
    cycles = std::max(cycles, bursts * behind / (1.0 - exposed / refresh_every));
    if (bursts > reads && !write) {
        // A window of bursts per round trip.
        const double trip = latency + std::max(behind, each / rate);
        cycles = std::max(cycles, trip * (bursts - (before ? 0.0 : reads)) / reads);
    }
    if (transfers > queue && !write && !before) {
        // Likewise of transfers in the queue.
        const double trip = latency + cycles / transfers;
        cycles = std::max(cycles, trip * (transfers - queue) / queue);
    }
    return cycles;
}

}  // namespace npuvp::estimate
