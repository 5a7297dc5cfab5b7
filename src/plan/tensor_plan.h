// The plan: which type every tensor of an artifact gets, how, why and how many bytes. A value that
// can be printed before any work starts; the job only executes it.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "calibrate/importance_matrix.h"
#include "core/tensor_type.h"
#include "models/quantization_traits.h"
#include "plan/file_type.h"

namespace qwodel {

// One tensor on its way into an artifact.
struct PlanInput {
  std::string name;
  std::vector<std::uint64_t> shape;     // outermost first
  TensorType stored = TensorType::f32;  // type it has before quantization (converter or GGUF)
};

// "--tensor-type REGEX=TYPE"; the pattern is searched in the name, in lower case.
struct TensorTypeOverride {
  std::string text;
  std::function<bool(const std::string& name)> applies_to;
  TensorType type;
};

// Throws Error (usage) when there is no '=', the regex does not compile or the type is unknown.
TensorTypeOverride parse_tensor_type_override(const std::string& text);

struct PlanOptions {
  FileType file_type = FileType::q4_k_m;
  std::vector<TensorTypeOverride> overrides;
  std::optional<TensorType> output_type;
  std::optional<TensorType> token_embedding_type;
  bool pure = false;         // one type for all, no mix
  bool keep_output = false;  // leave output.weight as it is stored
};

struct PlannedTensor {
  std::size_t input = 0;  // index into the inputs
  TensorType type = TensorType::f32;
  std::uint64_t bytes = 0;
  bool quantized = false;                          // false: the stored type is kept
  const std::vector<float>* importance = nullptr;  // cols values per matrix; owned by the matrix
  std::string reason;
};

struct TensorPlan {
  std::vector<PlannedTensor> tensors;  // in the order of the artifact: names without a layer, then
                                       // layer by layer, each sorted (as llama-quantize writes)
  std::uint64_t fallbacks = 0;         // tensors whose rows did not fit the chosen type
  std::vector<std::string> warnings;
  std::uint64_t data_bytes = 0;  // of all tensors, without padding
};

// Throws ValidationError for a tensor that needs importance and has none (unless `dry_run`: then a
// warning) or whose importance has the wrong size.
TensorPlan plan_tensors(const std::vector<PlanInput>& inputs, const QuantizationTraits& traits,
                        const PlanOptions& options, const ImportanceMatrix* importance,
                        bool dry_run);

}  // namespace qwodel
