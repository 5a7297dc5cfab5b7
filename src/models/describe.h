// The steps of describe_model(), apart so that tensors and ARCH.* can be had without tokenizer
// files.
#pragma once

#include <filesystem>
#include <span>

#include "models/registry.h"

namespace qwodel {

// The class of a model and its configuration with that model type's defaults.
struct ModelChoice {
  const ModelClass* row = nullptr;
  LoadedConfig config;
};

// Throws like describe_model() for an unknown class or a config.json that is none.
ModelChoice choose_model(const std::filesystem::path& directory, const Json& config,
                         std::span<const SourceTensor> tensors, const ModelOptions& options);

// Tensors and all metadata before the tokenizer's. `config` is config.json as it is.
ModelSpec describe_without_vocabulary(const ModelContext& model, const Json& config);

}  // namespace qwodel
