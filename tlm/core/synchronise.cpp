// Semaphores and barriers: memory-mapped, see host/semaphores.h.
#include <algorithm>
#include <cstring>

#include "core/core.h"
#include "host/semaphores.h"

namespace npuvp::core {

using host::Semaphores;
using isa::Op;

namespace {

/// A request owns its data until the target has answered.
struct RequestData : tlm::tlm_extension<RequestData> {
    std::uint32_t words[2] = {0, 0};
    std::uint32_t pc = 0;
    bool awaited = false;
    tlm::tlm_extension_base* clone() const override { return new RequestData(*this); }
    void copy_from(const tlm::tlm_extension_base& other) override {
        *this = static_cast<const RequestData&>(other);
    }
};

}  // namespace

bool Core::execute_sync(const D& d) {
    if (sync_ == Sync::granted) {
        sync_ = Sync::none;
        ++pc_;
        return true;
    }
    if (now_cycle() < next_issue_) return wait_for(Wait::host);  // others see it in order
    const std::uint32_t index = gp_[d.rs1];
    const std::uint32_t count = gp_[d.rs2];
    const bool barrier = d.op == Op::c_barrier;
    if (index >= env_.semaphores)
        throw Trap{barrier ? "no such barrier" : "no such semaphore",
                   std::to_string(index) + ", allowed: 0.." + std::to_string(env_.semaphores - 1)};
    if (barrier && (count < 1 || count > env_.core_count))
        throw Trap{"barrier of an impossible number of cores",
                   std::to_string(count) + ", allowed: 1.." + std::to_string(env_.core_count)};
    // What this core did before is there; transfers are the fence's business.
    const Slot slot = schedule(d, last_done_);
    const std::uint64_t address =
        env_.semaphore_base + (barrier ? Semaphores::barriers : 0) + 4ull * index;
    if (d.op == Op::c_sem_signal) {
        send(address, count, 0, 4, slot.issue, false);
        ++pc_;
        return true;
    }
    sync_ = Sync::requested;
    sync_index_ = index;
    sync_count_ = count;
    wait_ = barrier ? Wait::barrier : Wait::semaphore;
    send(address, count, env_.core_index, 8, slot.issue, true);
    return false;
}

/// A posted or awaited write, as a transaction that begins at `cycle`.
void Core::send(std::uint64_t address, std::uint32_t word, std::uint32_t second, unsigned bytes,
                std::uint64_t cycle, bool awaited) {
    auto* data = new RequestData;
    data->words[0] = word;
    data->words[1] = second;
    data->pc = pc_;
    data->awaited = awaited;
    tlm::tlm_generic_payload& payload = pool_.acquire(
        tlm::TLM_WRITE_COMMAND, address, reinterpret_cast<unsigned char*>(data->words), bytes);
    payload.set_auto_extension(data);
    tlm::tlm_phase phase = tlm::BEGIN_REQ;
    sc_core::sc_time delay = sc_core::sc_time::from_value(
        ps(cycle) - std::min<std::uint64_t>(ps(cycle), sc_core::sc_time_stamp().value()));
    if (control->nb_transport_fw(payload, phase, delay) == tlm::TLM_COMPLETED)
        answered(payload, delay);
}

tlm::tlm_sync_enum Core::control_bw(tlm::tlm_generic_payload& payload, tlm::tlm_phase& phase,
                                    sc_core::sc_time& delay) {
    if (phase != tlm::BEGIN_RESP) return tlm::TLM_ACCEPTED;
    answered(payload, delay);
    return tlm::TLM_COMPLETED;
}

void Core::answered(tlm::tlm_generic_payload& payload, const sc_core::sc_time& delay) {
    const RequestData data = *payload.get_extension<RequestData>();
    const bool ok = payload.is_response_ok();
    payload.release();
    if (trap_) return;
    if (!ok) {
        pc_ = data.pc;
        Trap trap{"the host interface refused a word", ""};
        switch (text_[pc_].op) {
            case Op::c_sem_signal:
                trap = {"semaphore overflow", "semaphore " + std::to_string(gp_[text_[pc_].rs1]) +
                                                  " + " + std::to_string(data.words[0]) +
                                                  " is above 4294967295"};
                break;
            case Op::c_barrier:
                trap = {"cores disagree on the size of a barrier",
                        "barrier " + std::to_string(sync_index_) + ": " +
                            std::to_string(sync_count_) + " here, " +
                            std::to_string(sync_state().second) + " where others wait"};
                break;
            default:
                break;
        }
        raise(trap, true);
        return;
    }
    if (!data.awaited) return;
    sync_ = Sync::granted;
    resume_.notify(delay);
}

/// What the target says of the semaphore (value, 0) or barrier (arrived, expected) that this core
/// waits for.
std::pair<std::uint32_t, std::uint32_t> Core::sync_state() {
    std::uint32_t words[2] = {0, 0};
    const bool barrier = wait_ == Wait::barrier;
    tlm::tlm_generic_payload payload;
    payload.set_command(tlm::TLM_READ_COMMAND);
    payload.set_address(env_.semaphore_base + (barrier ? Semaphores::barriers : 0) +
                        4ull * sync_index_);
    payload.set_data_ptr(reinterpret_cast<unsigned char*>(words));
    payload.set_data_length(sizeof words);
    payload.set_streaming_width(sizeof words);
    control->transport_dbg(payload);
    return {words[0], words[1]};
}

std::string Core::describe_wait() {
    const auto [first, second] = sync_state();
    const std::string index = std::to_string(sync_index_);
    if (wait_ == Wait::barrier)
        return "barrier " + index + " (" + std::to_string(first) + " of " +
               std::to_string(sync_count_) + " cores have arrived)";
    return "semaphore " + index + " (needs " + std::to_string(sync_count_) + ", has " +
           std::to_string(first) + ")";
}

}  // namespace npuvp::core
