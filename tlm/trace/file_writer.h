#pragma once

#include <chrono>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace npuvp::trace {

/// A buffered output file. Only whole flushes reach the disk, so a sink that flushes between lines
/// leaves a readable file even if the process is killed. Errors name the file.
class FileWriter {
  public:
    explicit FileWriter(std::string path);
    ~FileWriter();
    FileWriter(const FileWriter&) = delete;
    FileWriter& operator=(const FileWriter&) = delete;

    void append(std::string_view text) {
        std::memcpy(room(text.size()), text.data(), text.size());
        used_ += text.size();
    }
    /// Text that the compiler knows, without a call.
    template <std::size_t size>
    void append(const char (&text)[size]) {
        std::memcpy(room(size - 1), text, size - 1);
        used_ += size - 1;
    }
    void append(char c) {
        *room(1) = c;
        ++used_;
    }
    void append_number(std::uint64_t value);
    /// Where the next bytes go, with space for `bytes`; advance() by those that were put there.
    char* room(std::size_t bytes) {
        if (used_ + bytes > buffer_.size()) grow(bytes);
        return buffer_.data() + used_;
    }
    void advance(std::size_t bytes) { used_ += bytes; }

    /// Bytes written and buffered.
    std::uint64_t size() const { return written_ + used_; }
    const std::string& path() const { return path_; }
    /// True when much is buffered or the last flush is over half a second ago.
    bool flush_is_due() const;
    void flush();
    void close();

  private:
    void grow(std::size_t bytes);

    std::string path_;
    std::vector<char> buffer_;
    std::size_t used_ = 0;
    std::uint64_t written_ = 0;
    int descriptor_ = -1;
    std::chrono::steady_clock::time_point flushed_ = std::chrono::steady_clock::now();
};

}  // namespace npuvp::trace
