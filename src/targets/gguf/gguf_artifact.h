// The GGUF target: metadata of the artifact, its files and where every tensor goes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "calibrate/importance_matrix.h"
#include "formats/gguf_value.h"
#include "formats/gguf_writer.h"
#include "plan/file_type.h"
#include "plan/tensor_plan.h"

namespace qwodel {

// What llama-quantize makes of the model's metadata: quantization_version, file_type, and the
// quantize.imatrix.* keys when there was importance (llama.cpp, tools/quantize/quantize.cpp).
GgufMetadata artifact_metadata(GgufMetadata metadata, FileType file_type,
                               const ImportanceMatrix* importance);

// One file of the artifact.
struct GgufShard {
  std::filesystem::path path;
  std::vector<std::size_t> tensors;  // indices into TensorPlan::tensors, in file order
  GgufLayout layout;
};

// The files for a plan. `max_shard_size` of 0 means one file at `path`; else shards of at most that
// many bytes of data, named PREFIX-00001-of-0000N.gguf, the first of which holds the metadata.
std::vector<GgufShard> lay_out_files(const GgufMetadata& metadata,
                                     const std::vector<PlanInput>& inputs, const TensorPlan& plan,
                                     const std::filesystem::path& path,
                                     std::uint64_t max_shard_size);

}  // namespace qwodel
