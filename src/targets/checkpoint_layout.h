// The files of a quantized Hugging Face directory: which tensors, in which shard, at which offset.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "formats/checkpoint.h"
#include "formats/safetensors_writer.h"
#include "io/json_fwd.h"
#include "plan/linear_plan.h"
#include "sources/weights.h"
#include "targets/linear_format.h"

namespace qwodel {

// Where a tensor's bytes go.
struct CheckpointSlot {
  std::size_t shard = 0;
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
};

struct CheckpointShard {
  std::string file;  // "model.safetensors", "model-00001-of-00002.safetensors"
  SafetensorsLayout layout;
};

struct CheckpointLayout {
  std::vector<CheckpointShard> shards;
  std::map<std::string, CheckpointSlot> slots;  // by tensor name
  std::map<std::string, std::vector<std::string>>
      linears;  // module -> its tensors, in pack() order
  std::map<std::string, std::array<std::int64_t, 2>> extents;  // module -> out, in
  std::uint64_t data_bytes = 0;

  // Whether a tensor of the source goes into the artifact as it is.
  bool keeps(const std::string& tensor) const;

  // The value of model.safetensors.index.json; null for one shard.
  Json index() const;
};

// Tensors that are no planned linear keep name, type and shape. In a shard larger elements come
// first, so that every tensor is aligned to its own, as the reference writer sorts them. A module's
// tensors are never split over shards. `max_shard_size` of 0: 5 GB, as transformers has it.
CheckpointLayout lay_out_checkpoint(const Weights& weights, const LinearPlan& plan,
                                    const LinearFormat& format, std::uint64_t max_shard_size);

}  // namespace qwodel
