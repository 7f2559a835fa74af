#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <tlm_utils/multi_passthrough_target_socket.h>
#include <systemc>
#include <tlm>

#include "trace/hub.h"

namespace npuvp::host {

/// A word that firmware sent to the host.
struct Word {
    std::uint64_t time_ps;
    std::uint32_t core;
    std::uint32_t value;
};

/// The host's side of the machine, memory-mapped: one page of registers per core. Python is the
/// host: it takes words and interrupts after the run. The FIFO has a depth; whenever it is full
/// the host is interrupted and takes its words, so that nothing is ever lost.
///
/// Registers (offset in a core's page, 32-bit words):
///     0x00  write: push a word into the output FIFO
///     0x08  write: doorbell, an interrupt to the host with this code
///     0x10  read: words in the FIFO
///     0x18  write: one character for the console
class Host : public sc_core::sc_module {
  public:
    static constexpr std::uint64_t page_bytes = 0x1000;
    enum Register : std::uint64_t { push = 0x00, doorbell = 0x08, level = 0x10, console = 0x18 };

    Host(sc_core::sc_module_name name, std::uint32_t cores, std::uint32_t fifo_words,
         trace::Hub& hub);

    tlm_utils::multi_passthrough_target_socket<Host> in;

    /// For traces: the cores start; all of them have halted and all they started is complete.
    void launch(std::uint64_t time_ps) { report(trace::HostEvent::launch, time_ps, 0, 0); }
    void done(std::uint64_t time_ps) { report(trace::HostEvent::done, time_ps, 0, 0); }

    const std::vector<Word>& words() const { return words_; }
    const std::vector<Word>& doorbells() const { return doorbells_; }
    const std::string& console_text() const { return console_; }
    std::uint64_t full_interrupts() const { return full_interrupts_; }

  private:
    void b_transport(int id, tlm::tlm_generic_payload& payload, sc_core::sc_time& delay);
    tlm::tlm_sync_enum nb_transport_fw(int id, tlm::tlm_generic_payload& payload,
                                       tlm::tlm_phase& phase, sc_core::sc_time& delay);
    unsigned transport_dbg(int id, tlm::tlm_generic_payload& payload);
    void access(tlm::tlm_generic_payload& payload, std::uint64_t time_ps);
    void report(trace::HostEvent what, std::uint64_t time_ps, std::uint32_t value,
                std::uint64_t core);

    std::uint32_t cores_;
    std::uint32_t fifo_words_;
    trace::Hub& hub_;
    std::uint16_t source_;
    std::uint32_t in_fifo_ = 0;
    std::vector<Word> words_;
    std::vector<Word> doorbells_;
    std::string console_;
    std::uint64_t full_interrupts_ = 0;
};

}  // namespace npuvp::host
