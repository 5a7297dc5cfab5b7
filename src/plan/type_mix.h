// Which type each tensor of a model gets under a file type: the mix of llama-quantize.
//
// Source: llama.cpp, src/llama-quant.cpp (llama_tensor_get_type, October 2026), restated as tables
// of rules. Tensors must be asked in the order of the output file, because some rules count.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/tensor_type.h"
#include "models/quantization_traits.h"
#include "plan/file_type.h"

namespace qwodel {

// What a tensor is for; rules speak of roles, not of names.
enum class TensorRole : std::uint8_t {
  output,
  token_embedding,
  attention_qkv,
  attention_kv_b,
  attention_v,
  attention_k,
  attention_q,
  attention_output,
  ffn_up,
  ffn_gate,
  ffn_down,
  other,
};

TensorRole tensor_role(std::string_view name);

// Whether llama-quantize would quantize a tensor at all; the others keep the converter's type.
bool may_be_quantized(std::string_view name, const std::vector<std::uint64_t>& shape);

struct TypeChoice {
  TensorType type;
  std::string reason;  // one clause: "Q4_K_M: value projection, more bits in this layer"
};

class TypeMix {
 public:
  // `names` are the tensors of the output file: value-like ones are counted.
  TypeMix(FileType file_type, const QuantizationTraits& traits,
          const std::vector<std::string>& names, bool has_importance);

  // The type before the shape fallback. Call once per tensor that may be quantized and is not
  // overridden, in file order. Throws ValidationError when an expert tensor's layer is out of
  // range.
  TypeChoice choose(std::string_view name, const std::vector<std::uint64_t>& shape);

  bool tied_embeddings() const { return traits_.tied_embeddings; }

 private:
  struct Layer {
    int index;
    int count;
  };
  Layer layer_of(std::string_view name, int counter) const;
  TypeChoice output(const std::vector<std::uint64_t>& shape) const;
  TypeChoice token_embedding() const;
  TypeChoice smallest(TensorRole role);
  TypeChoice value_like();
  TypeChoice query_or_key(TensorRole role) const;
  TypeChoice ffn_down(std::string_view name);
  TypeChoice attention_output() const;
  TypeChoice ffn_gate_or_up(TensorRole role, std::string_view name);
  TypeChoice default_choice() const;

  FileType file_type_;
  QuantizationTraits traits_;
  bool has_importance_;
  int value_count_ = 0;
  int value_index_ = 0;
  int ffn_down_index_ = 0;
  int ffn_gate_index_ = 0;
  int ffn_up_index_ = 0;
};

// The type to use when rows are not whole blocks: a relative with blocks of 32, else F16. Throws
// FormatNotSupportedError for a type without a relative (Q1_0, NVFP4), as llama-quantize does.
TensorType shape_fallback(TensorType type, std::uint64_t cols);

// Types whose result is useless without importance (llama-quantize refuses them).
bool requires_importance(std::string_view name, TensorType type, FileType file_type);

}  // namespace qwodel
