// AWQ's literal loss: what rounding the linears of a group changes in what their layer gives, on
// some tokens of the calibration text.
//
// Lin et al., "AWQ: Activation-aware Weight Quantization" (arXiv 2306.00978), section 3.2, measures
// outputs of a block; methods/awq.h those of the group's linears, on all tokens.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "pipeline/linear_quantizer.h"
#include "pipeline/one_layer.h"
#include "sources/replaceable_weights.h"

namespace qwodel {

// Samples of the calibration text that layers run on: kBlockSamples of them, the first
// kBlockTokens tokens of each.
inline constexpr std::size_t kBlockSamples = 8;
inline constexpr std::size_t kBlockTokens = 128;

// Nothing when the options do not ask for this loss. Throws Error (usage) when they name no text,
// ValidationError for one that cannot be read.
std::optional<TokenSequences> block_loss_tokens(const QuantizeOptions& options,
                                                const SourceModel& model, const Graph& graph);

class BlockLoss {
 public:
  // Both outlive it.
  BlockLoss(const LinearTask& task, const TokenSequences& tokens);

  // Runs the layers up to this stage of the graph as they are. REQUIRES: stages come in order.
  void enter(std::size_t stage);

  // The squared difference in what the layer gives when linears of the plan have other values
  // [out_features, in_features], relative to what it adds to the hidden state. Infinite when that
  // is not finite any more. Throws Error (interrupted).
  double measure(std::span<const std::size_t> linears, std::span<const std::vector<float>> values);

 private:
  double loss_of_layer() const;

  LinearTask task_;
  const TokenSequences& tokens_;
  ReplaceableWeights weights_;
  OneLayer layer_;
  std::size_t stage_ = 0;
  HiddenRows input_;   // of the stage
  HiddenRows output_;  // with the weights as they are
};

}  // namespace qwodel
