// Looking at models and artifacts: what is in them, whether they are sound, how two of them differ.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "qwodel/error.h"
#include "qwodel/progress.h"

namespace qwodel {

struct InspectedTensor {
  std::string name;
  std::string type;
  std::vector<std::uint64_t> shape;  // outermost first
  std::uint64_t bytes = 0;
};

struct Inspection {
  std::filesystem::path path;
  std::string format;        // "gguf", "checkpoint"
  std::string architecture;  // GGUF's name or the class in config.json; empty when unknown
  std::uint64_t parameters = 0;
  std::uint64_t bytes = 0;  // of all tensors
  double bits_per_weight = 0;
  std::vector<std::pair<std::string, std::string>> metadata;  // values as text, long ones shortened
  std::vector<InspectedTensor> tensors;
};

// Opens and validates a .gguf or a Hugging Face directory. Throws Error.
Inspection inspect(const std::filesystem::path& path);

struct VerifiedTensor {
  std::string name;
  std::string type;
  std::optional<double> nmse;  // against the source, when there is one
};

struct VerifyReport {
  std::filesystem::path path;
  std::uint64_t bytes = 0;
  std::vector<VerifiedTensor> tensors;
};

struct VerifyOptions {
  std::filesystem::path artifact;
  std::filesystem::path source;  // empty: only the artifact itself is checked
  std::string arch_as;           // as in QuantizeOptions, for the source
  std::string tokenizer_pre;
  int threads = 0;
  ProgressCallback progress;
  const CancelToken* cancel = nullptr;
};

// Checks structure, shapes and that every value decodes to a finite number; with a source, that the
// tensors are those of the source and how far their values are. Throws Error with
// ErrorCode::verification_failed when the artifact is not sound.
VerifyReport verify(const VerifyOptions& options);

struct TensorDifference {
  std::string name;
  std::string what;            // "only in A", "type Q4_K | Q6_K", "shape ...", "values"
  std::optional<double> nmse;  // of B against A when the shapes are the same
};

struct DiffReport {
  std::uint64_t tensors = 0;  // compared
  std::uint64_t same = 0;     // of these, equal byte for byte
  std::vector<TensorDifference> differences;
  std::vector<std::string> metadata;  // "key: value | value", for two GGUF files or packages
};

// Compares two files or directories tensor by tensor. A checkpoint and a GGUF are compared in
// GGUF's names. Throws Error when one cannot be read.
DiffReport diff(const std::filesystem::path& a, const std::filesystem::path& b);

}  // namespace qwodel
