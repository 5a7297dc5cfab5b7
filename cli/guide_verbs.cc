// recommend, list-formats, list-backends and check.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "cli/output.h"
#include "cli/verb.h"

namespace qwodel::cli {
namespace {

void print_recommendation(const Recommendation& r) {
  fmt::print("target:  {}{}\n", r.target, r.available ? "" : " (not built yet)");
  fmt::print("weights: {}\n", bytes_text(r.weight_bytes));
  fmt::print("memory:  {}{}\n", bytes_text(r.memory_bytes), r.fits ? "" : " (does not fit)");
  fmt::print("why:     {}\n", r.reason);
  fmt::print("command: {}\n", r.command);
}

nlohmann::ordered_json to_json(const Recommendation& r) {
  return {{"target", r.target},  {"weight_bytes", r.weight_bytes}, {"memory_bytes", r.memory_bytes},
          {"fits", r.fits},      {"available", r.available},       {"reason", r.reason},
          {"command", r.command}};
}

int print_formats(const std::string& only, const Common& common) {
  nlohmann::ordered_json document = nlohmann::ordered_json::array();
  std::vector<std::vector<std::string>> rows;
  bool known = only.empty();
  for (const BackendInfo& backend : list_backends()) {
    if (!only.empty() && backend.name != only) continue;
    known = true;
    if (!backend.available) rows.push_back({backend.name, backend.formats, "", "not built yet"});
    for (const FormatInfo& format : list_formats(backend.name)) {
      rows.push_back({backend.name, format.name, fmt::format("{:.2f}", format.bits_per_weight),
                      format.summary});
      document.push_back({{"backend", backend.name},
                          {"format", format.name},
                          {"bits_per_weight", format.bits_per_weight},
                          {"summary", format.summary}});
    }
  }
  if (!known) list_formats(only);  // throws: names the known ones
  if (common.json) {
    print_json(document);
  } else {
    print_table({"backend", "format", "bits/weight", "what"}, rows);
  }
  return 0;
}

int print_backends(const Common& common) {
  nlohmann::ordered_json document = nlohmann::ordered_json::array();
  std::vector<std::vector<std::string>> rows;
  for (const BackendInfo& b : list_backends()) {
    rows.push_back({b.name, b.available ? "available" : "not built yet", b.runtimes});
    document.push_back({{"name", b.name}, {"available", b.available}, {"runtimes", b.runtimes}});
  }
  if (common.json) {
    print_json(document);
  } else {
    print_table({"backend", "state", "for"}, rows);
  }
  return 0;
}

int print_check(const Common& common) {
  const CheckReport report = check();
  if (common.json) {
    print_json({{"version", report.version},
                {"kernel_target", report.kernel_target},
                {"kernel_targets", report.kernel_targets},
                {"cores", report.cores}});
    return 0;
  }
  fmt::print("qwodel {}\n{} cores, kernels on {} (of {})\n", report.version, report.cores,
             report.kernel_target, fmt::join(report.kernel_targets, ", "));
  for (const BackendInfo& b : list_backends()) {
    fmt::print("{}: {}\n", b.name, b.available ? "ready" : "not built yet");
  }
  return 0;
}

}  // namespace

std::function<int()> add_recommend(CLI::App& app, Common& common) {
  struct Arguments {
    RecommendOptions options;
    std::string memory;
  };
  auto a = std::make_shared<Arguments>();
  CLI::App* verb =
      add_verb(app, common, "recommend", "Say which target and format suit a model and a device",
               "qwodel recommend SmolLM2-135M --device cpu --memory 8G");
  verb->add_option("model", a->options.model, "Hugging Face directory or .gguf")->required();
  verb->add_option("--device", a->options.device, "cpu, nvidia, iphone or mac");
  verb->add_option("--memory", a->memory, "memory of the device, such as 8G");
  verb->add_option("--ctx", a->options.context, "tokens of context");
  return [a, &common] {
    if (!a->memory.empty()) a->options.memory = parse_size("--memory", a->memory);
    const Recommendation result = recommend(a->options);
    if (common.json) {
      print_json(to_json(result));
    } else {
      print_recommendation(result);
    }
    return 0;
  };
}

std::function<int()> add_list_formats(CLI::App& app, Common& common) {
  auto backend = std::make_shared<std::string>();
  CLI::App* verb = add_verb(app, common, "list-formats", "List what can be written",
                            "qwodel list-formats -b gguf");
  verb->add_option("-b,--backend", *backend, "only this backend");
  return [backend, &common] { return print_formats(*backend, common); };
}

std::function<int()> add_list_backends(CLI::App& app, Common& common) {
  add_verb(app, common, "list-backends", "List the backends", "qwodel list-backends");
  return [&common] { return print_backends(common); };
}

std::function<int()> add_check(CLI::App& app, Common& common) {
  add_verb(app, common, "check", "Show what this build and machine can do", "qwodel check");
  return [&common] { return print_check(common); };
}

}  // namespace qwodel::cli
