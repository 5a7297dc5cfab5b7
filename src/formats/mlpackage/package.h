// A Core ML package: a directory of a manifest, a model and its weights.
//
//   NAME.mlpackage/Manifest.json
//   NAME.mlpackage/Data/com.apple.CoreML/model.mlmodel         qwodel.coreml.Model
//   NAME.mlpackage/Data/com.apple.CoreML/weights/weight.bin    blob_file.h
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "formats/mlpackage/blob_file.h"
#include "formats/mlpackage/model.pb.h"

namespace qwodel {

// How a program names the weight file.
inline constexpr std::string_view kWeightFileName = "@model_path/weights/weight.bin";

// Parts of a package below its directory.
std::filesystem::path package_model_path();
std::filesystem::path package_weights_path();

// The manifest of a package whose content has this hash: its identifiers are made of it, so the
// same content has the same manifest.
std::string package_manifest(std::uint64_t content_hash);

// The same bytes for the same model: maps are sorted. Throws ValidationError for 2 GiB or more.
std::string serialize_model(const coreml::Model& model);

// Writes Manifest.json and model.mlmodel below `directory`; weights are the caller's.
void write_package_files(const std::filesystem::path& directory, const coreml::Model& model,
                         std::uint64_t weights_hash);

// A package that was read. Immutable.
class MlPackage {
 public:
  // Throws ValidationError when the manifest does not name a model, or the model or the weight file
  // is damaged; FormatNotSupportedError when the model is no ML Program of one function;
  // DependencyError when a file cannot be read.
  explicit MlPackage(const std::filesystem::path& path);

  const coreml::Model& model() const { return model_; }
  const mil::Block& block() const { return *block_; }
  const mil::Function& function() const { return *function_; }
  // Nothing when there is no weight file.
  const std::optional<BlobFile>& weights() const { return weights_; }
  std::uint64_t bytes() const { return bytes_; }  // of all files

 private:
  coreml::Model model_;
  const mil::Function* function_ = nullptr;
  const mil::Block* block_ = nullptr;
  std::optional<BlobFile> weights_;
  std::uint64_t bytes_ = 0;
};

// True for a directory that has a package's manifest.
bool is_mlpackage(const std::filesystem::path& path);

}  // namespace qwodel
