#include "trace/power.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <set>
#include <stdexcept>

namespace npuvp::trace {

namespace {

constexpr int most_decimals = 15;
constexpr int default_decimals = 12;

std::uint64_t power_of_ten(int exponent) {
    static constexpr std::uint64_t powers[] = {1,
                                               10,
                                               100,
                                               1'000,
                                               10'000,
                                               100'000,
                                               1'000'000,
                                               10'000'000,
                                               100'000'000,
                                               1'000'000'000,
                                               10'000'000'000,
                                               100'000'000'000,
                                               1'000'000'000'000,
                                               10'000'000'000'000,
                                               100'000'000'000'000,
                                               1'000'000'000'000'000};
    return powers[exponent];
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
    char text[24 + most_decimals];
    char* end = std::to_chars(text, text + 20, units / one).ptr;
    std::uint64_t fraction = units % one;
    if (fraction != 0) {
        int length = decimals;
        for (; fraction % 10 == 0; fraction /= 10) --length;
        *end++ = '.';
        // As a number with a one before it, so that leading zeros are printed.
        char digits[24];
        std::to_chars(digits, digits + sizeof digits, fraction + power_of_ten(length));
        std::memcpy(end, digits + 1, static_cast<std::size_t>(length));
        end += length;
    }
    out.append(text, static_cast<std::size_t>(end - text));
}

PowerSink::PowerSink(const Hub& hub, PowerOptions options, std::vector<PowerColumn> columns)
    : options_(std::move(options)),
      columns_(std::move(columns)),
      column_of_(hub.sources().size(), -1),
      decimals_(0),
      sums_(columns_.size(), std::max<Time>(options_.window, 1), options_.origin),
      dynamic_(columns_.size(), 0),
      static_(columns_.size(), 0),
      printed_(columns_.size(), 0),
      units_(columns_.size() + 1, 0),
      column_peak_(columns_.size(), 0),
      column_peak_begin_(columns_.size(), options_.origin) {
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
    if (finished_) throw std::logic_error("energy arrived after the power trace was complete");
    sums_.spread(static_cast<std::size_t>(column), event.begin, event.end, event.b);
}

void PowerSink::advance(Time safe) {
    if (finished_) return;
    // Strictly before: the window that ends at `safe` may turn out to be the run's last one.
    while (sums_.end() < safe) hand_out(sums_.end());
    if (file_ && file_->flush_is_due()) file_->flush();
}

void PowerSink::hand_out(Time static_until) {
    const std::size_t stride = columns_.size();
    const Time begin = complete_until();
    sums_.pop(dynamic_);
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
        if (units_[i] > column_peak_[i]) {
            column_peak_[i] = units_[i];
            column_peak_begin_[i] = begin;
        }
    }
    units_[stride] = total;
    if (total > peak_units_) {
        peak_units_ = total;
        peak_begin_ = begin;
    }
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
    while (sums_.index() < last) hand_out(sums_.end());
    if (sums_.index() > last)
        throw std::logic_error("the run ended at " + std::to_string(end) +
                               " ps, before windows of the power trace that were safe");
    sums_.fold();
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

double PowerSink::peak_watts(std::size_t column) const {
    return static_cast<double>(column_peak_[column]) / static_cast<double>(power_of_ten(decimals_));
}

}  // namespace npuvp::trace
