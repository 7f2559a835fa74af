#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <tlm>

namespace npuvp::noc {

/// An ignorable extension: in timing mode a transaction occupies the interconnect and the memory
/// as usual, but its data need not be moved. Targets that do not know it move the data anyway.
struct TimingOnly : tlm::tlm_extension<TimingOnly> {
    tlm::tlm_extension_base* clone() const override { return new TimingOnly; }
    void copy_from(const tlm::tlm_extension_base&) override {}
};

/// An ignorable extension of transfers of integer words: which of them hold values that timing mode
/// does not know. A memory that knows it keeps the bits beside the words.
struct WordTaint : tlm::tlm_extension<WordTaint> {
    std::vector<bool>* words = nullptr;
    std::uint32_t first = 0;  ///< index in `words` of the payload's first word
    tlm::tlm_extension_base* clone() const override { return new WordTaint(*this); }
    void copy_from(const tlm::tlm_extension_base& other) override {
        *this = static_cast<const WordTaint&>(other);
    }
};

/// An ignorable extension of transactions whose way is looked at: how long the target had them.
struct Served : tlm::tlm_extension<Served> {
    std::uint64_t ps = 0;
    tlm::tlm_extension_base* clone() const override { return new Served(*this); }
    void copy_from(const tlm::tlm_extension_base& other) override {
        *this = static_cast<const Served&>(other);
    }
};

/// A write that goes to several places at once: the payload's address is the first of them. An
/// interconnect delivers a copy to every place and answers when all have answered, with the last
/// error if there is one.
struct Multicast : tlm::tlm_extension<Multicast> {
    std::vector<std::uint64_t> others;
    tlm::tlm_extension_base* clone() const override { return new Multicast(*this); }
    void copy_from(const tlm::tlm_extension_base& other) override {
        *this = static_cast<const Multicast&>(other);
    }
};

/// Payloads are reused: a DMA sends millions of them.
class PayloadPool : public tlm::tlm_mm_interface {
  public:
    ~PayloadPool() override;
    /// A payload with one reference, no extensions, and defaults for a transfer of `bytes`.
    tlm::tlm_generic_payload& acquire(tlm::tlm_command command, std::uint64_t address,
                                      unsigned char* data, unsigned bytes);
    void free(tlm::tlm_generic_payload* payload) override;

  private:
    std::vector<std::unique_ptr<tlm::tlm_generic_payload>> all_;
    std::vector<tlm::tlm_generic_payload*> idle_;
};

}  // namespace npuvp::noc
