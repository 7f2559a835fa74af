#include "trace/hub.h"

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
    Attachment attachment{&sink, std::vector<std::uint32_t>(sources_.size(), 0)};
    for (std::uint16_t source : sources) {
        attachment.kinds[source] = kinds;
        sources_[source].wanted |= kinds;
    }
    attachments_.push_back(std::move(attachment));
}

void Hub::detach_all() {
    attachments_.clear();
    for (Source& source : sources_) source.wanted = 0;
}

void Hub::dispatch(const Event& event) {
    for (Attachment& attachment : attachments_)
        if ((attachment.kinds[event.source] >> static_cast<unsigned>(event.kind)) & 1u)
            attachment.sink->on_event(event);
}

void Hub::advance(Time safe) {
    for (Attachment& attachment : attachments_) attachment.sink->advance(safe);
}

void Hub::finish(Time end) {
    for (Attachment& attachment : attachments_) attachment.sink->finish(end);
}

void Hub::reset_energy() {
    for (Source& source : sources_) source.dynamic_fj = 0;
}

}  // namespace npuvp::trace
