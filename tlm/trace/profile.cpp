#include "trace/profile.h"

#include <algorithm>

#include "trace/window_sums.h"

namespace npuvp::trace {

void Series::merge() {
    for (std::size_t i = 0; 2 * i < sums_.size(); ++i)
        sums_[i] = sums_[2 * i] + (2 * i + 1 < sums_.size() ? sums_[2 * i + 1] : 0);
    sums_.resize((sums_.size() + 1) / 2);
    window_ *= 2;
}

void Series::widen(Time window) {
    while (window_ < window) merge();
}

void Series::spread(Time begin, Time end, std::uint64_t amount) {
    end = std::max(begin, end);
    while (std::max(begin, end - (end > begin)) / window_ >= most_windows) merge();
    const std::uint64_t first = begin / window_;
    const std::uint64_t last = end > begin ? (end - 1) / window_ : first;
    if (last >= sums_.size()) sums_.resize(last + 1, 0);
    std::uint64_t spent = 0;
    for (std::uint64_t window = first; window < last; ++window) {
        const std::uint64_t until = scaled(amount, (window + 1) * window_ - begin, end - begin);
        sums_[window] += until - spent;
        spent = until;
    }
    sums_[last] += amount - spent;
}

ProfileSink::ProfileSink(const Hub& hub, std::vector<MemoryRange> memory)
    : kinds_(hub.sources().size(), 0),
      core_of_(hub.sources().size(), -1),
      busy_of_(hub.sources().size(), Sum::count_),
      is_dma_(hub.sources().size(), false),
      memory_(std::move(memory)) {
    const auto& sources = hub.sources();
    const auto find_core = [&](const std::string& path) {
        for (std::size_t i = 0; i < cores_.size(); ++i)
            if (path == sources[cores_[i].source].path ||
                path.rfind(sources[cores_[i].source].path + ".", 0) == 0)
                return static_cast<std::int32_t>(i);
        return -1;
    };
    for (std::size_t i = 0; i < sources.size(); ++i) {
        if (sources[i].type != "core") continue;
        Core core;
        core.source = static_cast<std::uint16_t>(i);
        core.marks.fill(no_mark);
        cores_.push_back(std::move(core));
    }
    for (std::size_t i = 0; i < sources.size(); ++i) {
        const std::string& type = sources[i].type;
        const std::string leaf = sources[i].path.substr(sources[i].path.rfind('.') + 1);
        core_of_[i] = find_core(sources[i].path);
        kinds_[i] = bit(Kind::energy);
        if (type == "core") {
            kinds_[i] |= bit(Kind::instruction) | bit(Kind::stall) | bit(Kind::mark);
        } else if (type == "unit") {
            kinds_[i] |= bit(Kind::unit_busy);
            busy_of_[i] = leaf == "scalar"   ? Sum::scalar_busy
                          : leaf == "vector" ? Sum::vector_busy
                                             : Sum::matrix_busy;
        } else if (type == "dma") {
            kinds_[i] |= bit(Kind::descriptor) | bit(Kind::burst);
            is_dma_[i] = true;
        } else if (type == "memory" && sources[i].path.find('.') == std::string::npos) {
            kinds_[i] |= bit(Kind::memory);
        }
    }
    for (Core& core : cores_) {
        core.marks_row = row_of(core, core.marks);
        pc_rows_.push_back({core.source, no_pc, {}});
        core.outside = {static_cast<std::uint32_t>(pc_rows_.size() - 1), core.marks_row};
        core.last = core.outside;
    }
}

std::uint32_t ProfileSink::row_of(Core& core, const Marks& marks) {
    const auto [found, added] =
        core.row_of_marks.emplace(marks, static_cast<std::uint32_t>(marks_rows_.size()));
    if (added) marks_rows_.push_back({core.source, marks, {}});
    return found->second;
}

ProfileSink::Place ProfileSink::place(Core& core, std::uint32_t pc) {
    if (pc >= core.row_of_pc.size()) core.row_of_pc.resize(pc + 1, -1);
    std::int32_t& row = core.row_of_pc[pc];
    if (row < 0) {
        row = static_cast<std::int32_t>(pc_rows_.size());
        pc_rows_.push_back({core.source, pc, {}});
    }
    return {static_cast<std::uint32_t>(row), core.marks_row};
}

void ProfileSink::charge(const Place& place, Sum what, std::uint64_t amount) {
    pc_rows_[place.pc_row].sums[static_cast<std::size_t>(what)] += amount;
    marks_rows_[place.marks_row].sums[static_cast<std::size_t>(what)] += amount;
}

void ProfileSink::charge_until(Core& core, const Place& place, Sum what, Time until) {
    if (until <= core.until) return;
    charge(place, what, until - core.until);
    core.until = until;
}

bool ProfileSink::is_memory(std::uint64_t address) const {
    return std::any_of(memory_.begin(), memory_.end(), [&](const MemoryRange& range) {
        return address - range.base < range.bytes && address >= range.base;
    });
}

void ProfileSink::on_event(const Event& event) {
    if (finished_) return;
    const std::int32_t index = core_of_[event.source];
    if (index < 0) {
        if (event.kind == Kind::energy)
            energy_[event.source].spread(event.begin, event.end, event.b);
        if (event.kind == Kind::memory)
            traffic_[event.source][event.c ? 1 : 0].spread(event.begin, event.end, event.b);
        return;
    }
    Core& core = cores_[static_cast<std::size_t>(index)];
    switch (event.kind) {
        case Kind::instruction: {
            charge_until(core, core.last, Sum::own, event.begin);
            core.last = place(core, event.a);
            charge(core.last, Sum::instructions, 1);
            break;
        }
        case Kind::stall: {
            charge_until(core, core.last, Sum::own, event.begin);
            const auto what = static_cast<Sum>(static_cast<std::uint64_t>(Sum::operand) + event.b);
            charge_until(core, place(core, event.a), what, event.end);
            core.halted = core.halted || event.c != 0;
            break;
        }
        case Kind::unit_busy:
            charge(core.last, busy_of_[event.source], event.end - event.begin);
            if (busy_of_[event.source] == Sum::vector_busy)
                charge(core.last, Sum::lane_operations, event.c);
            if (busy_of_[event.source] == Sum::matrix_busy) charge(core.last, Sum::macs, event.c);
            break;
        case Kind::mark:
            if (event.a < core.marks.size()) {
                core.marks[event.a] = event.b == mark_ends ? no_mark : event.b;
                core.marks_row = row_of(core, core.marks);
            }
            break;
        case Kind::descriptor:
            core.descriptors.resize(std::max<std::size_t>(core.descriptors.size(), event.a + 1),
                                    core.outside);
            core.descriptors[event.a] = place(core, static_cast<std::uint32_t>(event.b));
            break;
        case Kind::burst:
            if (is_memory(event.c / 2))
                charge(event.a < core.descriptors.size() ? core.descriptors[event.a] : core.outside,
                       event.c % 2 ? Sum::bytes_written : Sum::bytes_read, event.b);
            break;
        case Kind::energy: {
            Place to = event.a == 0 ? core.last : core.outside;
            if (is_dma_[event.source] && event.a < core.descriptors.size())
                to = core.descriptors[event.a];
            charge(to, Sum::energy, event.b);
            energy_[event.source].spread(event.begin, event.end, event.b);
            break;
        }
        default:
            break;
    }
}

void ProfileSink::finish(Time end) {
    if (finished_) return;
    finished_ = true;
    for (Core& core : cores_) {
        if (core.halted)
            charge_until(core, core.outside, Sum::idle, end);
        else
            charge_until(core, core.last, Sum::own, end);
    }
}

}  // namespace npuvp::trace
