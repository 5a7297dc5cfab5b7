// The distinct inputs of a graph's linears: what statistics are collected of.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "graph/graph.h"

namespace qwodel {

enum class InputParts : std::uint8_t {
  whole,    // one matrix
  experts,  // an ExpertLinearOp: rows of each expert by themselves
  heads,    // a HeadLinearOp: columns of each head by themselves
};

// A value that one or more linears of one kind read.
struct LinearInput {
  std::size_t stage = 0;
  std::size_t op = 0;  // the first of them, as ActivationObserver counts
  InputParts kind = InputParts::whole;
  std::uint64_t width = 0;        // columns of one part
  std::uint64_t parts = 1;        // experts or heads
  std::vector<WeightId> weights;  // of all of them, in the order of the graph
};

// In the order of the graph; the last is that of the vocabulary's linear.
std::vector<LinearInput> linear_inputs(const Graph& graph);

}  // namespace qwodel
