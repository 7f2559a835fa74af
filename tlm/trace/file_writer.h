#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace npuvp::trace {

/// A buffered output file. Only whole flushes reach the disk, so a sink that flushes between lines
/// leaves a readable file even if the process is killed. Errors name the file.
class FileWriter {
  public:
    explicit FileWriter(std::string path);
    ~FileWriter();
    FileWriter(const FileWriter&) = delete;
    FileWriter& operator=(const FileWriter&) = delete;

    void append(std::string_view text) { buffer_.append(text); }
    void append(char c) { buffer_.push_back(c); }
    void append_number(std::uint64_t value);

    /// Bytes written and buffered.
    std::uint64_t size() const { return written_ + buffer_.size(); }
    const std::string& path() const { return path_; }
    /// True when much is buffered or the last flush is over half a second ago.
    bool flush_is_due() const;
    void flush();
    void close();

  private:
    std::string path_;
    std::string buffer_;
    std::uint64_t written_ = 0;
    int descriptor_ = -1;
    std::chrono::steady_clock::time_point flushed_ = std::chrono::steady_clock::now();
};

}  // namespace npuvp::trace
