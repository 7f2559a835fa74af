#include "trace/power.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <stdexcept>

namespace npuvp::trace {

namespace {

__extension__ using Wide = unsigned __int128;

constexpr int most_decimals = 15;
constexpr int default_decimals = 12;

/// a * b / c rounded down.
std::uint64_t scaled(std::uint64_t a, std::uint64_t b, std::uint64_t c) {
    return static_cast<std::uint64_t>(static_cast<Wide>(a) * b / c);
}

std::uint64_t power_of_ten(int exponent) {
    std::uint64_t value = 1;
    for (int i = 0; i < exponent; ++i) value *= 10;
    return value;
}

/// 1 fJ in a window of w ps is 10^-3 / w watts: the decimals that print it exactly, where w has
/// only the factors 2 and 5.
int exact_decimals(Time window) {
    int twos = 0, fives = 0;
    for (; window % 2 == 0; window /= 2) ++twos;
    for (; window % 5 == 0; window /= 5) ++fives;
    const int decimals = 3 + std::max(twos, fives);
    return window == 1 && decimals <= most_decimals ? decimals : default_decimals;
}

std::uint64_t nanowatts(double watts) {
    if (!std::isfinite(watts) || watts < 0 || watts > 1e9)
        throw std::invalid_argument("static power of " + std::to_string(watts) +
                                    " W: 0 to 1e9 W are allowed");
    return static_cast<std::uint64_t>(std::llround(watts * 1e9));
}

}  // namespace

std::uint64_t static_femtojoules(double watts, Time duration) {
    // 1 nW over 1 ps is 10^-6 fJ.
    return scaled(nanowatts(watts), duration, 1'000'000);
}

void append_decimal(std::string& out, std::uint64_t units, int decimals) {
    const std::uint64_t one = power_of_ten(decimals);
    out += std::to_string(units / one);
    std::uint64_t fraction = units % one;
    if (fraction == 0) return;
    char digits[most_decimals + 1];
    for (int i = decimals - 1; i >= 0; --i, fraction /= 10)
        digits[i] = static_cast<char>('0' + fraction % 10);
    int length = decimals;
    while (digits[length - 1] == '0') --length;
    out += '.';
    out.append(digits, static_cast<std::size_t>(length));
}

PowerSink::PowerSink(const Hub& hub, PowerOptions options, std::vector<PowerColumn> columns)
    : options_(std::move(options)),
      columns_(std::move(columns)),
      column_of_(hub.sources().size(), -1),
      decimals_(0),
      dynamic_(columns_.size(), 0),
      static_(columns_.size(), 0),
      printed_(columns_.size(), 0),
      units_(columns_.size() + 1, 0) {
    if (options_.window == 0)
        throw std::invalid_argument("power window of 0 ps: at least 1 ps is needed");
    if (columns_.empty()) throw std::invalid_argument("a power trace needs at least one column");
    decimals_ = exact_decimals(options_.window);
    std::set<std::string> names{"time_ns", "total"};
    for (std::size_t i = 0; i < columns_.size(); ++i) {
        const std::string& name = columns_[i].name;
        if (name.empty() || name.find_first_of(",\"\n\r") != std::string::npos)
            throw std::invalid_argument("power column '" + name + "' is no name for a CSV column");
        if (!names.insert(name).second)
            throw std::invalid_argument("power column '" + name + "' exists twice");
        for (std::uint16_t source : columns_[i].sources) {
            if (source >= column_of_.size())
                throw std::invalid_argument("power column '" + name + "': no source " +
                                            std::to_string(source));
            if (column_of_[source] >= 0)
                throw std::invalid_argument(
                    "source '" + hub.sources()[source].path + "' is in two power columns, '" +
                    columns_[static_cast<std::size_t>(column_of_[source])].name + "' and '" + name +
                    "'");
            column_of_[source] = static_cast<std::int32_t>(i);
            const double watts = hub.sources()[source].static_watts;
            if (nanowatts(watts) > 0) statics_.push_back({i, watts, 0});
        }
    }
    if (options_.path.empty()) return;
    file_ = std::make_unique<FileWriter>(options_.path);
    file_->append("time_ns");
    for (const PowerColumn& column : columns_) {
        file_->append(',');
        file_->append(column.name);
    }
    file_->append(",total\n");
    file_->flush();
}

void PowerSink::on_event(const Event& event) {
    const std::int32_t column = column_of_[event.source];
    if (event.kind != Kind::energy || column < 0 || event.b == 0) return;
    if (finished_ || event.begin < complete_until())
        throw std::logic_error("energy at " + std::to_string(event.begin) +
                               " ps arrived after its power window was written");
    const Time begin = event.begin - options_.origin;
    const Time end = std::max(event.begin, event.end) - options_.origin;
    const auto at = static_cast<std::size_t>(column);
    const std::uint64_t first = begin / options_.window;
    const std::uint64_t last = end > begin ? (end - 1) / options_.window : first;
    std::uint64_t spent = 0;
    for (std::uint64_t window = first; window < last; ++window) {
        const std::uint64_t until =
            scaled(event.b, (window + 1) * options_.window - begin, end - begin);
        add(window, at, until - spent);
        spent = until;
    }
    add(last, at, event.b - spent);
}

void PowerSink::add(std::uint64_t window, std::size_t column, std::uint64_t femtojoules) {
    const std::size_t at = pending_begin_ + (window - first_) * columns_.size();
    if (at >= pending_.size()) pending_.resize(at + columns_.size(), 0);
    pending_[at + column] += femtojoules;
}

void PowerSink::advance(Time safe) {
    if (finished_) return;
    // Strictly before: the window that ends at `safe` may turn out to be the run's last one.
    while (complete_until() + options_.window < safe) hand_out(complete_until() + options_.window);
    if (file_ && file_->flush_is_due()) file_->flush();
}

void PowerSink::hand_out(Time static_until) {
    const std::size_t stride = columns_.size();
    const Time begin = complete_until();
    if (pending_begin_ < pending_.size()) {
        for (std::size_t i = 0; i < stride; ++i) dynamic_[i] += pending_[pending_begin_ + i];
        pending_begin_ += stride;
        if (pending_begin_ >= pending_.size()) {
            pending_.clear();
            pending_begin_ = 0;
        } else if (pending_begin_ >= 4096 * stride) {
            pending_.erase(pending_.begin(),
                           pending_.begin() + static_cast<std::ptrdiff_t>(pending_begin_));
            pending_begin_ = 0;
        }
    }
    for (StaticSource& source : statics_) {
        const std::uint64_t spent =
            static_femtojoules(source.watts, static_until - options_.origin);
        static_[source.column] += spent - source.spent;
        source.spent = spent;
    }
    std::uint64_t total = 0;
    const std::uint64_t scale = power_of_ten(decimals_ - 3);
    for (std::size_t i = 0; i < stride; ++i) {
        const std::uint64_t until = scaled(dynamic_[i] + static_[i], scale, options_.window);
        units_[i] = until - printed_[i];
        printed_[i] = until;
        total += units_[i];
    }
    units_[stride] = total;
    if (total > peak_units_) {
        peak_units_ = total;
        peak_begin_ = begin;
    }
    ++first_;
    for (PowerListener* listener : listeners_) listener->on_window(begin, units_);
    if (!file_) return;
    std::string row;
    append_decimal(row, begin, 3);
    for (std::uint64_t units : units_) {
        row += ',';
        append_decimal(row, units, decimals_);
    }
    row += '\n';
    file_->append(row);
}

void PowerSink::finish(Time end) {
    if (finished_) return;
    end = std::max(end, options_.origin);
    const Time length = end - options_.origin;
    const std::uint64_t last = length > 0 ? (length - 1) / options_.window : 0;
    while (first_ < last) hand_out(complete_until() + options_.window);
    if (first_ > last)
        throw std::logic_error("the run ended at " + std::to_string(end) +
                               " ps, before windows of the power trace that were safe");
    const std::size_t stride = columns_.size();
    for (std::size_t at = pending_begin_ + stride; at < pending_.size(); ++at) {
        pending_[pending_begin_ + at % stride] += pending_[at];
    }
    pending_.resize(std::min(pending_.size(), pending_begin_ + stride));
    hand_out(end);
    finished_ = true;
    if (file_) file_->close();
}

std::uint64_t PowerSink::total_fj() const {
    std::uint64_t total = 0;
    for (std::size_t i = 0; i < columns_.size(); ++i) total += dynamic_[i] + static_[i];
    return total;
}

double PowerSink::peak_watts() const {
    return static_cast<double>(peak_units_) / static_cast<double>(power_of_ten(decimals_));
}

}  // namespace npuvp::trace
