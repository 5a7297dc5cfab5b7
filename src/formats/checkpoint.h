// A checkpoint as its containers hold it: every stored tensor, raw, and the files it came from.
//
// What is here: finding and opening the files of a model (safetensors, torch .bin, GGUF; single or
// sharded) and validating them fully. What is not: decoding (codecs/, sources/) and the meaning of
// names (models/).
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "formats/gguf_value.h"
#include "formats/tensor_info.h"
#include "io/json_fwd.h"
#include "io/mapped_file.h"

namespace qwodel {

// Keeps its files mapped: the spans of its tensors are valid as long as it lives. Immutable;
// reading from several threads is safe.
class Checkpoint {
 public:
  // What the readers of the containers put together.
  struct Contents {
    std::vector<MappedFile> files;
    std::vector<std::vector<std::byte>> copies;  // tensors that no file holds in row-major order
    std::vector<TensorInfo> tensors;             // spans in files or copies
    std::filesystem::path directory;
    std::shared_ptr<const Json> config;  // nothing: a GGUF
    std::optional<GgufMetadata> gguf_metadata;
  };

  // Throws ValidationError when two tensors share a name.
  explicit Checkpoint(Contents contents);
  Checkpoint(const Checkpoint&) = delete;
  Checkpoint& operator=(const Checkpoint&) = delete;

  // All stored tensors, in the order the reference converter reads them: files in name order;
  // inside a safetensors file by name, inside a torch file as its dictionary lists them, inside a
  // GGUF as its tensor infos do.
  const std::vector<TensorInfo>& tensors() const { return contents_.tensors; }
  const TensorInfo* find(std::string_view name) const;

  // The folder of config.json and tokenizer files; for a .gguf the folder it lies in.
  const std::filesystem::path& directory() const { return contents_.directory; }

  // config.json; null for a GGUF.
  const Json& config() const;

  // Metadata of a GGUF (of its first shard, split.* keys removed); nothing for other formats.
  const std::optional<GgufMetadata>& gguf_metadata() const { return contents_.gguf_metadata; }

  // The weight files, mapped, in the order of tensors().
  const std::vector<MappedFile>& files() const { return contents_.files; }

 private:
  Contents contents_;
  std::unordered_map<std::string_view, std::size_t> by_name_;
};

// Opens a Hugging Face directory (model.safetensors, sharded with index, pytorch_model.bin), one
// weight file of that kind, or a .gguf file (any shard of a split). Throws ValidationError
// (damaged, overlapping, missing shard), DependencyError (not there) or FormatNotSupportedError (no
// known container).
std::unique_ptr<Checkpoint> open_checkpoint(const std::filesystem::path& path);

}  // namespace qwodel
