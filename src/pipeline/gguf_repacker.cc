#include "pipeline/gguf_repacker.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "codecs/exact_block.h"
#include "formats/tensor_info.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

constexpr std::size_t kBlock = 32;

const char* text_of(ExactFit fit) {
  if (fit == ExactFit::zero_point) {
    return "values whose zero point it cannot hold (zero point times scale is no half)";
  }
  if (fit == ExactFit::scale) return "values whose scale is no half";
  return "values of more levels than it has";
}

}  // namespace

GgufRepacker::GgufRepacker(const std::vector<PlanInput>& inputs, const TensorPlan& plan,
                           const std::vector<ModelTensorReader>& readers)
    : inputs_(inputs), plan_(plan), readers_(readers) {
  bool any = false;
  for (const PlannedTensor& tensor : plan.tensors) {
    if (!repacks(tensor, readers[tensor.input])) continue;
    any = true;
    if (has_exact_blocks(tensor.type)) continue;
    throw FormatNotSupportedError(
        {.where = fmt::format("tensor {}", inputs[tensor.input].name),
         .found =
             fmt::format("type {} for weights that are quantized already", info(tensor.type).name),
         .expected = "Q4_0, Q4_1, Q5_0 or Q5_1, which can hold them as they are",
         .remedy = "use gguf:Q4_0, --tensor-type, or leave --method repack out"});
  }
  if (any) return;
  throw FormatNotSupportedError({.where = "--method repack",
                                 .found = "no weights that are quantized already",
                                 .expected = "an AWQ, GPTQ or compressed-tensors directory",
                                 .remedy = "leave --method repack out"});
}

bool GgufRepacker::repacks(const PlannedTensor& planned, const ModelTensorReader& reader) {
  return reader.was_quantized() && planned.quantized;
}

bool GgufRepacker::encodes(const Tile& tile) const {
  const PlannedTensor& planned = plan_.tensors[tile.tensor];
  return repacks(planned, readers_[planned.input]);
}

void GgufRepacker::encode(const Tile& tile, ConstMatrixView values, std::byte* out) const {
  const PlannedTensor& planned = plan_.tensors[tile.tensor];
  for (std::size_t r = 0; r < values.rows; ++r) {
    for (std::size_t column = 0; column < values.cols; column += kBlock) {
      const ExactFit fit = encode_exactly(planned.type, values.row(r).subspan(column, kBlock), out);
      out += info(planned.type).block_bytes;
      if (fit == ExactFit::exact) continue;
      throw FormatNotSupportedError(
          {.where = fmt::format("tensor {}, row {}, column {}", inputs_[planned.input].name,
                                tile.first_row + r, column),
           .found = text_of(fit),
           .expected =
               fmt::format("32 values that a block of {} holds exactly", info(planned.type).name),
           .remedy = fit == ExactFit::zero_point && planned.type == TensorType::q4_0
                         ? "try gguf:Q4_1, or leave --method repack out, which rounds again"
                         : "leave --method repack out, which rounds again"});
    }
  }
}

}  // namespace qwodel
