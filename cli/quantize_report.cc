#include "cli/quantize_report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "cli/output.h"

namespace qwodel::cli {
namespace {

constexpr std::size_t kWorstLinears = 5;

nlohmann::ordered_json number_or_null(const std::optional<double>& value) {
  return value && std::isfinite(*value) ? nlohmann::ordered_json(*value)
                                        : nlohmann::ordered_json(nullptr);
}

nlohmann::ordered_json to_json(const CalibratedLinear& linear) {
  return {{"tokens", linear.tokens},
          {"loss_before", number_or_null(linear.loss_before)},
          {"loss_after", number_or_null(linear.loss_after)},
          {"scale_ratio", number_or_null(linear.scale_ratio)},
          {"scale_duo", linear.scale_duo},
          {"scale_refused", linear.scale_refused},
          {"damp_percent", number_or_null(linear.damp_percent)}};
}

nlohmann::ordered_json to_json(const TensorReport& t) {
  nlohmann::ordered_json row = {{"name", t.name},     {"type", t.type},     {"bytes", t.bytes},
                                {"method", t.method}, {"reason", t.reason}, {"nmse", nullptr}};
  if (t.nmse) row["nmse"] = *t.nmse;
  if (t.calibrated) row["calibrated"] = to_json(*t.calibrated);
  return row;
}

void print_tensors(const ArtifactReport& artifact) {
  std::vector<std::vector<std::string>> rows;
  for (const TensorReport& t : artifact.tensors) {
    rows.push_back({t.name, t.type, std::to_string(t.bytes), t.method,
                    t.nmse ? fmt::format("{:.3e}", *t.nmse) : "", t.reason});
  }
  print_table({"tensor", "type", "bytes", "method", "nmse", "reason"}, rows);
}

std::string ratio_text(const CalibratedLinear& linear) {
  if (linear.scale_refused) return "refused";
  if (!linear.scale_ratio) return "";
  return fmt::format("{:.2f}{}", *linear.scale_ratio, linear.scale_duo ? " duo" : "");
}

// The means are of all linears alike: sums would be those of the few with large outputs.
void print_losses(const ArtifactReport& artifact) {
  std::vector<const TensorReport*> linears;
  double before = 0;
  double after = 0;
  std::size_t unreached = 0;
  for (const TensorReport& t : artifact.tensors) {
    if (t.calibrated && t.calibrated->tokens == 0) ++unreached;
    if (!t.calibrated || !t.calibrated->loss_before || !t.calibrated->loss_after) continue;
    linears.push_back(&t);
    before += *t.calibrated->loss_before;
    after += *t.calibrated->loss_after;
  }
  if (linears.empty()) return;
  const auto count = static_cast<double>(linears.size());
  fmt::print("\n{}: error of the outputs {:.3e}, rounded to nearest {:.3e} (mean of {} linears)\n",
             artifact.target, after / count, before / count, linears.size());
  if (unreached > 0) fmt::print("{} linears were reached by no token\n", unreached);
  const std::size_t shown = std::min(kWorstLinears, linears.size());
  std::ranges::partial_sort(linears, linears.begin() + static_cast<std::ptrdiff_t>(shown),
                            std::ranges::greater{},
                            [](const TensorReport* t) { return *t->calibrated->loss_after; });
  std::vector<std::vector<std::string>> rows;
  for (std::size_t i = 0; i < shown; ++i) {
    const TensorReport& t = *linears[i];
    rows.push_back({t.name, t.method, fmt::format("{:.3e}", *t.calibrated->loss_before),
                    fmt::format("{:.3e}", *t.calibrated->loss_after), ratio_text(*t.calibrated),
                    std::to_string(t.calibrated->tokens)});
  }
  print_table({"worst linears", "method", "nearest", "written", "scale ratio", "tokens"}, rows);
}

void print_phases(const ArtifactReport& artifact) {
  if (artifact.phases.empty()) return;
  std::vector<std::string> parts;
  for (const PhaseTime& phase : artifact.phases) {
    parts.push_back(fmt::format("{} {:.1f} s", phase.name, phase.seconds));
  }
  fmt::print("{}: {}\n", artifact.target, fmt::join(parts, ", "));
}

void print_summary(const QuantizeReport& report, bool is_plan) {
  std::vector<std::vector<std::string>> rows;
  for (const ArtifactReport& artifact : report.artifacts) {
    rows.push_back({artifact.target, bytes_text(artifact.bytes),
                    fmt::format("{:.2f}", artifact.bits_per_weight), artifact.path.string()});
  }
  print_table({"target", "size", "bits/weight", is_plan ? "planned path" : "path"}, rows);
  if (is_plan) {
    fmt::print("\nforecast: {} of memory, {:.1f} s\n", bytes_text(report.peak_memory_bytes),
               report.seconds);
  }
}

}  // namespace

nlohmann::ordered_json to_json(const QuantizeReport& report) {
  nlohmann::ordered_json artifacts = nlohmann::ordered_json::array();
  for (const ArtifactReport& artifact : report.artifacts) {
    nlohmann::ordered_json tensors = nlohmann::ordered_json::array();
    for (const TensorReport& t : artifact.tensors) tensors.push_back(to_json(t));
    nlohmann::ordered_json phases = nlohmann::ordered_json::array();
    for (const PhaseTime& phase : artifact.phases) {
      phases.push_back({{"name", phase.name}, {"seconds", phase.seconds}});
    }
    artifacts.push_back({{"path", artifact.path.string()},
                         {"target", artifact.target},
                         {"bytes", artifact.bytes},
                         {"bits_per_weight", artifact.bits_per_weight},
                         {"tensors", std::move(tensors)},
                         {"phases", std::move(phases)}});
  }
  return {{"artifacts", std::move(artifacts)},
          {"peak_memory_bytes", report.peak_memory_bytes},
          {"seconds", report.seconds}};
}

void print_forecast(const QuantizeReport& plan) {
  std::vector<std::string> artifacts;
  std::uint64_t bytes = 0;
  for (const ArtifactReport& artifact : plan.artifacts) {
    artifacts.push_back(fmt::format("{} {}", artifact.target, bytes_text(artifact.bytes)));
    bytes += artifact.bytes;
  }
  fmt::print(stderr, "plan: {}; about {} of memory, {} of disk, {:.0f} s\n",
             fmt::join(artifacts, ", "), bytes_text(plan.peak_memory_bytes), bytes_text(bytes),
             plan.seconds);
}

void print_report(const QuantizeReport& report, bool is_plan, bool verbose) {
  for (const ArtifactReport& artifact : report.artifacts) {
    if (is_plan || verbose) print_tensors(artifact);
  }
  print_summary(report, is_plan);
  for (const ArtifactReport& artifact : report.artifacts) print_losses(artifact);
  for (const ArtifactReport& artifact : report.artifacts) print_phases(artifact);
}

}  // namespace qwodel::cli
