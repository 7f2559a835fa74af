#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "trace/file_writer.h"
#include "trace/hub.h"
#include "trace/window_sums.h"

namespace npuvp::trace {

/// Energy that a component of `watts` static power takes in `duration`, in whole femtojoules. Power
/// is counted in whole nanowatts, so that every reader of the same platform computes the same
/// number. Negative or not finite: std::invalid_argument.
std::uint64_t static_femtojoules(double watts, Time duration);

/// One column of the power trace: the sum of some sources.
struct PowerColumn {
    std::string name;
    std::vector<std::uint16_t> sources;
};

struct PowerOptions {
    std::string path;       ///< CSV file; empty: none is written
    Time window = 100'000;  ///< length of a window
    Time origin = 0;        ///< begin of the first window and of static power
};

/// Receives each window once, in order.
class PowerListener {
  public:
    virtual ~PowerListener() = default;
    /// `units[i]`: power of column i, and after the columns of the total, in 10^-decimals W.
    virtual void on_window(Time begin, const std::vector<std::uint64_t>& units) = 0;
};

/// Adds up energy per window and column and writes it as a CSV of watts while the run goes on.
///
/// Exactness: an energy event is spread evenly over its interval in integer femtojoules, by
/// differences of a rounded-down running sum, so that the shares add up to the event. Static energy
/// is distributed the same way. Watts are printed as decimals of one fixed precision, again by
/// differences of the running sum: `total` is the sum of the columns as printed, and
/// sum(column) * window is the energy of the column. It is so to the last digit for windows of
/// 2^a * 5^b picoseconds (100 ns, 1 us, 2.5 us), and within one last digit over the whole run
/// otherwise.
/// Every row is a mean over a whole window. The run ends inside the last one, whose rest counts as
/// powerless; energy of operations still under way at the end counts in the last window.
class PowerSink : public Sink {
  public:
    PowerSink(const Hub& hub, PowerOptions options, std::vector<PowerColumn> columns);

    void on_event(const Event& event) override;
    void advance(Time safe) override;
    void finish(Time end) override;

    void listen(PowerListener& listener) { listeners_.push_back(&listener); }
    /// All windows that begin before this instant were handed out.
    Time complete_until() const { return sums_.begin(); }

    const PowerOptions& options() const { return options_; }
    const std::vector<PowerColumn>& columns() const { return columns_; }
    int decimals() const { return decimals_; }
    std::uint64_t windows() const { return sums_.index(); }
    /// Sums over the windows handed out, in femtojoules.
    std::uint64_t dynamic_fj(std::size_t column) const { return dynamic_[column]; }
    std::uint64_t static_fj(std::size_t column) const { return static_[column]; }
    std::uint64_t total_fj() const;
    /// Highest window, in watts, and when it began.
    double peak_watts() const;
    Time peak_begin() const { return peak_begin_; }
    /// The same of one column.
    double peak_watts(std::size_t column) const;
    Time peak_begin(std::size_t column) const { return column_peak_begin_[column]; }

  private:
    void hand_out(Time static_until);

    struct StaticSource {
        std::size_t column;
        double watts;
        std::uint64_t spent;
    };

    PowerOptions options_;
    std::vector<PowerColumn> columns_;
    std::vector<std::int32_t> column_of_;  ///< per source; -1: in no column
    std::vector<StaticSource> statics_;
    int decimals_;
    std::unique_ptr<FileWriter> file_;
    std::vector<PowerListener*> listeners_;

    WindowSums sums_;
    std::vector<std::uint64_t> dynamic_, static_;
    std::vector<std::uint64_t> printed_;  ///< units handed out per column
    std::vector<std::uint64_t> units_;
    std::vector<std::uint64_t> column_peak_;
    std::vector<Time> column_peak_begin_;
    std::uint64_t peak_units_ = 0;
    Time peak_begin_ = 0;
    bool finished_ = false;
};

/// `units` * 10^-decimals without trailing zeros.
void append_decimal(std::string& out, std::uint64_t units, int decimals);

}  // namespace npuvp::trace
