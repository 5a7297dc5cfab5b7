// The ModelSpec of a directory under tests/golden/models, without weights and vocabulary.
#pragma once

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "io/json.h"
#include "models/describe.h"
#include "models/model_spec.h"

namespace qwodel {

inline std::filesystem::path model_goldens() {
  return std::filesystem::path(QWODEL_SOURCE_DIR) / "tests" / "golden" / "models";
}

inline std::vector<SourceTensor> golden_tensors(const std::string& name) {
  std::vector<SourceTensor> tensors;
  const Json golden = read_json(model_goldens() / name / "golden.json");
  for (const Json& entry : golden["checkpoint"]) {
    tensors.push_back({entry[0], entry[1].get<std::vector<std::uint64_t>>()});
  }
  return tensors;
}

inline ModelSpec spec_of(const std::filesystem::path& directory, const Json& config,
                         const std::vector<SourceTensor>& tensors) {
  const ModelOptions options;
  const ModelChoice choice = choose_model(directory, config, tensors, options);
  const ModelContext model{*choice.row, choice.config, options,
                           directory,   tensors,       choice.config.values.layers()};
  return describe_without_vocabulary(model, config);
}

inline ModelSpec golden_spec(const std::string& name) {
  const std::filesystem::path directory = model_goldens() / name;
  return spec_of(directory, read_json(directory / "config.json"), golden_tensors(name));
}

inline std::vector<std::string> golden_model_names() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(model_goldens())) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace qwodel
