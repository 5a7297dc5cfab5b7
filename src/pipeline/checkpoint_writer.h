// Writes a quantized Hugging Face directory, tensor by tensor in any order, and proves it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "codecs/group_int.h"
#include "formats/checkpoint.h"
#include "io/atomic_directory.h"
#include "io/atomic_file.h"
#include "sources/weights.h"
#include "targets/checkpoint_layout.h"

namespace qwodel {

// write_*() may be called from several threads. Without commit() nothing is left behind.
class CheckpointWriter {
 public:
  // Reserves the disk space of all shards. Everything must outlive it.
  CheckpointWriter(std::filesystem::path path, bool replace, const CheckpointLayout& layout,
                   const LinearFormat& format);

  void write_linear(const std::string& module, const GroupIntMatrix& matrix);

  // A tensor of the checkpoint with other values (a norm that took a scale), in its stored type.
  // Throws QuantizationError for a value that this type cannot hold.
  void write_values(const WeightTensor& tensor, std::span<const float> values);

  // A tensor as it is.
  void copy(const WeightTensor& tensor);

  // Copies every tensor not written yet, the sidecar files of `source` (all but weights and what is
  // written anew), writes config.json with quantization_config, and reads every linear back: what
  // it decodes to must be what write_linear() was given. Then the directory gets its name.
  void commit(const Weights& weights, const Checkpoint& source, const LinearArtifact& artifact);

  std::uint64_t bytes() const { return bytes_; }

 private:
  void write(const std::string& name, std::span<const std::byte> bytes);
  void write_text(const std::string& file, const std::string& text);
  void copy_sidecars(const std::filesystem::path& from);
  void verify() const;

  const CheckpointLayout& layout_;
  const LinearFormat& format_;
  AtomicDirectory directory_;
  std::vector<std::unique_ptr<AtomicFile>> shards_;
  std::mutex mutex_;  // guards the two below
  std::unordered_set<std::string> written_;
  std::unordered_map<std::string, std::uint64_t> decided_;  // module -> hash of its decoded rows
  std::uint64_t bytes_ = 0;
};

}  // namespace qwodel
