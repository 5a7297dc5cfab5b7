#include "formats/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <system_error>
#include <utility>

#include "formats/gguf_reader.h"
#include "formats/lfs_pointer.h"
#include "formats/model_files.h"
#include "formats/safetensors.h"
#include "formats/torch_file.h"
#include "io/json.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

namespace fs = std::filesystem;

void add_files(const ModelFiles& found, Checkpoint::Contents& contents) {
  for (const fs::path& path : found.files) {
    const MappedFile& file = contents.files.emplace_back(path);
    refuse_lfs_pointer(file);
    TorchFile read = found.torch ? read_torch_file(file) : TorchFile{read_safetensors(file), {}};
    std::ranges::move(read.tensors, std::back_inserter(contents.tensors));
    std::ranges::move(read.copies, std::back_inserter(contents.copies));
  }
}

// The index and the shards must tell the same names, or a download is incomplete.
void check_index(const ModelFiles& found, const Checkpoint& checkpoint) {
  if (found.index.empty()) return;
  for (const auto& [tensor, file] : found.index_map) {
    if (checkpoint.find(tensor) != nullptr) continue;
    throw ValidationError({.where = (found.index.parent_path() / file).string(),
                           .found = fmt::format("no tensor \"{}\"", tensor),
                           .expected = "every tensor that the index places there",
                           .remedy = "download this shard again"});
  }
  for (const TensorInfo& tensor : checkpoint.tensors()) {
    if (found.index_map.contains(tensor.name)) continue;
    throw ValidationError({.where = found.index.string(),
                           .found = fmt::format("no entry for tensor \"{}\"", tensor.name),
                           .expected = "every tensor of the shards",
                           .remedy = "download the index again"});
  }
}

std::shared_ptr<const Json> read_config(const fs::path& directory) {
  Json config = read_json(directory / "config.json");
  if (!config.is_object()) {
    throw ValidationError({.where = (directory / "config.json").string(),
                           .found = "no JSON object",
                           .expected = "the configuration of a model",
                           .remedy = "download it again"});
  }
  return std::make_shared<const Json>(std::move(config));
}

std::unique_ptr<Checkpoint> open_directory(const fs::path& directory) {
  const ModelFiles found = find_model_files(directory);
  Checkpoint::Contents contents;
  contents.directory = directory;
  contents.config = read_config(directory);
  add_files(found, contents);
  auto checkpoint = std::make_unique<Checkpoint>(std::move(contents));
  check_index(found, *checkpoint);
  return checkpoint;
}

// One weight file by its own name, with the config.json beside it if there is one.
std::unique_ptr<Checkpoint> open_weight_file(const fs::path& path, bool torch) {
  if (shard_count(path.filename().string()) > 1) {
    throw ValidationError({.where = path.string(),
                           .found = "one shard of several",
                           .expected = "a whole model",
                           .remedy = "give the directory it lies in"});
  }
  Checkpoint::Contents contents;
  contents.directory = path.parent_path().empty() ? fs::path(".") : path.parent_path();
  std::error_code ignored;
  if (fs::exists(contents.directory / "config.json", ignored)) {
    contents.config = read_config(contents.directory);
  }
  ModelFiles single;
  single.torch = torch;
  single.files.push_back(path);
  add_files(single, contents);
  return std::make_unique<Checkpoint>(std::move(contents));
}

std::unique_ptr<Checkpoint> open_gguf(const fs::path& path) {
  GgufModel model = read_gguf_model(path);
  Checkpoint::Contents contents;
  contents.directory = path.parent_path().empty() ? fs::path(".") : path.parent_path();
  contents.files = std::move(model.files);
  contents.tensors = std::move(model.tensors);
  contents.gguf_metadata = std::move(model.metadata);
  return std::make_unique<Checkpoint>(std::move(contents));
}

}  // namespace

Checkpoint::Checkpoint(Contents contents) : contents_(std::move(contents)) {
  by_name_.reserve(contents_.tensors.size());
  for (std::size_t i = 0; i < contents_.tensors.size(); ++i) {
    const std::string& name = contents_.tensors[i].name;
    if (by_name_.emplace(name, i).second) continue;
    throw ValidationError({.where = contents_.directory.string(),
                           .found = fmt::format("tensor \"{}\" twice", name),
                           .expected = "every tensor once",
                           .remedy = "leave only the weight files of one model in the directory"});
  }
}

const Json& Checkpoint::config() const {
  static const Json none;
  return contents_.config != nullptr ? *contents_.config : none;
}

const TensorInfo* Checkpoint::find(std::string_view name) const {
  const auto entry = by_name_.find(name);
  return entry == by_name_.end() ? nullptr : &contents_.tensors[entry->second];
}

std::unique_ptr<Checkpoint> open_checkpoint(const fs::path& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status)) {
    throw DependencyError({.where = path.string(),
                           .found = error ? error.message() : "nothing there",
                           .expected = "a model directory or file",
                           .remedy = "check the path"});
  }
  if (fs::is_directory(status)) return open_directory(path);
  const std::string extension = path.extension().string();
  if (extension == ".gguf" || looks_like_gguf(path)) return open_gguf(path);
  if (extension == ".safetensors") return open_weight_file(path, false);
  if (extension == ".bin" || extension == ".pt" || extension == ".pth") {
    return open_weight_file(path, true);
  }
  throw FormatNotSupportedError({.where = path.string(),
                                 .found = "no known kind of file",
                                 .expected = "a Hugging Face directory or a .gguf file",
                                 .remedy = "give the directory that config.json lies in"});
}

}  // namespace qwodel
