#include "formats/mlpackage/package.h"

#include <fmt/format.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <xxhash.h>

#include <limits>
#include <utility>

#include "io/atomic_file.h"
#include "io/json.h"
#include "io/mapped_file.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kAuthor = "com.apple.CoreML";
constexpr std::size_t kMaxManifest = std::size_t{1} << 20;

[[noreturn]] void fail(const fs::path& path, std::string found, std::string expected) {
  throw ValidationError({.where = path.string(),
                         .found = std::move(found),
                         .expected = std::move(expected),
                         .remedy = "make the package again"});
}

// In the form of a UUID of version 8 (RFC 9562: made by a rule of one's own).
std::string identifier(std::uint64_t content_hash, std::string_view item) {
  const XXH128_hash_t hash = XXH3_128bits_withSeed(item.data(), item.size(), content_hash);
  return fmt::format("{:08X}-{:04X}-8{:03X}-{:04X}-{:012X}", hash.high64 >> 32,
                     hash.high64 >> 16 & 0xFFFF, hash.high64 & 0xFFF,
                     (hash.low64 >> 48 & 0x3FFF) | 0x8000, hash.low64 & 0xFFFFFFFFFFFF);
}

Json manifest_entry(std::string_view name, std::string_view description) {
  return {{"path", fmt::format("{}/{}", kAuthor, name)},
          {"name", name},
          {"author", kAuthor},
          {"description", description}};
}

void write_text(const fs::path& path, std::string_view text) {
  AtomicFile file(path, text.size(), true);
  file.write_at(0, std::as_bytes(std::span(text)));
  file.commit();
}

void make_directories(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (!error) return;
  throw DependencyError({.where = path.string(),
                         .found = error.message(),
                         .expected = "a directory that can be written",
                         .remedy = "check the path and its permissions"});
}

// The file that the manifest's root names, relative to the package.
fs::path model_path(const fs::path& package) {
  const fs::path file = package / "Manifest.json";
  const Json manifest = read_json(file, kMaxManifest);
  const Json* root = find_member(manifest, "rootModelIdentifier");
  const Json* items = find_member(manifest, "itemInfoEntries");
  const Json* item = root != nullptr && root->is_string() && items != nullptr
                         ? find_member(*items, root->get<std::string>())
                         : nullptr;
  const Json* path = item == nullptr ? nullptr : find_member(*item, "path");
  if (path == nullptr || !path->is_string()) fail(file, "no root model", "the path of a model");
  const fs::path relative = path->get<std::string>();
  for (const fs::path& part : relative) {
    if (part == "..") fail(file, "path " + relative.string(), "a path inside the package");
  }
  if (relative.is_absolute()) fail(file, "path " + relative.string(), "a relative path");
  return package / "Data" / relative;
}

}  // namespace

fs::path package_model_path() { return fs::path("Data") / kAuthor / "model.mlmodel"; }
fs::path package_weights_path() { return fs::path("Data") / kAuthor / "weights" / "weight.bin"; }

std::string package_manifest(std::uint64_t content_hash) {
  const std::string model = identifier(content_hash, "model");
  const std::string weights = identifier(content_hash, "weights");
  const Json manifest = {{"fileFormatVersion", "1.0.0"},
                         {"rootModelIdentifier", model},
                         {"itemInfoEntries",
                          {{model, manifest_entry("model.mlmodel", "CoreML Model Specification")},
                           {weights, manifest_entry("weights", "CoreML Model Weights")}}}};
  return manifest.dump(4) + "\n";
}

std::string serialize_model(const coreml::Model& model) {
  const std::size_t size = model.ByteSizeLong();
  if (size > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max())) {
    throw ValidationError({.where = "model.mlmodel",
                           .found = fmt::format("{} bytes", size),
                           .expected = "less than 2 GiB beside the weights",
                           .remedy = {}});
  }
  std::string text;
  google::protobuf::io::StringOutputStream stream(&text);
  google::protobuf::io::CodedOutputStream coded(&stream);
  coded.SetSerializationDeterministic(true);
  model.SerializeWithCachedSizes(&coded);
  coded.Trim();
  return text;
}

void write_package_files(const fs::path& directory, const coreml::Model& model,
                         std::uint64_t weights_hash) {
  const std::string text = serialize_model(model);
  make_directories((directory / package_model_path()).parent_path());
  write_text(directory / package_model_path(), text);
  write_text(directory / "Manifest.json",
             package_manifest(XXH3_64bits_withSeed(text.data(), text.size(), weights_hash)));
}

MlPackage::MlPackage(const fs::path& path) {
  const fs::path file = model_path(path);
  const MappedFile mapped(file);
  const auto bytes = mapped.bytes();
  if (bytes.size() > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max()) ||
      !model_.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    fail(file, fmt::format("{} bytes that are no protobuf message", bytes.size()),
         "a Core ML model");
  }
  const auto& functions = model_.ml_program().functions();
  if (!model_.has_ml_program() || functions.size() != 1 ||
      functions.begin()->second.block_specializations_size() != 1) {
    throw FormatNotSupportedError({.where = file.string(),
                                   .found = "another kind of model",
                                   .expected = "an ML Program of one function",
                                   .remedy = {}});
  }
  function_ = &functions.begin()->second;
  block_ = &function_->block_specializations().begin()->second;
  const fs::path weights = file.parent_path() / "weights" / "weight.bin";
  if (fs::exists(weights)) weights_.emplace(weights);
  bytes_ = bytes.size() + fs::file_size(path / "Manifest.json") +
           (weights_ ? fs::file_size(weights) : 0);
}

bool is_mlpackage(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path / "Manifest.json", ignored) &&
         fs::is_directory(path / "Data", ignored);
}

}  // namespace qwodel
