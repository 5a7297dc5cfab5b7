#include "pipeline/coreml_options.h"

#include <fmt/format.h>

#include <algorithm>

#include "pipeline/artifact_job.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

constexpr std::uint64_t kDefaultContext = 2048;
constexpr std::uint64_t kMaxContext = std::uint64_t{1} << 20;
constexpr std::size_t kMaxLengths = 128;  // Core ML's limit of enumerated shapes
constexpr int kFirstWithStates = 9;

MilVersion version_of(const std::string& name) {
  std::string known;
  for (const MilVersion& version : mil_versions()) {
    if (version.name == name) return version;
    known += known.empty() ? "" : ", ";
    known += version.name;
  }
  throw FormatNotSupportedError(
      {.where = "--minimum-target", .found = name, .expected = "one of " + known, .remedy = {}});
}

bool is_stateful(const CoremlPackageOptions& options, const MilVersion& version) {
  if (options.form == "stateless") return false;
  const bool possible = version.specification >= kFirstWithStates;
  if (options.form == "auto") return possible && options.sequence_lengths.empty();
  if (options.form != "stateful") {
    refuse_option("--form", options.form, "stateful, stateless or auto");
  }
  if (!options.sequence_lengths.empty()) {
    refuse_option("--sequence-length", "a stateful package",
                  "--form stateless; a stateful one takes any number of tokens");
  }
  if (possible) return true;
  throw FormatNotSupportedError({.where = "--form stateful",
                                 .found = fmt::format("--minimum-target {}", version.name),
                                 .expected = "ios18, the first system with states",
                                 .remedy = "use --form stateless or --minimum-target ios18"});
}

std::uint64_t context_of(std::uint64_t asked, const Graph& graph) {
  const std::uint64_t limit = graph.context_length == 0 ? kMaxContext : graph.context_length;
  if (asked == 0) return std::min(kDefaultContext, limit);
  if (asked <= limit) return asked;
  throw FormatNotSupportedError(
      {.where = "--context-length",
       .found = std::to_string(asked),
       .expected = fmt::format("at most {}, the positions the model was made for", limit),
       .remedy = {}});
}

Pooling pooling_of(const std::string& asked, const Graph& graph,
                   std::optional<std::uint64_t> pooling_type) {
  constexpr std::uint64_t kMean = 1;
  constexpr std::uint64_t kCls = 2;
  if (asked == "none") return Pooling::none;
  if (!graph.is_encoder) refuse_option("--pooling", asked + " for a decoder", "none");
  if (asked == "mean") return Pooling::mean;
  if (asked == "cls") return Pooling::first;
  if (asked != "model") refuse_option("--pooling", asked, "none, mean, cls or model");
  if (pooling_type == kMean) return Pooling::mean;
  if (pooling_type == kCls) return Pooling::first;
  throw FormatNotSupportedError(
      {.where = "--pooling model",
       .found = pooling_type ? "another pooling in modules.json" : "no pooling in modules.json",
       .expected = "the mean of the tokens, or the first one",
       .remedy = "use --pooling mean, cls or none"});
}

}  // namespace

CoremlOptions coreml_options(const CoremlPackageOptions& options, const Graph& graph,
                             std::optional<std::uint64_t> pooling_type) {
  CoremlOptions result;
  result.version = version_of(options.minimum_target);
  result.stateful = is_stateful(options, result.version) && !graph.is_encoder;
  if (graph.is_encoder && options.form == "stateful") {
    refuse_option("--form", "stateful for an encoder", "stateless");
  }
  result.context_length = context_of(options.context_length, graph);
  result.last_logits_only = options.last_logits_only;
  result.pooling = pooling_of(options.pooling, graph, pooling_type);
  result.sequence_lengths = options.sequence_lengths;
  std::vector<std::uint64_t>& lengths = result.sequence_lengths;
  if (lengths.size() > kMaxLengths) {
    refuse_option("--sequence-length", fmt::format("{} lengths", lengths.size()),
                  fmt::format("at most {}", kMaxLengths));
  }
  if (lengths.empty()) return result;
  if (graph.is_encoder && lengths.size() > 1 && result.version.specification < kFirstWithStates) {
    throw FormatNotSupportedError({.where = "--sequence-length",
                                   .found = fmt::format("{} lengths of two inputs", lengths.size()),
                                   .expected = "one before ios18, or none for any",
                                   .remedy = "use --minimum-target ios18"});
  }
  const auto [least, most] = std::ranges::minmax_element(lengths);
  if (*least == 0) refuse_option("--sequence-length", "0", "1 or more");
  const std::uint64_t longest = *most;
  if (options.context_length != 0 && longest > options.context_length) {
    refuse_option("--sequence-length", std::to_string(longest), "at most --context-length");
  }
  // Tables end with the longest call.
  result.context_length = context_of(longest, graph);
  return result;
}

}  // namespace qwodel
