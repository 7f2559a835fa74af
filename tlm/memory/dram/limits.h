#pragma once

namespace npuvp::memory::dram {

inline constexpr int kMaxPseudoChannels = 2;
inline constexpr int kMaxStackIds = 8;
inline constexpr int kMaxBanks = 64;    ///< of one pseudo-channel: banks are bits of a word
inline constexpr int kMaxQueue = 4096;  ///< per pseudo-channel: entries have 16-bit numbers

}  // namespace npuvp::memory::dram
