// How a kind of Hugging Face artifact stores a quantized linear, and what it tells its readers in
// config.json.
//
// Adding one: a folder with its LinearFormat and a row in linear_format.cc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "codecs/group_int.h"
#include "formats/safetensors_writer.h"
#include "io/json_fwd.h"

namespace qwodel {

struct QuantizedModule {
  std::string name;
  GroupIntScheme scheme;
};

// What an artifact's config.json has to say about its linears.
struct LinearArtifact {
  GroupIntScheme scheme;                      // of most of them
  std::vector<QuantizedModule> linears = {};  // all of them, in order
  std::vector<std::string> unquantized = {};  // module names of linears left in 16 bits, "lm_head"
                                              // among them
  std::vector<std::string> outside = {};      // LinearPlan::outside
  std::string producer = {};                  // "qwodel:0.1.0"
  std::string method = {};                    // "gptq"
  double damp_percent = 0;                    // GPTQ's, before it had to grow; 0: another method
  bool desc_act = false;                      // groups are of columns in order of activation
  bool true_sequential = false;  // linears were quantized under the quantized ones before them
};

class LinearFormat {
 public:
  virtual ~LinearFormat() = default;

  // Throws FormatNotSupportedError when the format (or every reader of it) has no place for it.
  virtual void check(const GroupIntScheme& scheme) const = 0;

  // The tensors of a linear [rows, cols] named BASE (its weight is BASE.weight). Throws
  // FormatNotSupportedError naming it when its shape does not fit whole words or groups.
  virtual std::vector<SafetensorsEntry> entries(std::string_view base, const GroupIntScheme& scheme,
                                                std::uint64_t rows, std::uint64_t cols) const = 0;

  // Writes the bytes of all of them, one after the other, to as many bytes as entries() has.
  virtual void pack(const GroupIntMatrix& matrix, std::span<std::byte> out) const = 0;

  // The tensor of a linear that holds out and in as I64, which readers look at first; empty: none.
  virtual std::string_view shape_tensor() const { return {}; }

  // The value of "quantization_config".
  virtual Json quantization_config(const LinearArtifact& artifact) const = 0;

  // The file beside config.json that says it once more; empty: none.
  virtual std::string_view config_file() const { return {}; }
};

// By backend: "awq", "gptq", "ct". REQUIRES: one of these.
const LinearFormat& linear_format(std::string_view backend);

const LinearFormat& awq_format();
const LinearFormat& gptq_format();
const LinearFormat& compressed_tensors_format();

}  // namespace qwodel
