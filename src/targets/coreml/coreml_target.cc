#include "targets/coreml/coreml_target.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <string_view>

#include "qwodel/error.h"

namespace qwodel {
namespace {

constexpr std::uint64_t kBlock = 32;      // inputs of int4_block32
constexpr std::uint64_t kGroup = 16;      // rows that share a table of int4
constexpr double kTypicalColumns = 4096;  // for bits per weight in lists

struct NamedScheme {
  std::string_view name;
  std::string_view summary;
  WeightScheme scheme;
};

constexpr WeightScheme linear(unsigned bits, bool symmetric, std::uint64_t block) {
  return {.form = WeightForm::linear, .bits = bits, .symmetric = symmetric, .block = block};
}

constexpr WeightScheme palette(unsigned bits, std::uint64_t group_rows) {
  return {.form = WeightForm::palette, .bits = bits, .group_rows = group_rows};
}

constexpr std::array kSchemes = {
    NamedScheme{"float16", "half precision", {}},
    NamedScheme{"int8_linear", "8-bit integers, scale and offset per row", linear(8, false, 0)},
    NamedScheme{"int8_symmetric", "8-bit integers, scale per row", linear(8, true, 0)},
    NamedScheme{"int6", "64-entry palette per tensor", palette(6, 0)},
    NamedScheme{"int4", "16-entry palettes of 16 rows each", palette(4, kGroup)},
    NamedScheme{"int4_block32", "4-bit integers, scale per 32 inputs; not for the Neural Engine",
                linear(4, true, kBlock)},
    NamedScheme{"palette8", "256-entry palette per tensor", palette(8, 0)},
    NamedScheme{"palette6", "64-entry palette per tensor", palette(6, 0)},
    NamedScheme{"palette4", "16-entry palette per tensor", palette(4, 0)},
    NamedScheme{"palette3", "8-entry palette per tensor", palette(3, 0)},
    NamedScheme{"palette2", "4-entry palette per tensor", palette(2, 0)},
    NamedScheme{"palette1", "2-entry palette per tensor", palette(1, 0)},
};

double bits_per_weight(const WeightScheme& scheme) {
  if (scheme.form != WeightForm::linear) return scheme.bits;
  const double columns = scheme.block == 0 ? kTypicalColumns : static_cast<double>(scheme.block);
  return scheme.bits + (scheme.symmetric ? 16 : 16 + scheme.bits) / columns;
}

std::optional<std::uint64_t> parse_count(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = error == std::errc() && end == text.data() + text.size();
  return whole && value > 0 ? std::optional(value) : std::nullopt;
}

// What follows the first of these prefixes that `text` has, as a number.
std::optional<std::uint64_t> count_after(std::string_view text,
                                         std::initializer_list<std::string_view> prefixes) {
  for (const std::string_view prefix : prefixes) {
    if (text.starts_with(prefix)) return parse_count(text.substr(prefix.size()));
  }
  return std::nullopt;
}

[[noreturn]] void refuse_granularity(const std::string& found, const std::string& expected) {
  throw Error(ErrorCode::usage,
              {.where = "--granularity", .found = found, .expected = expected, .remedy = {}});
}

}  // namespace

std::vector<Format> coreml_formats() {
  std::vector<Format> all;
  for (const NamedScheme& row : kSchemes) {
    all.push_back({std::string(row.name), std::string(row.summary), bits_per_weight(row.scheme)});
  }
  return all;
}

Target parse_coreml_format(const std::string& format) {
  const std::size_t group_at = format.starts_with("palette") ? format.find("_g") : format.npos;
  const std::string_view base = std::string_view(format).substr(0, group_at);
  const auto* row = std::ranges::find(kSchemes, base, &NamedScheme::name);
  if (row == kSchemes.end()) {
    refuse_format(format,
                  "float16, int8_linear, int8_symmetric, int4, int6, int4_block32 or "
                  "palette{1,2,3,4,6,8}[_gN]");
  }
  Target target{.backend = {}, .name = format, .file_type = {}, .linears = {}};
  target.coreml = row->scheme;
  if (group_at != format.npos) {
    const auto rows = parse_count(std::string_view(format).substr(group_at + 2));
    if (!rows) refuse_format(format, "a number of rows after _g");
    target.coreml->group_rows = *rows;
  }
  return target;
}

WeightScheme with_granularity(WeightScheme scheme, const std::string& granularity) {
  if (granularity.empty()) return scheme;
  if (scheme.form == WeightForm::linear) {
    scheme.per_tensor = granularity == "per_tensor";
    const auto block = count_after(granularity, {"per_block:", "b"});
    scheme.block = block.value_or(0);
    if (block || scheme.per_tensor || granularity == "per_channel") return scheme;
    refuse_granularity(granularity, "per_tensor, per_channel or per_block:N");
  }
  if (scheme.form == WeightForm::palette) {
    const auto rows = granularity == "per_channel"
                          ? std::optional<std::uint64_t>(1)
                          : count_after(granularity, {"per_grouped_channel:", "g"});
    scheme.group_rows = rows.value_or(0);
    if (rows || granularity == "per_tensor") return scheme;
    refuse_granularity(granularity, "per_tensor, per_channel or per_grouped_channel:N");
  }
  refuse_granularity(granularity, "none for float16");
}

}  // namespace qwodel
