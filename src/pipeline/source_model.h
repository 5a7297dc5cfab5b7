// A model opened for quantizing: its checkpoint, its weights, and what it is in GGUF terms.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "formats/checkpoint.h"
#include "models/model_spec.h"
#include "plan/file_type.h"
#include "plan/tensor_plan.h"
#include "sources/model_tensor_reader.h"
#include "sources/weights.h"

namespace qwodel {

// Not movable: its parts point at each other.
struct SourceModel {
  // Opens and validates everything before any work. `arch_as` etc. as in ModelOptions.
  SourceModel(const std::filesystem::path& path, const ModelOptions& options);
  SourceModel(const SourceModel&) = delete;
  SourceModel& operator=(const SourceModel&) = delete;

  bool is_gguf() const { return checkpoint->gguf_metadata().has_value(); }

  // The 16-bit type the converter's default picks: that of the first matrix stored in 16 bits, else
  // F16.
  TensorType converter_type() const;

  // Name, shape and type of every tensor before quantization. For a GGUF the types are its own;
  // else `outtype` and F32 where the converter insists on it.
  std::vector<PlanInput> plan_inputs(TensorType outtype) const;

  std::unique_ptr<Checkpoint> checkpoint;
  std::unique_ptr<Weights> weights;
  ModelSpec spec;
  std::vector<ModelTensorReader> readers;  // one per spec.tensors
};

// Names and shapes of all stored tensors as they are read, in the order of the checkpoint.
std::vector<SourceTensor> source_tensors(const Weights& weights);

}  // namespace qwodel
