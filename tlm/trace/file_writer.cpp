#include "trace/file_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <stdexcept>

namespace npuvp::trace {

namespace {
constexpr std::size_t flush_bytes = std::size_t{1} << 18;
constexpr std::chrono::milliseconds flush_interval{500};
}  // namespace

FileWriter::FileWriter(std::string path) : path_(std::move(path)) {
    descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (descriptor_ < 0)
        throw std::runtime_error("trace file " + path_ +
                                 " cannot be written: " + std::strerror(errno));
    buffer_.resize(2 * flush_bytes);
}

FileWriter::~FileWriter() {
    if (descriptor_ >= 0) ::close(descriptor_);
}

void FileWriter::grow(std::size_t bytes) {
    buffer_.resize(std::max(2 * buffer_.size(), used_ + bytes));
}

void FileWriter::append_number(std::uint64_t value) {
    constexpr std::size_t most_digits = 20;
    char* const digits = room(most_digits);
    advance(
        static_cast<std::size_t>(std::to_chars(digits, digits + most_digits, value).ptr - digits));
}

bool FileWriter::flush_is_due() const {
    if (used_ >= flush_bytes) return true;
    return std::chrono::steady_clock::now() - flushed_ >= flush_interval;
}

void FileWriter::flush() {
    const char* next = buffer_.data();
    std::size_t left = used_;
    while (left > 0 && descriptor_ >= 0) {
        const ssize_t done = ::write(descriptor_, next, left);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0)
            throw std::runtime_error("trace file " + path_ + ": " + std::strerror(errno) +
                                     " after " + std::to_string(written_) + " bytes");
        next += done;
        left -= static_cast<std::size_t>(done);
        written_ += static_cast<std::uint64_t>(done);
    }
    used_ = 0;
    flushed_ = std::chrono::steady_clock::now();
}

void FileWriter::close() {
    flush();
    if (descriptor_ >= 0) ::close(descriptor_);
    descriptor_ = -1;
    buffer_ = {};
}

}  // namespace npuvp::trace
