#include "targets/gguf/gguf_artifact.h"

#include <fmt/format.h>

#include <limits>

#include "qwodel/error.h"

namespace qwodel {
namespace {

constexpr std::uint32_t kQuantizationVersion = 2;  // GGML_QNT_VERSION
constexpr std::size_t kMaxOverrideText = 127;      // llama_model_kv_override::val_str

std::vector<std::vector<std::size_t>> split_tensors(const TensorPlan& plan,
                                                    std::uint64_t max_shard_size) {
  std::vector<std::vector<std::size_t>> shards(1);
  std::uint64_t used = 0;
  for (std::size_t i = 0; i < plan.tensors.size(); ++i) {
    const std::uint64_t bytes = plan.tensors[i].bytes;
    if (max_shard_size > 0 && !shards.back().empty() && used + bytes > max_shard_size) {
      shards.emplace_back();
      used = 0;
    }
    shards.back().push_back(i);
    used += bytes;
  }
  return shards;
}

GgufMetadata shard_metadata(const GgufMetadata& metadata, std::size_t shard, std::size_t shards,
                            std::size_t tensors) {
  GgufMetadata result = shard == 0 ? metadata : GgufMetadata();
  if (shards == 1) return result;
  result.set("split.no", GgufValue(static_cast<std::uint16_t>(shard)));
  result.set("split.count", GgufValue(static_cast<std::uint16_t>(shards)));
  result.set("split.tensors.count", GgufValue(static_cast<std::int32_t>(tensors)));
  return result;
}

std::filesystem::path shard_path(const std::filesystem::path& path, std::size_t shard,
                                 std::size_t shards) {
  if (shards == 1) return path;
  const std::string stem =
      path.extension() == ".gguf" ? path.stem().string() : path.filename().string();
  return path.parent_path() / fmt::format("{}-{:05}-of-{:05}.gguf", stem, shard + 1, shards);
}

}  // namespace

GgufMetadata artifact_metadata(GgufMetadata metadata, FileType file_type,
                               const ImportanceMatrix* importance) {
  // llama-quantize sets these anew, which moves them behind the keys it copied.
  metadata.erase("general.quantization_version");
  metadata.erase("general.file_type");
  metadata.set_u32("general.quantization_version", kQuantizationVersion);
  metadata.set_u32("general.file_type", static_cast<std::uint32_t>(file_type));
  if (importance == nullptr) return metadata;
  metadata.set_string("quantize.imatrix.file", importance->file.substr(0, kMaxOverrideText));
  if (!importance->datasets.empty()) {
    metadata.set_string("quantize.imatrix.dataset",
                        importance->datasets.front().substr(0, kMaxOverrideText));
  }
  metadata.set_u32("quantize.imatrix.entries_count", importance->entries.size());
  if (importance->chunks > 0) {
    metadata.set_u32("quantize.imatrix.chunks_count", importance->chunks);
  }
  return metadata;
}

std::vector<GgufShard> lay_out_files(const GgufMetadata& metadata,
                                     const std::vector<PlanInput>& inputs, const TensorPlan& plan,
                                     const std::filesystem::path& path,
                                     std::uint64_t max_shard_size) {
  auto shards = split_tensors(plan, max_shard_size);
  if (shards.size() > std::numeric_limits<std::uint16_t>::max()) {
    throw Error(ErrorCode::usage, {.where = "--max-shard-size",
                                   .found = fmt::format("{} shards", shards.size()),
                                   .expected = "at most 65535",
                                   .remedy = "choose a larger size"});
  }
  std::vector<GgufShard> files;
  for (std::size_t shard = 0; shard < shards.size(); ++shard) {
    std::vector<GgufTensor> tensors;
    for (const std::size_t index : shards[shard]) {
      const PlannedTensor& planned = plan.tensors[index];
      const PlanInput& input = inputs[planned.input];
      tensors.push_back({input.name, planned.type, input.shape});
    }
    const auto keys = shard_metadata(metadata, shard, shards.size(), plan.tensors.size());
    files.push_back({shard_path(path, shard, shards.size()), std::move(shards[shard]),
                     layout_gguf(keys, tensors)});
  }
  return files;
}

}  // namespace qwodel
