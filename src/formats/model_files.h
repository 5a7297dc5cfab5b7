// Which files of a Hugging Face directory hold the weights.
//
// The rules are those of the reference converter (convert_hf_to_gguf.py): the index names the
// files; without one, every file "model*.safetensors" (else "pytorch_model*.bin"), in name order.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace qwodel {

struct ModelFiles {
  bool torch = false;                            // .bin files, not safetensors
  std::vector<std::filesystem::path> files;      // in name order
  std::filesystem::path index;                   // empty when there is none
  std::map<std::string, std::string> index_map;  // tensor name -> file name, as the index says
};

// Throws ValidationError when the index names anything but files of the directory, when it or a
// shard is missing or damaged; FormatNotSupportedError when nothing there holds weights.
ModelFiles find_model_files(const std::filesystem::path& directory);

// The number of shards when the name says so ("model-00001-of-00003.safetensors"), else 0.
std::size_t shard_count(const std::string& file_name);

}  // namespace qwodel
