#include "cli/output.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <cstdio>
#include <limits>

#include "qwodel/error.h"

namespace qwodel::cli {
namespace {

struct Unit {
  std::string_view name;
  double bytes;
};

constexpr std::array kUnits = {
    Unit{"B", 1.0},      Unit{"", 1.0},       Unit{"K", 1e3},      Unit{"KB", 1e3},
    Unit{"M", 1e6},      Unit{"MB", 1e6},     Unit{"G", 1e9},      Unit{"GB", 1e9},
    Unit{"T", 1e12},     Unit{"TB", 1e12},    Unit{"KIB", 0x1p10}, Unit{"MIB", 0x1p20},
    Unit{"GIB", 0x1p30}, Unit{"TIB", 0x1p40},
};

bool is_number(const std::string& cell) {
  return !cell.empty() &&
         (std::isdigit(static_cast<unsigned char>(cell.front())) != 0 || cell.front() == '-');
}

std::string bar(double fraction) {
  constexpr std::size_t kWidth = 24;
  const auto filled = static_cast<std::size_t>(std::clamp(fraction, 0.0, 1.0) * kWidth);
  return std::string(filled, '#') + std::string(kWidth - filled, '.');
}

}  // namespace

std::string bytes_text(std::uint64_t bytes) {
  constexpr std::array<std::string_view, 5> kNames = {"B", "KB", "MB", "GB", "TB"};
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1000.0 && unit + 1 < kNames.size()) {
    value /= 1000.0;
    ++unit;
  }
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", value, kNames[unit]);
}

std::uint64_t parse_size(const std::string& option, const std::string& text) {
  std::size_t used = 0;
  double number = 0;
  try {
    number = std::stod(text, &used);
  } catch (const std::exception&) {
    used = 0;
  }
  std::string suffix = text.substr(used);
  for (char& c : suffix) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  const auto unit =
      std::find_if(kUnits.begin(), kUnits.end(), [&](const Unit& u) { return u.name == suffix; });
  const double bytes = unit == kUnits.end() ? -1 : number * unit->bytes;
  if (used == 0 || !(bytes >= 0) || bytes > 0x1p62) {
    throw Error(ErrorCode::usage, {.where = option,
                                   .found = fmt::format("\"{}\"", text),
                                   .expected = "a size such as 4G, 500M or 4GiB",
                                   .remedy = ""});
  }
  return static_cast<std::uint64_t>(std::llround(bytes));
}

void print_table(const std::vector<std::string>& header,
                 const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths;
  for (const std::string& cell : header) widths.push_back(cell.size());
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  const auto print_row = [&](const std::vector<std::string>& row, bool align_numbers) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      const bool right = align_numbers && i > 0 && is_number(row[i]);
      line += right ? fmt::format("{:>{}}", row[i], widths[i])
                    : fmt::format("{:<{}}", row[i], widths[i]);
      line += "  ";
    }
    line.erase(line.find_last_not_of(' ') + 1);
    fmt::print("{}\n", line);
  };
  print_row(header, false);
  for (const auto& row : rows) print_row(row, true);
}

void print_json(const nlohmann::ordered_json& document) {
  fmt::print("{}\n",
             document.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
}

void print_warning(std::string_view message) {
  fmt::print(stderr, "qwodel: warning: {}\n", message);
}

ProgressCallback progress_printer() {
  const bool terminal = isatty(STDERR_FILENO) != 0 && std::getenv("NO_COLOR") == nullptr;
  return [terminal](const Progress& p) {
    const double fraction =
        p.total_bytes == 0 ? 1.0
                           : static_cast<double>(p.done_bytes) / static_cast<double>(p.total_bytes);
    if (p.stage_finished) {
      fmt::print(stderr, "{}{}: {} in {:.1f} s\n", terminal ? "\r\033[K" : "", p.stage,
                 bytes_text(p.done_bytes), p.elapsed_seconds);
    } else if (terminal) {
      fmt::print(stderr, "\r\033[K{} [{}] {} of {}, {:.0f} s left", p.stage, bar(fraction),
                 bytes_text(p.done_bytes), bytes_text(p.total_bytes), p.remaining_seconds);
      std::fflush(stderr);
    }
  };
}

}  // namespace qwodel::cli
