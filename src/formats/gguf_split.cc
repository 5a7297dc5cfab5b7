// Split GGUF models: PREFIX-00001-of-0000N.gguf, written by llama-gguf-split and converters. The
// first shard holds the metadata; all hold split.no (from 0), split.count and split.tensors.count.
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <string>
#include <string_view>
#include <system_error>

#include "formats/gguf_reader.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kNumberKey = "split.no";
constexpr std::string_view kCountKey = "split.count";
constexpr std::string_view kTensorsKey = "split.tensors.count";

[[noreturn]] void fail(const fs::path& path, std::string found, std::string expected,
                       std::string remedy) {
  throw ValidationError({.where = path.string(),
                         .found = std::move(found),
                         .expected = std::move(expected),
                         .remedy = std::move(remedy)});
}

std::uint64_t split_value(const GgufMetadata& metadata, std::string_view key,
                          std::uint64_t otherwise) {
  return metadata.find_unsigned(key).value_or(otherwise);
}

std::string shard_suffix(std::uint64_t number, std::uint64_t count) {
  return fmt::format("-{:05}-of-{:05}.gguf", number + 1, count);
}

// The name without the part that counts the shards.
std::string split_prefix(const fs::path& path, std::uint64_t number, std::uint64_t count) {
  const std::string name = path.filename().string();
  const std::string suffix = shard_suffix(number, count);
  if (!name.ends_with(suffix)) {
    fail(path, fmt::format("shard {} of {} under another name", number + 1, count),
         fmt::format("a name that ends in {}", suffix), "give the shards their original names");
  }
  return name.substr(0, name.size() - suffix.size());
}

void add_shard(GgufModel& model, const fs::path& path, std::uint64_t number, std::uint64_t count) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) {
    fail(path, "no such file", fmt::format("shard {} of {}", number + 1, count),
         "download the missing shard");
  }
  GgufFile file = read_gguf(model.files.emplace_back(path));
  if (split_value(file.metadata, kNumberKey, 0) != number ||
      split_value(file.metadata, kCountKey, 0) != count) {
    fail(
        path,
        fmt::format("shard {} of {} by its metadata", split_value(file.metadata, kNumberKey, 0) + 1,
                    split_value(file.metadata, kCountKey, 0)),
        fmt::format("shard {} of {} by its name", number + 1, count),
        "give the shards their original names");
  }
  if (number == 0) model.metadata = std::move(file.metadata);
  std::ranges::move(file.tensors, std::back_inserter(model.tensors));
}

void check_tensor_count(const GgufModel& model, const fs::path& first) {
  const auto expected = model.metadata.find_unsigned(kTensorsKey);
  if (expected && *expected != model.tensors.size()) {
    fail(first, fmt::format("{} tensors in all shards", model.tensors.size()),
         fmt::format("{}, as {} says", *expected, kTensorsKey), "download the shards again");
  }
}

}  // namespace

GgufModel read_gguf_model(const fs::path& path) {
  GgufModel model;
  GgufFile file = read_gguf(model.files.emplace_back(path));
  const std::uint64_t count = split_value(file.metadata, kCountKey, 1);
  const std::uint64_t number = split_value(file.metadata, kNumberKey, 0);
  if (count <= 1) {
    model.metadata = std::move(file.metadata);
    model.tensors = std::move(file.tensors);
  } else {
    const std::string prefix = split_prefix(path, number, count);
    model.files.clear();
    for (std::uint64_t i = 0; i < count; ++i) {
      add_shard(model, path.parent_path() / (prefix + shard_suffix(i, count)), i, count);
    }
    check_tensor_count(model, path);
  }
  for (const std::string_view key : {kNumberKey, kCountKey, kTensorsKey}) model.metadata.erase(key);
  return model;
}

}  // namespace qwodel
