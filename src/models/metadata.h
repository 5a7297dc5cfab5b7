// ARCH.* keys of a GGUF: the writer families use, and the part most of them share.
//
// Key names: GGUF specification; which keys, in which order and from which names of config.json:
// llama.cpp's converter, TextModel.set_gguf_parameters.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "formats/gguf_value.h"
#include "models/registry.h"

namespace qwodel {

// Sets keys below "ARCH."; all() is for keys without it. A key that is set again keeps its place.
class MetadataWriter {
 public:
  MetadataWriter(std::string_view architecture, GgufMetadata& metadata)
      : prefix_(std::string(architecture) + "."), metadata_(metadata) {}

  void u32(std::string_view key, std::uint64_t value) { metadata_.set_u32(name(key), value); }
  void f32(std::string_view key, double value) { metadata_.set_f32(name(key), value); }
  void flag(std::string_view key, bool value) { metadata_.set_bool(name(key), value); }
  void text(std::string_view key, std::string_view value) {
    if (!value.empty()) metadata_.set_string(name(key), value);
  }
  // Empty arrays are not written.
  template <class T>
  void array(std::string_view key, std::vector<T> values) {
    if (!values.empty()) metadata_.set_array(name(key), std::move(values));
  }

  void erase(std::string_view key) { metadata_.erase(name(key)); }

  GgufMetadata& all() { return metadata_; }

 private:
  std::string name(std::string_view key) const { return prefix_ + std::string(key); }

  std::string prefix_;
  GgufMetadata& metadata_;
};

// Everything the converter derives for any text model, up to and including general.file_type.
void add_common_metadata(const ModelContext& model, MetadataWriter& out);

// general.file_type as a placeholder: the target overwrites its value.
void add_file_type(MetadataWriter& out);

// A list of true for layers with sliding attention, from layer_types. REQUIRES: the tensors have
// proven the number of layers. Throws ValidationError when the list is no list of names.
std::vector<GgufBool> sliding_layers(const ModelContext& model);

// ARCH.pooling_type of a sentence-transformers model, from modules.json.
void add_pooling_type(const ModelContext& model, MetadataWriter& out);

}  // namespace qwodel
