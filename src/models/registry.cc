#include "models/registry.h"

#include <algorithm>
#include <array>
#include <limits>
#include <numeric>

#include "models/families.h"
#include "models/llama.h"

namespace qwodel {
namespace {

using FamilyRows = std::span<const ModelClass> (*)();

constexpr std::array kFamilies = {
    FamilyRows{llama_classes},    FamilyRows{qwen_classes},    FamilyRows{gemma_classes},
    FamilyRows{phi_classes},      FamilyRows{granite_classes}, FamilyRows{gpt2_classes},
    FamilyRows{stablelm_classes}, FamilyRows{olmo_classes},    FamilyRows{cohere_classes},
    FamilyRows{bert_classes},     FamilyRows{bloom_classes},   FamilyRows{deepseek_classes},
    FamilyRows{falcon_classes},   FamilyRows{gptneox_classes}, FamilyRows{internlm2_classes},
    FamilyRows{minicpm_classes},  FamilyRows{mpt_classes},
};

// Levenshtein distance.
std::size_t edits(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row[b.size()];
}

}  // namespace

std::vector<const ModelClass*> model_classes() {
  std::vector<const ModelClass*> rows;
  for (const FamilyRows family : kFamilies) {
    for (const ModelClass& row : family()) rows.push_back(&row);
  }
  return rows;
}

const ModelClass* find_model_class(std::string_view name) {
  for (const ModelClass* row : model_classes()) {
    if (row->name == name) return row;
  }
  return nullptr;
}

std::string_view nearest_model_class(std::string_view name) {
  // Names of files are short; a longer one has no neighbour worth its cost.
  const std::string_view shown = name.substr(0, 256);
  std::string_view nearest;
  std::size_t fewest = std::numeric_limits<std::size_t>::max();
  for (const ModelClass* row : model_classes()) {
    const std::size_t distance = edits(shown, row->name);
    if (distance >= fewest) continue;
    fewest = distance;
    nearest = row->name;
  }
  return nearest;
}

const ModelClass* find_architecture(std::string_view architecture) {
  for (const ModelClass* row : model_classes()) {
    if (row->architecture == architecture) return row;
  }
  return nullptr;
}

const ConfigDefaults* find_config_defaults(std::string_view model_type) {
  for (const ModelClass* row : model_classes()) {
    for (const ConfigDefaults& defaults : row->defaults) {
      if (defaults.model_type == model_type) return &defaults;
    }
  }
  return nullptr;
}

}  // namespace qwodel
