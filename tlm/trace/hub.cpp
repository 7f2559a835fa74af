#include "trace/hub.h"

#include <algorithm>
#include <stdexcept>

namespace npuvp::trace {

std::uint16_t Hub::add_source(std::string path, std::string type, double static_watts) {
    Source source;
    source.path = std::move(path);
    source.type = std::move(type);
    source.static_watts = static_watts;
    sources_.push_back(std::move(source));
    return static_cast<std::uint16_t>(sources_.size() - 1);
}

void Hub::attach(Sink& sink, std::uint32_t kinds, const std::vector<std::uint16_t>& sources) {
    std::vector<std::uint32_t> wanted(sources_.size(), 0);
    for (std::uint16_t source : sources) wanted[source] = kinds;
    attach(sink, std::move(wanted));
}

void Hub::attach(Sink& sink, std::vector<std::uint32_t> kinds) {
    if (!hooks) throw std::logic_error("this build has no trace hooks");
    kinds.resize(sources_.size(), 0);
    for (std::size_t i = 0; i < kinds.size(); ++i) sources_[i].wanted |= kinds[i];
    attachments_.push_back({&sink, {std::move(kinds)}});
    listening_ = true;
}

void Hub::detach(Sink& sink) {
    stop_worker();
    attachments_.erase(std::remove_if(attachments_.begin(), attachments_.end(),
                                      [&](const Attachment& a) { return a.sink == &sink; }),
                       attachments_.end());
    listening_ = !attachments_.empty();
    for (Source& source : sources_) source.wanted = 0;
    for (const Attachment& attachment : attachments_)
        for (std::size_t i = 0; i < attachment.wanted.kinds.size(); ++i)
            sources_[i].wanted |= attachment.wanted.kinds[i];
}

void Hub::detach_all() {
    stop_worker();
    attachments_.clear();
    listening_ = false;
    for (Source& source : sources_) source.wanted = 0;
}

void Hub::start_worker() {
    if (!active() || worker_) return;
    worker_ = std::make_unique<Worker>(
        [this](const Event* first, const Event* last) { deliver(first, last); });
}

void Hub::stop_worker() {
    worker_.reset();
}

void Hub::deliver(const Event& event) {
    for (Attachment& attachment : attachments_)
        if (attachment.wanted.has(event)) attachment.sink->on_event(event);
}

/// Sinks need not see events in turns: between two calls of advance() none looks at another.
void Hub::deliver(const Event* first, const Event* last) {
    while (first != last) {
        const Event* const mark = std::find_if(
            first, last, [](const Event& event) { return event.kind == Kind::count_; });
        for (Attachment& attachment : attachments_)
            attachment.sink->on_events(first, mark, attachment.wanted);
        if (mark == last) return;
        for (Attachment& attachment : attachments_) attachment.sink->advance(mark->begin);
        first = mark + 1;
    }
}

void Hub::hold(std::uint16_t source, Time begin) {
    for (auto& [holder, time] : held_)
        if (holder == source) {
            time = begin;
            return;
        }
    held_.emplace_back(source, begin);
}

void Hub::release(std::uint16_t source) {
    held_.erase(std::remove_if(held_.begin(), held_.end(),
                               [&](const auto& held) { return held.first == source; }),
                held_.end());
}

void Hub::advance(Time safe) {
    for (const auto& catch_up : catch_up_) catch_up();
    for (const auto& [holder, time] : held_) safe = std::min(safe, time);
    if (worker_) {
        worker_->advance(safe);
        return;
    }
    for (Attachment& attachment : attachments_) attachment.sink->advance(safe);
}

void Hub::finish(Time end) {
    held_.clear();
    if (worker_) {
        worker_->stop();
        worker_.reset();
    }
    for (Attachment& attachment : attachments_) attachment.sink->finish(end);
}

void Hub::reset_energy() {
    for (Source& source : sources_) source.dynamic_fj = 0;
}

}  // namespace npuvp::trace
