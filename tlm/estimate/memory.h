#pragma once

#include <cstdint>
#include <vector>

namespace npuvp::estimate {

/// Pieces of memory of equal size.
struct Pieces {
    double rows = 0.0;       ///< How many.
    double row_bytes = 0.0;  ///< Of one.
    std::int64_t pitch = 0;  ///< Bytes from one to the next; up to row_bytes: they are one piece.
    double share = 1.0;      ///< Of the bandwidth that they get where they are apart.
};

/// A memory and the DMA engine in front of it (npuvp.analytical.memory), as one core sees them.
struct Memory {
    double bytes_per_cycle = 0.0;  ///< Of sequential bursts,
    double port_bytes = 0.0;       ///< of all ports of the DMA engine,
    double burst_bytes = 0.0;      ///< most of a burst,
    double flit_bytes = 0.0;       ///< of the mesh in between; 0: there is none.
    double reads = 0.0;            ///< Bursts that may be under way.
    double queue = 0.0;            ///< Transfers that wait in the DMA engine.
    double latency = 0.0;          ///< Cycles from a request to its first data,
    double refresh = 0.0;          ///< of a refresh of all banks,
    double refresh_every = 1.0;    ///< and from one to the next.

    /// Cycles for which several transfers alike keep the memory.
    ///
    /// @param transfers That share the pieces.
    /// @param write Writes are posted: their number under way limits nothing.
    /// @param before Whether others are under way when they begin.
    /// Throws std::domain_error where nothing is moved.
    double streamed(const std::vector<Pieces>& parts, double transfers, bool write,
                    bool before) const;
};

}  // namespace npuvp::estimate
