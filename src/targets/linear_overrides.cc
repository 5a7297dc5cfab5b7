#include "targets/linear_overrides.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <optional>
#include <regex>
#include <utility>

#include "qwodel/error.h"

namespace qwodel {
namespace {

constexpr std::string_view kOption = "--tensor-type";
constexpr std::string_view kNone = "none";

struct Override {
  std::string text;
  std::regex pattern;
  std::optional<GroupIntScheme> scheme;  // nothing: not quantized
};

[[noreturn]] void refuse(std::string found) {
  throw Error(ErrorCode::usage, {.where = std::string(kOption),
                                 .found = std::move(found),
                                 .expected = "REGEX=TYPE, such as down_proj=W8A16 or q_proj=none",
                                 .remedy = ""});
}

Override parse(const std::string& text, const Target& target) {
  const std::size_t equals = text.rfind('=');
  if (equals == std::string::npos || equals == 0) refuse(text);
  const std::string type = text.substr(equals + 1);
  Override result{.text = text, .pattern = {}, .scheme = std::nullopt};
  try {
    result.pattern = std::regex(text.substr(0, equals), std::regex::icase);
  } catch (const std::regex_error&) {
    refuse(fmt::format("the invalid regular expression \"{}\"", text.substr(0, equals)));
  }
  if (type != kNone) result.scheme = parse_target(target.backend + ":" + type).linears;
  return result;
}

}  // namespace

void override_schemes(const std::vector<std::string>& texts, const Target& target,
                      LinearPlan& plan) {
  if (texts.empty()) return;
  if (target.backend != "ct") {
    throw FormatNotSupportedError({.where = std::string(kOption),
                                   .found = fmt::format("a target {}", target.backend),
                                   .expected = "one whose linears may have several types",
                                   .remedy = "use a ct target"});
  }
  std::vector<Override> overrides;
  for (const std::string& text : texts) overrides.push_back(parse(text, target));
  std::vector<PlannedLinear> kept;
  for (PlannedLinear& linear : plan.linears) {
    const std::string name = linear.module + ".weight";
    const auto found = std::ranges::find_if(
        overrides, [&](const Override& o) { return std::regex_search(name, o.pattern); });
    if (found != overrides.end() && !found->scheme) {
      plan.unquantized.push_back(linear.module);
      continue;
    }
    if (found != overrides.end()) {
      linear.scheme = *found->scheme;
      linear.reason = fmt::format("{} {}", kOption, found->text);
    }
    kept.push_back(std::move(linear));
  }
  plan.linears = std::move(kept);
  if (!plan.linears.empty()) return;
  throw Error(ErrorCode::usage, {.where = std::string(kOption),
                                 .found = "all linears left as they are",
                                 .expected = "something to quantize",
                                 .remedy = ""});
}

}  // namespace qwodel
