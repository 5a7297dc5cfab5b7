// Weights of a checkpoint that is quantized already, in blocks of a GGUF that hold them as they
// are: nothing is rounded.
#pragma once

#include <vector>

#include "pipeline/tile_encoder.h"
#include "plan/tensor_plan.h"
#include "sources/model_tensor_reader.h"

namespace qwodel {

class GgufRepacker final : public RowEncoder {
 public:
  // Everything must outlive it. Throws FormatNotSupportedError when no tensor is quantized already,
  // or one of these is planned in a type that holds other blocks.
  GgufRepacker(const std::vector<PlanInput>& inputs, const TensorPlan& plan,
               const std::vector<ModelTensorReader>& readers);

  // Whether a tensor of the plan is repacked; others are quantized as ever.
  static bool repacks(const PlannedTensor& planned, const ModelTensorReader& reader);

  bool encodes(const Tile& tile) const override;

  // Throws FormatNotSupportedError that names the first block which the type cannot hold.
  void encode(const Tile& tile, ConstMatrixView values, std::byte* out) const override;

 private:
  const std::vector<PlanInput>& inputs_;
  const TensorPlan& plan_;
  const std::vector<ModelTensorReader>& readers_;
};

}  // namespace qwodel
