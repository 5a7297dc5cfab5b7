// A checkpoint as its containers hold it: every stored tensor, raw, and the files it came from.
//
// What is here: finding and opening the files of a model (safetensors, torch .bin, GGUF; single or
// sharded) and validating them fully. What is not: decoding (codecs/, sources/) and the meaning of
// names (models/).
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "formats/gguf_value.h"
#include "formats/tensor_info.h"
#include "io/json.h"

namespace qwodel {

// Keeps its files mapped: the spans of its tensors are valid as long as it lives. Immutable after
// open_checkpoint; reading from several threads is safe.
class Checkpoint {
 public:
  virtual ~Checkpoint() = default;

  // All stored tensors: files in name order, inside a file by position of the data.
  const std::vector<TensorInfo>& tensors() const { return tensors_; }
  const TensorInfo* find(std::string_view name) const;

  // The folder of config.json and tokenizer files; for a .gguf the folder it lies in.
  const std::filesystem::path& directory() const { return directory_; }

  // config.json; null for a GGUF.
  const Json& config() const { return config_; }

  // Metadata of a GGUF (of its first shard, split.* keys removed); nothing for other formats.
  const std::optional<GgufMetadata>& gguf_metadata() const { return gguf_metadata_; }

 protected:
  std::vector<TensorInfo> tensors_;
  std::filesystem::path directory_;
  Json config_;
  std::optional<GgufMetadata> gguf_metadata_;
};

// Opens a Hugging Face directory (model.safetensors, sharded with index, pytorch_model.bin) or a
// .gguf file (any shard of a split). Throws ValidationError (damaged, overlapping, missing shard),
// DependencyError (not there) or FormatNotSupportedError (no known container).
std::unique_ptr<Checkpoint> open_checkpoint(const std::filesystem::path& path);

}  // namespace qwodel
