#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace npuvp::trace {

/// `text` as a JSON string, quotes included.
void append_json(std::string& out, std::string_view text);
void append_json(std::string& out, const std::vector<std::string>& texts);

}  // namespace npuvp::trace
