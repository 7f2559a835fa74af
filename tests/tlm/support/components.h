#pragma once

#include <cstring>
#include <deque>
#include <random>
#include <vector>

#include <tlm_utils/simple_initiator_socket.h>
#include <tlm_utils/simple_target_socket.h>
#include <systemc>
#include <tlm>

#include "noc/payload.h"

namespace npuvp::test {

inline sc_core::sc_time ns(double t) {
    return sc_core::sc_time(t, sc_core::SC_NS);
}

/// A memory as a third party would write it for loosely timed use: b_transport and nothing else.
struct LtMemory : sc_core::sc_module {
    tlm_utils::simple_target_socket<LtMemory> in;
    std::vector<unsigned char> bytes;
    std::uint64_t served = 0;

    LtMemory(sc_core::sc_module_name name, std::size_t size)
        : sc_module(name), in("in"), bytes(size) {
        in.register_b_transport(this, &LtMemory::b_transport);
    }
    void b_transport(tlm::tlm_generic_payload& p, sc_core::sc_time& delay) {
        if (p.get_address() + p.get_data_length() > bytes.size()) {
            p.set_response_status(tlm::TLM_ADDRESS_ERROR_RESPONSE);
            return;
        }
        if (p.is_read())
            std::memcpy(p.get_data_ptr(), &bytes[p.get_address()], p.get_data_length());
        else
            std::memcpy(&bytes[p.get_address()], p.get_data_ptr(), p.get_data_length());
        ++served;
        delay += ns(20);
        p.set_response_status(tlm::TLM_OK_RESPONSE);
    }
};

/// A memory as a third party would write it for approximately timed use: four phases, one
/// transaction at a time, never early.
struct AtMemory : sc_core::sc_module {
    tlm_utils::simple_target_socket<AtMemory> in;
    std::vector<unsigned char> bytes;
    std::uint64_t served = 0;
    SC_HAS_PROCESS(AtMemory);

    AtMemory(sc_core::sc_module_name name, std::size_t size)
        : sc_module(name), in("in"), bytes(size) {
        in.register_nb_transport_fw(this, &AtMemory::nb_transport_fw);
        SC_METHOD(step);
        sensitive << step_;
        dont_initialize();
    }

  private:
    enum class Do { idle, work, respond, wait };
    tlm::tlm_sync_enum nb_transport_fw(tlm::tlm_generic_payload& p, tlm::tlm_phase& phase,
                                       sc_core::sc_time& delay) {
        if (phase == tlm::BEGIN_REQ) {
            p.acquire();
            current_ = &p;
            next_ = Do::work;
            step_.notify(delay + ns(3));
            return tlm::TLM_ACCEPTED;
        }
        finish();
        return tlm::TLM_COMPLETED;
    }
    void finish() {
        current_->release();
        current_ = nullptr;
        next_ = Do::idle;
    }
    void step() {
        tlm::tlm_generic_payload& p = *current_;
        tlm::tlm_phase phase;
        sc_core::sc_time delay = sc_core::SC_ZERO_TIME;
        if (next_ == Do::work) {
            if (p.is_read())
                std::memcpy(p.get_data_ptr(), &bytes[p.get_address()], p.get_data_length());
            else
                std::memcpy(&bytes[p.get_address()], p.get_data_ptr(), p.get_data_length());
            p.set_response_status(tlm::TLM_OK_RESPONSE);
            next_ = Do::respond;
            step_.notify(ns(11));
            return;  // no END_REQ: the response ends the request too
        }
        ++served;
        next_ = Do::wait;
        phase = tlm::BEGIN_RESP;
        if (in->nb_transport_bw(p, phase, delay) != tlm::TLM_ACCEPTED) finish();
    }
    tlm::tlm_generic_payload* current_ = nullptr;
    Do next_ = Do::idle;
    sc_core::sc_event step_;
};

/// Random reads and writes over a range, several under way, checked against what was written.
/// Every transaction has its own place while it is under way.
struct Traffic : sc_core::sc_module {
    tlm_utils::simple_initiator_socket<Traffic> out;
    std::uint64_t base, span;
    unsigned todo, limit;
    bool slow_end;  ///< ends responses itself, some time later
    std::uint64_t done = 0, bad_data = 0, errors = 0;
    std::uint64_t bytes = 0;
    SC_HAS_PROCESS(Traffic);

    Traffic(sc_core::sc_module_name name, std::uint64_t base_, std::uint64_t span_, unsigned count,
            unsigned limit_, bool slow, unsigned seed)
        : sc_module(name),
          out("out"),
          base(base_),
          span(span_),
          todo(count),
          limit(limit_),
          slow_end(slow),
          shadow_(span_),
          random_(seed) {
        out.register_nb_transport_bw(this, &Traffic::nb_transport_bw);
        SC_METHOD(go);
        sensitive << go_;
        SC_METHOD(end);
        sensitive << end_;
        dont_initialize();
        go_.notify(sc_core::SC_ZERO_TIME);
    }

  private:
    struct Slot {
        std::vector<unsigned char> data;
        std::uint64_t offset;
        bool busy = false;
    };
    void go() {
        if (slots_.empty()) slots_.resize(limit);
        for (std::size_t s = 0; s < slots_.size() && todo > 0 && !requesting_; ++s) {
            Slot& slot = slots_[s];
            if (slot.busy) continue;
            const std::uint64_t part = span / limit;  // places do not overlap
            const auto length =
                static_cast<unsigned>(1 + random_() % std::min<std::uint64_t>(part, 300));
            slot.offset = s * part + random_() % (part - length + 1);
            slot.busy = true;
            slot.data.resize(length);
            const bool write = random_() % 2;
            if (write) {
                for (auto& byte : slot.data) byte = static_cast<unsigned char>(random_());
                std::copy(slot.data.begin(), slot.data.end(),
                          shadow_.begin() + static_cast<std::ptrdiff_t>(slot.offset));
            }
            tlm::tlm_generic_payload& p =
                pool_.acquire(write ? tlm::TLM_WRITE_COMMAND : tlm::TLM_READ_COMMAND,
                              base + slot.offset, slot.data.data(), length);
            --todo;
            tlm::tlm_phase phase = tlm::BEGIN_REQ;
            sc_core::sc_time delay = ns(random_() % 3);
            const tlm::tlm_sync_enum answer = out->nb_transport_fw(p, phase, delay);
            if (answer == tlm::TLM_COMPLETED) {
                complete(p);
            } else if (answer == tlm::TLM_ACCEPTED) {
                requesting_ = &p;
            } else if (phase == tlm::BEGIN_RESP) {
                complete(p, false);
                phase = tlm::END_RESP;
                out->nb_transport_fw(p, phase, delay);
                p.release();
            } else if (delay > sc_core::SC_ZERO_TIME) {
                go_.notify(delay);
                return;
            }
        }
    }
    void complete(tlm::tlm_generic_payload& p, bool release = true) {
        Slot* slot = nullptr;
        for (Slot& s : slots_)
            if (s.busy && s.data.data() == p.get_data_ptr()) slot = &s;
        if (!p.is_response_ok()) ++errors;
        if (p.get_address() != base + slot->offset) ++bad_data;
        if (p.is_read() && !std::equal(slot->data.begin(), slot->data.end(),
                                       shadow_.begin() + static_cast<std::ptrdiff_t>(slot->offset)))
            ++bad_data;
        slot->busy = false;
        ++done;
        bytes += p.get_data_length();
        if (release) p.release();
        go_.notify(ns(1));
    }
    tlm::tlm_sync_enum nb_transport_bw(tlm::tlm_generic_payload& p, tlm::tlm_phase& phase,
                                       sc_core::sc_time&) {
        if (requesting_ == &p) {
            requesting_ = nullptr;
            go_.notify(sc_core::SC_ZERO_TIME);
        }
        if (phase == tlm::END_REQ) return tlm::TLM_ACCEPTED;
        if (slow_end) {
            ending_ = &p;
            end_.notify(ns(13));
            return tlm::TLM_ACCEPTED;
        }
        complete(p);
        return tlm::TLM_COMPLETED;
    }
    void end() {
        tlm::tlm_generic_payload& p = *ending_;
        complete(p, false);
        tlm::tlm_phase phase = tlm::END_RESP;
        sc_core::sc_time delay = sc_core::SC_ZERO_TIME;
        out->nb_transport_fw(p, phase, delay);
        p.release();
    }
    std::vector<unsigned char> shadow_;
    std::mt19937 random_;
    std::vector<Slot> slots_;
    noc::PayloadPool pool_;
    tlm::tlm_generic_payload* requesting_ = nullptr;
    tlm::tlm_generic_payload* ending_ = nullptr;
    sc_core::sc_event go_, end_;
};

}  // namespace npuvp::test
