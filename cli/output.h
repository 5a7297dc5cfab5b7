// Results on stdout, progress and warnings on stderr.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "qwodel/progress.h"

namespace qwodel::cli {

// "124.2 MB": decimal units, as disks and download pages count.
std::string bytes_text(std::uint64_t bytes);

// Parses "4G", "500M" (decimal), "4GiB", "1500". Throws qwodel::Error (usage) naming the option.
std::uint64_t parse_size(const std::string& option, const std::string& text);

// Prints rows with columns aligned: the first left, the others right when they are numbers.
void print_table(const std::vector<std::string>& header,
                 const std::vector<std::vector<std::string>>& rows);

void print_json(const nlohmann::ordered_json& document);

void print_warning(std::string_view message);

// A bar that redraws itself on a terminal; elsewhere one line per finished stage.
ProgressCallback progress_printer();

}  // namespace qwodel::cli
