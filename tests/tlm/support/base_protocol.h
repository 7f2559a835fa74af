#pragma once

#include <map>
#include <string>
#include <vector>

#include <tlm_utils/simple_initiator_socket.h>
#include <tlm_utils/simple_target_socket.h>
#include <systemc>
#include <tlm>

#include "noc/payload.h"

namespace npuvp::test {

/// What has been seen on checked sockets.
struct Protocol {
    std::vector<std::string> violations;
    std::uint64_t begun = 0;
    std::uint64_t ended = 0;
};

/// Stands between an initiator and a target socket and holds both against the TLM-2.0 base
/// protocol (IEEE 1666-2011, 15.2): order of phases, one request and one response at a time,
/// attributes that may not change, answers that fit their phases.
class ProtocolChecker : public sc_core::sc_module {
  public:
    ProtocolChecker(sc_core::sc_module_name name, Protocol& protocol)
        : sc_module(name), in("in"), out("out"), protocol_(protocol) {
        in.register_b_transport(this, &ProtocolChecker::b_transport);
        in.register_nb_transport_fw(this, &ProtocolChecker::forward);
        in.register_transport_dbg(this, &ProtocolChecker::debug);
        out.register_nb_transport_bw(this, &ProtocolChecker::backward);
    }

    tlm_utils::simple_target_socket<ProtocolChecker> in;
    tlm_utils::simple_initiator_socket<ProtocolChecker> out;

    std::size_t open() const { return open_.size(); }

  private:
    enum class State { requested, accepted, responding };
    struct Open {
        State state;
        tlm::tlm_command command;
        std::uint64_t address;
        unsigned length;
        unsigned char* data;
    };

    void demand(bool holds, const std::string& what) {
        if (!holds)
            protocol_.violations.push_back(std::string(name()) + " at " +
                                           sc_core::sc_time_stamp().to_string() + ": " + what);
    }
    void check_request(tlm::tlm_generic_payload& p) {
        demand(p.get_response_status() == tlm::TLM_INCOMPLETE_RESPONSE,
               "a request whose response is set");
        demand(p.get_data_length() > 0, "a request of 0 bytes");
        demand(p.get_streaming_width() > 0, "a streaming width of 0");
        demand(!p.is_dmi_allowed(), "a request with the DMI hint set");
        demand(p.get_data_ptr() || p.get_extension<noc::TimingOnly>(), "a request without data");
    }
    void check_response(tlm::tlm_generic_payload& p, const Open& open) {
        demand(p.get_response_status() != tlm::TLM_INCOMPLETE_RESPONSE,
               "a response without a status");
        demand(p.get_command() == open.command && p.get_data_length() == open.length &&
                   p.get_data_ptr() == open.data,
               "attributes changed between request and response");
    }
    void end_request(tlm::tlm_generic_payload& p) {
        if (requesting_ == &p) requesting_ = nullptr;
        const auto open = open_.find(&p);
        if (open != open_.end() && open->second.state == State::requested)
            open->second.state = State::accepted;
    }
    void begin_response(tlm::tlm_generic_payload& p) {
        const auto open = open_.find(&p);
        demand(open != open_.end(), "a response to no request");
        if (open == open_.end()) return;
        check_response(p, open->second);
        demand(open->second.state != State::responding, "BEGIN_RESP twice");
        demand(!responding_, "BEGIN_RESP while another response has not ended");
        end_request(p);
        open->second.state = State::responding;
        responding_ = &p;
    }
    void end(tlm::tlm_generic_payload& p) {
        if (requesting_ == &p) requesting_ = nullptr;
        if (responding_ == &p) responding_ = nullptr;
        demand(open_.erase(&p) == 1, "an end of no transaction");
        ++protocol_.ended;
    }

    void b_transport(tlm::tlm_generic_payload& p, sc_core::sc_time& delay) {
        check_request(p);
        out->b_transport(p, delay);
        demand(p.get_response_status() != tlm::TLM_INCOMPLETE_RESPONSE,
               "b_transport returned without a status");
    }
    unsigned debug(tlm::tlm_generic_payload& p) { return out->transport_dbg(p); }

    tlm::tlm_sync_enum forward(tlm::tlm_generic_payload& p, tlm::tlm_phase& phase,
                               sc_core::sc_time& delay) {
        if (phase == tlm::END_RESP) {
            demand(responding_ == &p, "END_RESP without BEGIN_RESP");
            const tlm::tlm_sync_enum answer = out->nb_transport_fw(p, phase, delay);
            end(p);
            return answer;
        }
        demand(phase == tlm::BEGIN_REQ, "a phase that only targets send");
        demand(!requesting_, "BEGIN_REQ while another request has not ended");
        demand(open_.count(&p) == 0, "BEGIN_REQ twice");
        check_request(p);
        ++protocol_.begun;
        open_[&p] = {State::requested, p.get_command(), p.get_address(), p.get_data_length(),
                     p.get_data_ptr()};
        requesting_ = &p;
        const tlm::tlm_sync_enum answer = out->nb_transport_fw(p, phase, delay);
        if (answer == tlm::TLM_COMPLETED) {
            check_response(p, open_.at(&p));
            end(p);
        } else if (answer == tlm::TLM_UPDATED) {
            demand(phase == tlm::END_REQ || phase == tlm::BEGIN_RESP,
                   "TLM_UPDATED with a phase that does not follow BEGIN_REQ");
            if (phase == tlm::END_REQ)
                end_request(p);
            else
                begin_response(p);
        } else {
            demand(phase == tlm::BEGIN_REQ, "TLM_ACCEPTED with another phase");
        }
        return answer;
    }

    tlm::tlm_sync_enum backward(tlm::tlm_generic_payload& p, tlm::tlm_phase& phase,
                                sc_core::sc_time& delay) {
        if (phase == tlm::END_REQ) {
            demand(requesting_ == &p, "END_REQ of no pending request");
            end_request(p);
            return in->nb_transport_bw(p, phase, delay);
        }
        demand(phase == tlm::BEGIN_RESP, "a phase that only initiators send");
        begin_response(p);
        const tlm::tlm_sync_enum answer = in->nb_transport_bw(p, phase, delay);
        if (answer == tlm::TLM_COMPLETED || (answer == tlm::TLM_UPDATED && phase == tlm::END_RESP))
            end(p);
        return answer;
    }

    Protocol& protocol_;
    std::map<tlm::tlm_generic_payload*, Open> open_;
    tlm::tlm_generic_payload* requesting_ = nullptr;
    tlm::tlm_generic_payload* responding_ = nullptr;
};

}  // namespace npuvp::test
