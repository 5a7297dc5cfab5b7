// What a model is in GGUF terms: which tensors it has, how each is made from the checkpoint's
// tensors, and its metadata. models/ computes it from config.json; nothing after it asks for an
// architecture.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "formats/gguf_value.h"
#include "io/json_fwd.h"
#include "models/graph_hints.h"

namespace qwodel {

// A strided view of one source tensor, in elements: value at (i0, i1, ...) is the source's
// row-major element offset + i0 * strides[0] + i1 * strides[1] + ... Every reordering that GGUF
// needs (permuted rotary rows, transposed Conv1D, regrouped QKV, split MLA projections) is such a
// view.
struct TensorView {
  std::uint32_t source = 0;  // index into ModelSpec::sources
  std::uint64_t offset = 0;
  std::vector<std::uint64_t> shape;    // outermost first
  std::vector<std::uint64_t> strides;  // same length as shape

  bool operator==(const TensorView&) const = default;
};

// The view of all values of a source tensor in their own order.
TensorView whole_tensor(std::uint32_t source, const std::vector<std::uint64_t>& shape);

// Applied to every value after reading. The sum of plus_one has the precision the converter
// computes in: half for a source stored in half, single for any other.
enum class Elementwise : std::uint8_t { none, plus_one };

// One tensor of the GGUF file: the concatenation of its parts along the outermost axis (a part may
// have more axes than the tensor; only the number of its values counts), or generated values.
struct ModelTensor {
  std::string name;
  std::vector<std::uint64_t> shape;  // outermost first
  bool keep_f32 = false;             // the converter writes it as F32 whatever the output type
  std::vector<TensorView> parts;
  Elementwise op = Elementwise::none;
  std::vector<float> generated;  // values of a tensor without parts (rope factors, of a GGUF, too)
};

struct ModelSpec {
  std::string architecture;          // GGUF's name: "llama", "qwen2moe"
  GgufMetadata metadata;             // general.*, ARCH.*, tokenizer.*, in the converter's order;
                                     // general.file_type is 0: the target sets its value
  std::vector<std::string> sources;  // names of the checkpoint tensors that views refer to
  std::vector<ModelTensor> tensors;  // in the converter's order
  GraphHints hints;                  // of a checkpoint: what the graph needs beyond the metadata
};

// A logical tensor of the checkpoint (after FP8/GPTQ/AWQ groups became one).
struct SourceTensor {
  std::string name;
  std::vector<std::uint64_t> shape;  // outermost first
  bool quantized = false;            // matrices are [out_features, in_features] in every class
};

struct ModelOptions {
  std::string arch_as;        // treat an unknown class as this one: "llama"
  std::string tokenizer_pre;  // overrides tokenizer.ggml.pre
  std::string model_name;     // overrides general.name
};

// Describes a Hugging Face model. `directory` holds config.json and the tokenizer files. Throws
// FormatNotSupportedError for an unknown class (names it, the nearest known one and the first
// tensor that has no rule) and ValidationError for a tensor without rule or a rule without tensor.
ModelSpec describe_model(const std::filesystem::path& directory, const Json& config,
                         std::span<const SourceTensor> tensors, const ModelOptions& options);

}  // namespace qwodel
