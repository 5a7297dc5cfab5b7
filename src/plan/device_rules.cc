#include "plan/device_rules.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

namespace qwodel {
namespace {

// The Neural Engine reads states in lanes of this many halves.
constexpr std::uint64_t kLanes = 32;
constexpr std::uint64_t kFewestTableRows = 4;
constexpr std::uint64_t kLargestProgram = 1'000'000'000;

using BreaksPackage = bool (*)(const PackageFacts&);
using BreaksWeight = bool (*)(const PackagedWeight&);

struct Rule {
  std::string_view devices;  // space-separated
  std::string_view expected;
  std::string_view remedy;
  std::string_view source;
  BreaksWeight weight = nullptr;  // one of the two
  BreaksPackage package = nullptr;
};

bool has_odd_state(const PackageFacts& facts) {
  return std::ranges::any_of(facts.state_widths,
                             [](std::uint64_t width) { return width % kLanes != 0; });
}
bool forgets(const PackageFacts& facts) { return !facts.is_encoder && facts.state_widths.empty(); }

constexpr std::array kRules = {
    Rule{"ane", "states whose width is a multiple of 32: others fail to compile for it",
         "use --form stateless, or run the package on the GPU", "apple/coremltools issue 2631",
         nullptr, has_odd_state},
    Rule{"ane", "a scale per row, or tables: blocks run on the CPU or GPU instead",
         "use --to coreml:int4 (tables of 16 rows), or --granularity per_channel",
         "apple/coremltools issue 2510", [](const PackagedWeight& w) { return w.block != 0; },
         nullptr},
    Rule{"ane", "tables of 4 rows or more: smaller ones take two to four times as long",
         "use --granularity per_grouped_channel:8",
         "coremltools guide, OPT-1.3B on an iPhone 15 Pro",
         [](const PackagedWeight& w) {
           return w.table_rows != 0 && w.table_rows < kFewestTableRows;
         },
         nullptr},
    Rule{"ane", "a fixed number of tokens in a call, or a list of them",
         "use --form stateless --sequence-length 64,128,256", "coremltools guide, flexible inputs",
         nullptr, [](const PackageFacts& facts) { return facts.any_length; }},
    Rule{"ane", "less than 1 GB: larger programs failed to load on iOS (error -14)",
         "use fewer bits, such as --to coreml:int4, or a smaller model",
         "reports of ANEMLL's users", nullptr,
         [](const PackageFacts& facts) { return facts.bytes > kLargestProgram; }},
    Rule{"gpu cpu", "states: without them every token costs a run over all tokens before it",
         "use --form stateful", "Apple, Llama 3.1 with Core ML", nullptr, forgets},
};

bool names(std::string_view list, std::string_view word) {
  for (std::string_view rest = list; !rest.empty();) {
    const std::string_view first = rest.substr(0, rest.find(' '));
    if (first == word) return true;
    rest.remove_prefix(std::min(rest.size(), first.size() + 1));
  }
  return false;
}

std::string describe(const PackageFacts& facts) {
  const std::string states =
      facts.state_widths.empty()
          ? std::string("no states")
          : fmt::format("states {} wide", fmt::join(facts.state_widths, ", "));
  return fmt::format("{} MB of weights, {}, {}", facts.bytes / 1'000'000, states,
                     facts.any_length ? "calls of any length" : "calls of given lengths");
}

}  // namespace

bool is_device(std::string_view name) {
  return std::ranges::any_of(kRules, [&](const Rule& rule) { return names(rule.devices, name); });
}

std::vector<Finding> check_device(std::string_view device, const PackageFacts& facts) {
  std::vector<Finding> findings;
  for (const Rule& rule : kRules) {
    if (!names(rule.devices, device)) continue;
    Finding finding{.refused = false,
                    .where = fmt::format("--for {}", device),
                    .found = describe(facts),
                    .expected = std::string(rule.expected),
                    .remedy = std::string(rule.remedy),
                    .source = std::string(rule.source)};
    if (rule.package != nullptr) {
      if (rule.package(facts)) findings.push_back(std::move(finding));
      continue;
    }
    const auto broken = std::ranges::count_if(facts.weights, rule.weight);
    if (broken == 0) continue;
    const PackagedWeight& first = *std::ranges::find_if(facts.weights, rule.weight);
    finding.where +=
        fmt::format(", {} of {} weights such as {}", broken, facts.weights.size(), first.name);
    finding.found = first.type;
    findings.push_back(std::move(finding));
  }
  return findings;
}

}  // namespace qwodel
