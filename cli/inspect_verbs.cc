// inspect, verify and diff.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <map>

#include "cli/output.h"
#include "cli/verb.h"

namespace qwodel::cli {
namespace {

std::string shape_text(const std::vector<std::uint64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

nlohmann::ordered_json to_json(const Inspection& inspection) {
  nlohmann::ordered_json metadata = nlohmann::ordered_json::object();
  for (const auto& [key, value] : inspection.metadata) metadata[key] = value;
  nlohmann::ordered_json tensors = nlohmann::ordered_json::array();
  for (const InspectedTensor& t : inspection.tensors) {
    tensors.push_back({{"name", t.name}, {"type", t.type}, {"shape", t.shape}, {"bytes", t.bytes}});
  }
  return {{"path", inspection.path.string()},
          {"format", inspection.format},
          {"architecture", inspection.architecture},
          {"parameters", inspection.parameters},
          {"bytes", inspection.bytes},
          {"bits_per_weight", inspection.bits_per_weight},
          {"metadata", std::move(metadata)},
          {"tensors", std::move(tensors)}};
}

void print_inspection(const Inspection& inspection) {
  fmt::print("{}: {}, {}\n", inspection.path.string(), inspection.format,
             inspection.architecture.empty() ? "unknown architecture" : inspection.architecture);
  fmt::print("{} tensors, {} parameters, {}, {:.2f} bits per weight\n\n", inspection.tensors.size(),
             inspection.parameters, bytes_text(inspection.bytes), inspection.bits_per_weight);
  for (const auto& [key, value] : inspection.metadata) fmt::print("{} = {}\n", key, value);
  std::vector<std::vector<std::string>> rows;
  for (const InspectedTensor& t : inspection.tensors) {
    rows.push_back({t.name, t.type, shape_text(t.shape), std::to_string(t.bytes)});
  }
  fmt::print("\n");
  print_table({"tensor", "type", "shape", "bytes"}, rows);
}

int run_verify(const VerifyOptions& options, const Common& common) {
  const VerifyReport report = verify(options);
  if (common.json) {
    nlohmann::ordered_json tensors = nlohmann::ordered_json::array();
    for (const VerifiedTensor& t : report.tensors) {
      nlohmann::ordered_json row = {{"name", t.name}, {"type", t.type}, {"nmse", nullptr}};
      if (t.nmse) row["nmse"] = *t.nmse;
      tensors.push_back(std::move(row));
    }
    print_json({{"path", report.path.string()},
                {"verified", true},
                {"bytes", report.bytes},
                {"tensors", std::move(tensors)}});
    return 0;
  }
  if (!options.source.empty()) {
    std::vector<std::vector<std::string>> rows;
    for (const VerifiedTensor& t : report.tensors) {
      rows.push_back({t.name, t.type, t.nmse ? fmt::format("{:.3e}", *t.nmse) : ""});
    }
    print_table({"tensor", "type", "nmse"}, rows);
  }
  fmt::print("{}: sound, {} tensors, {}\n", report.path.string(), report.tensors.size(),
             bytes_text(report.bytes));
  return 0;
}

int run_diff(const std::string& a, const std::string& b, const Common& common) {
  const DiffReport report = diff(a, b);
  const bool same = report.differences.empty() && report.metadata.empty();
  if (common.json) {
    nlohmann::ordered_json rows = nlohmann::ordered_json::array();
    for (const TensorDifference& d : report.differences) {
      nlohmann::ordered_json row = {{"name", d.name}, {"what", d.what}, {"nmse", nullptr}};
      if (d.nmse) row["nmse"] = *d.nmse;
      rows.push_back(std::move(row));
    }
    print_json({{"same", same},
                {"tensors", report.tensors},
                {"same_tensors", report.same},
                {"differences", std::move(rows)},
                {"metadata", report.metadata}});
    return same ? 0 : 1;
  }
  for (const std::string& line : report.metadata) fmt::print("key {}\n", line);
  std::vector<std::vector<std::string>> rows;
  for (const TensorDifference& d : report.differences) {
    rows.push_back({d.name, d.what, d.nmse ? fmt::format("{:.3e}", *d.nmse) : ""});
  }
  if (!rows.empty()) print_table({"tensor", "difference", "nmse"}, rows);
  fmt::print("{} of {} tensors are the same\n", report.same, report.tensors);
  return same ? 0 : 1;
}

}  // namespace

std::function<int()> add_inspect(CLI::App& app, Common& common) {
  auto path = std::make_shared<std::string>();
  CLI::App* verb = add_verb(app, common, "inspect", "Show what is in a model or artifact",
                            "qwodel inspect model-Q4_K_M.gguf");
  verb->add_option("path", *path, ".gguf file or Hugging Face directory")->required();
  return [path, &common] {
    const Inspection inspection = inspect(*path);
    if (common.json) {
      print_json(to_json(inspection));
    } else {
      print_inspection(inspection);
    }
    return 0;
  };
}

std::function<int()> add_verify(CLI::App& app, Common& common) {
  auto options = std::make_shared<VerifyOptions>();
  CLI::App* verb = add_verb(app, common, "verify", "Read an artifact back and check it",
                            "qwodel verify model-Q4_K_M.gguf --source model/");
  verb->add_option("artifact", options->artifact, "the artifact")->required();
  verb->add_option("--source", options->source, "the model it was made from");
  verb->add_option("--arch-as", options->arch_as, "as for quantize");
  verb->add_option("--tokenizer-pre", options->tokenizer_pre, "as for quantize");
  verb->add_option("--threads", options->threads, "worker threads; 0: one per core");
  return [options, &common] {
    options->cancel = &common.cancel;
    options->progress = progress_printer();
    return run_verify(*options, common);
  };
}

std::function<int()> add_diff(CLI::App& app, Common& common) {
  auto paths = std::make_shared<std::pair<std::string, std::string>>();
  CLI::App* verb = add_verb(app, common, "diff",
                            "Compare two files or directories tensor by tensor (status 1: differ)",
                            "qwodel diff a.gguf b.gguf");
  verb->add_option("a", paths->first, "the first")->required();
  verb->add_option("b", paths->second, "the second")->required();
  return [paths, &common] { return run_diff(paths->first, paths->second, common); };
}

}  // namespace qwodel::cli
