// One layer of a model, run on hidden states that are there already.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include "graph/executor.h"
#include "graph/graph.h"
#include "graph/graph_weights.h"

namespace qwodel {

// Of all tokens of some sequences, [tokens, hidden_size].
using HiddenRows = std::vector<float>;

HiddenRows copy_rows(ConstMatrixView rows);

class OneLayer {
 public:
  // Everything outlives it; weights may change between runs.
  OneLayer(const Graph& graph, const GraphWeights& weights, ExecutorOptions options)
      : graph_(graph), weights_(weights), options_(std::move(options)) {}

  // What the first stage gives: the input of the first layer.
  HiddenRows embed(const TokenSequences& tokens) const;

  // What a layer (a stage but the first) gives for what the stage before it gave. Throws
  // ValidationError for activations that are not finite, Error (interrupted).
  HiddenRows run(std::size_t stage, const TokenSequences& tokens, const HiddenRows& input) const;

 private:
  Graph part(std::size_t stage) const;

  const Graph& graph_;
  const GraphWeights& weights_;
  ExecutorOptions options_;
};

}  // namespace qwodel
