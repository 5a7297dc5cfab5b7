// AWQ's literal loss: what rounding the linears of a group changes in what their layer gives, on
// some tokens of the calibration text.
//
// AutoAWQ (quantizer.py) compares what the attention or the feed-forward gives, this the whole
// layer; methods/awq.h, as the paper, what the group's linears give.
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

// Nothing when the options do not ask for this loss. Throws ValidationError for a text that cannot
// be read.
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
