#include <array>

#include "memory/backend.h"

namespace npuvp::memory {
namespace {

/// Everything that adds up over channels; `elapsed` does not.
constexpr std::array kSums = {
    &Statistics::activates,       &Statistics::reads,
    &Statistics::writes,          &Statistics::precharges,
    &Statistics::precharges_all,  &Statistics::refreshes_all,
    &Statistics::refreshes_bank,  &Statistics::row_hits,
    &Statistics::row_misses,      &Statistics::row_conflicts,
    &Statistics::bytes_read,      &Statistics::bytes_written,
    &Statistics::reads_forwarded, &Statistics::writes_coalesced,
    &Statistics::refused,         &Statistics::data_busy,
    &Statistics::rows_open,
};

}  // namespace

void add(Statistics& sum, const Statistics& part) {
    for (const auto member : kSums) sum.*member += part.*member;
}

void subtract(Statistics& sum, const Statistics& part) {
    for (const auto member : kSums) sum.*member -= part.*member;
}

}  // namespace npuvp::memory
