// Writes a quantized Hugging Face directory, tensor by tensor in any order, and proves it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "codecs/group_int.h"
#include "formats/checkpoint.h"
#include "io/atomic_directory.h"
#include "io/positioned_file.h"
#include "pipeline/linear_journal.h"
#include "sources/weights.h"
#include "targets/checkpoint_layout.h"

namespace qwodel {

struct CheckpointWriterOptions {
  bool replace = false;
  bool resume = false;  // go on with what a run of the same key left
  std::string key;      // of everything that the bytes depend on
};

// write_*() may be called from several threads. Without commit() or keep() nothing is left behind,
// except by a killed process: its work is taken up by the next one that is to resume, and else
// removed.
class CheckpointWriter {
 public:
  // Reserves the disk space of all shards. Everything must outlive it. Throws ValidationError when
  // there is work of another key to resume.
  CheckpointWriter(std::filesystem::path path, const CheckpointLayout& layout,
                   const LinearFormat& format, const Checkpoint& source,
                   const LinearArtifact& artifact, const CheckpointWriterOptions& options);

  // `note` is kept for a run that resumes.
  void write_linear(const std::string& module, const GroupIntMatrix& matrix, const Json& note);

  // The note of a linear that an earlier run wrote; null when none did.
  const Json* finished(const std::string& module) const;

  // Its codes. REQUIRES: finished(module).
  GroupIntMatrix read_finished(const std::string& module) const;

  // Leaves the work for another run to go on with.
  void keep() { directory_.keep(); }

  // A tensor of the checkpoint with other values (a norm that took a scale), in its stored type.
  // Throws QuantizationError for a value that this type cannot hold.
  void write_values(const WeightTensor& tensor, std::span<const float> values);

  // A tensor as it is.
  void copy(const WeightTensor& tensor);

  // Copies every tensor not written yet, the sidecar files of the source (all but weights and what
  // is written anew), writes config.json with quantization_config, and reads every linear back:
  // what it decodes to must be what write_linear() was given. Then the directory gets its name.
  void commit(const Weights& weights, const LinearArtifact& artifact);

  std::uint64_t bytes() const { return bytes_; }

 private:
  void open_shards();
  void take_up();
  void write_config(const LinearArtifact& artifact);
  void write(const std::string& name, std::span<const std::byte> bytes);
  void write_file(const std::string& name, std::span<const std::byte> bytes);
  void copy_sidecars(const std::filesystem::path& from);
  void verify() const;

  const CheckpointLayout& layout_;
  const LinearFormat& format_;
  const Checkpoint& source_;
  AtomicDirectory directory_;
  LinearJournal journal_;
  std::vector<PositionedFile> shards_;
  std::unique_ptr<Checkpoint> partial_;  // of the work that is taken up
  std::unique_ptr<Weights> partial_weights_;
  std::map<std::string, Json> finished_;
  std::mutex mutex_;  // guards the journal and the two below
  std::unordered_set<std::string> written_;
  std::unordered_map<std::string, std::uint64_t> decided_;  // module -> hash of its decoded rows
  std::uint64_t bytes_ = 0;
};

}  // namespace qwodel
