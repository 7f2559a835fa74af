#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace npuvp::memory {

/// Counts of one memory; a "column" is one access (burst) wide.
struct Organization {
    std::uint32_t channels = 0;  ///< of all stacks together
    std::uint32_t pseudo_channels = 0;
    std::uint32_t stack_ids = 0;
    std::uint32_t bank_groups = 0;
    std::uint32_t banks = 0;  ///< per bank group
    std::uint32_t rows = 0;
    std::uint32_t columns = 0;
    std::uint32_t access_bytes = 0;
};

/// JEDEC timings in clock cycles (CK).
struct Timing {
    std::uint32_t cl = 0;       ///< read command to first data
    std::uint32_t cwl = 0;      ///< write command to first data
    std::uint32_t burst = 0;    ///< data-bus time of one access
    std::uint32_t rcd_rd = 0;   ///< ACT to RD
    std::uint32_t rcd_wr = 0;   ///< ACT to WR
    std::uint32_t rp = 0;       ///< PRE to ACT
    std::uint32_t ras = 0;      ///< ACT to PRE
    std::uint32_t rc = 0;       ///< ACT to ACT, one bank
    std::uint32_t ccd_s = 0;    ///< column to column, other bank group
    std::uint32_t ccd_l = 0;    ///< column to column, same bank group
    std::uint32_t ccd_r = 0;    ///< read to read, other stack id
    std::uint32_t rrd_s = 0;    ///< ACT to ACT, other bank group
    std::uint32_t rrd_l = 0;    ///< ACT to ACT, same bank group
    std::uint32_t faw = 0;      ///< four-activate window
    std::uint32_t wr = 0;       ///< end of write data to PRE
    std::uint32_t rtp = 0;      ///< RD to PRE
    std::uint32_t wtr_s = 0;    ///< end of write data to RD, other bank group
    std::uint32_t wtr_l = 0;    ///< end of write data to RD, same bank group
    std::uint32_t rtw = 0;      ///< RD to WR
    std::uint32_t rfc = 0;      ///< all-bank refresh
    std::uint32_t rfc_pb = 0;   ///< per-bank refresh
    std::uint32_t rrefd = 0;    ///< per-bank refresh to ACT or refresh of another bank
    std::uint32_t refi = 0;     ///< between all-bank refreshes
    std::uint32_t refi_pb = 0;  ///< between per-bank refreshes
    std::uint32_t ppd = 0;      ///< PRE to PRE, 0 if the standard has none
};

/// Command buses. One tick is the shortest command: a whole or half clock.
struct CommandBus {
    std::uint32_t ticks_per_clock = 0;  ///< 1, or 2 where commands may use both clock edges
    std::uint32_t activate_ticks = 0;   ///< occupancy of the row bus
    std::uint32_t precharge_ticks = 0;
    std::uint32_t refresh_ticks = 0;
    std::uint32_t column_ticks = 0;
};

enum class RowPolicy : std::uint8_t { open, closed, capped };
enum class Refresh : std::uint8_t { none, all_bank, per_bank };

/// One refresh of a bank at a time in the whole channel, or of the same bank of every
/// pseudo-channel together.
enum class BankRefreshOrder : std::uint8_t { bank_by_bank, pseudo_channels_together };

struct Controller {
    std::uint32_t queue_depth = 0;  ///< reads, and as many writes, per pseudo-channel
    double write_drain_start = 0;   ///< writes are drained above this share of the queue
    double write_drain_stop = 0;    ///< until fewer than this share are left and reads wait
    bool protect_row_hits = true;   ///< a row stays open for older requests that hit it
    RowPolicy row_policy = RowPolicy::open;
    std::uint32_t row_cap = 0;  ///< column accesses after which `capped` closes a row
    Refresh refresh = Refresh::none;
    BankRefreshOrder bank_refresh_order = BankRefreshOrder::bank_by_bank;
};

enum class Field : std::uint8_t {
    channel,
    pseudo_channel,
    stack_id,
    bank_group,
    bank,
    row,
    column
};
inline constexpr std::size_t kFields = 7;

/// `size` consecutive values of `field`, least significant slice first.
struct MappingSlice {
    Field field = Field::row;
    std::uint64_t size = 0;
};

/// `target ^= source >> shift`, as many bits as the target has.
struct MappingHash {
    Field target = Field::bank;
    Field source = Field::row;
    std::uint32_t shift = 0;
};

/// How the number of an access (address / access size) splits into coordinates: slices from the
/// least significant, then the hashes in order.
struct Mapping {
    std::vector<MappingSlice> slices;
    std::vector<MappingHash> hashes;
};

/// A fixed latency and a bandwidth, for the backend `ideal`.
struct Ideal {
    double latency_ns = 0;
    double bandwidth = 0;  ///< bytes per second
};

struct Config {
    std::string name;  ///< for messages
    Organization organization;
    std::uint64_t clock_khz = 0;
    Timing timing;
    CommandBus bus;
    Controller controller;
    Mapping mapping;
    Ideal ideal;
    std::string family;  ///< HBM2 or HBM3: which standard an external simulator has to be told
};

}  // namespace npuvp::memory
