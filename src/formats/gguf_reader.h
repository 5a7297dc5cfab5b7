// Reads GGUF files, versions 2 and 3, single or split.
//
// Layout: GGUF specification (ggml/docs/gguf.md); limits: the reader of ggml (gguf.cpp), which
// rejects what is rejected here. One thing is allowed that ggml refuses: tensors whose data does
// not follow the order of their infos, because older writers made such files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "formats/gguf_value.h"
#include "formats/tensor_info.h"
#include "io/mapped_file.h"

namespace qwodel {

struct GgufFile {
  std::uint32_t version = 0;
  std::uint64_t alignment = 0;
  GgufMetadata metadata;
  std::vector<TensorInfo> tensors;  // in the order of the tensor infos; spans lie in the file
};

// Validates and reads one file. Throws ValidationError for a damaged file, FormatNotSupportedError
// for another version, big-endian data or an unknown tensor type.
GgufFile read_gguf(const MappedFile& file);

// A whole model: the file and, when it is one of a split, all its shards.
struct GgufModel {
  std::vector<MappedFile> files;
  GgufMetadata metadata;            // of the first shard, without split.* keys
  std::vector<TensorInfo> tensors;  // of all shards in order
};

// `path` is any shard. Throws as read_gguf; ValidationError names a shard that is missing.
GgufModel read_gguf_model(const std::filesystem::path& path);

// True when the file starts as a GGUF does.
bool looks_like_gguf(const std::filesystem::path& path);

}  // namespace qwodel
