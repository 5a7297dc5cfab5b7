#include "graph/experts.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <type_traits>

#include "graph/aligned_buffer.h"
#include "graph/matmul.h"
#include "kernels/activations.h"
#include "kernels/row_ops.h"

namespace qwodel {
namespace {

constexpr std::size_t kTileRows = 256;
// Decoded weights of the experts that are in memory together.
constexpr std::uint64_t kGroupBytes = std::uint64_t{256} << 20;
constexpr float kNever = -std::numeric_limits<float>::infinity();

// Indices of the `count` largest, best first, the first of equals first.
std::vector<std::uint32_t> best_of(std::span<const float> scores, std::size_t count) {
  std::vector<std::uint32_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0u);
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(count), order.end(),
                    [&](std::uint32_t a, std::uint32_t b) {
                      return scores[a] != scores[b] ? scores[a] > scores[b] : a < b;
                    });
  order.resize(count);
  return order;
}

void softmax(std::span<float> values) {
  const float sum =
      exp_minus(values.data(), values.size(), largest(values.data(), values.size()), values.data());
  scale(values.data(), values.size(), 1.0f / sum, values.data());
}

// Experts outside the best groups can not be chosen.
void exclude_groups(const RouteOp& op, std::span<float> choice) {
  const std::size_t size = choice.size() / static_cast<std::size_t>(op.groups);
  std::vector<float> scores;
  for (std::size_t g = 0; g < op.groups; ++g) {
    const auto group = choice.subspan(g * size, size);
    const auto best = best_of(group, op.groups_by_top_two ? std::min<std::size_t>(2, size) : 1);
    float score = 0;
    for (const std::uint32_t i : best) score += group[i];
    scores.push_back(score);
  }
  std::vector<bool> stays(scores.size(), false);
  for (const std::uint32_t g : best_of(scores, static_cast<std::size_t>(op.top_groups))) {
    stays[g] = true;
  }
  for (std::size_t i = 0; i < choice.size(); ++i) {
    if (!stays[i / size]) choice[i] = kNever;
  }
}

void route_token(const RouteOp& op, std::span<const float> logits,
                 std::span<const float> selection_bias, std::span<std::uint32_t> experts,
                 std::span<float> weights) {
  std::vector<float> scores(logits.begin(), logits.end());
  if (op.scoring == RouterScoring::softmax) softmax(scores);
  if (op.scoring == RouterScoring::sigmoid) sigmoid(scores.data(), scores.size(), scores.data());
  std::vector<float> choice = scores;
  if (!selection_bias.empty()) {
    add(choice.data(), selection_bias.data(), choice.size(), choice.data());
  }
  if (op.groups > 1) exclude_groups(op, choice);
  std::ranges::copy(best_of(choice, experts.size()), experts.begin());
  for (std::size_t j = 0; j < experts.size(); ++j) weights[j] = scores[experts[j]];
  if (op.scoring == RouterScoring::softmax_top_k) softmax(weights);
  if (op.normalize) {
    const float sum = std::accumulate(weights.begin(), weights.end(), 0.0f);
    for (float& weight : weights) weight /= sum;
  }
  for (float& weight : weights) weight *= op.scale;
}

void group_by_expert(std::size_t experts, Routing& routing) {
  routing.begins.assign(experts + 1, 0);
  for (const std::uint32_t expert : routing.experts) ++routing.begins[expert + 1];
  std::partial_sum(routing.begins.begin(), routing.begins.end(), routing.begins.begin());
  std::vector<std::size_t> next(routing.begins.begin(), routing.begins.end() - 1);
  routing.order.resize(routing.experts.size());
  for (std::size_t row = 0; row < routing.experts.size(); ++row) {
    routing.order[next[routing.experts[row]]++] = row;
  }
}

struct ExpertTile {
  std::size_t expert;
  std::size_t handle;
  std::size_t first;  // among the expert's rows
  std::size_t count;
};

// Input row of a routed row: tokens are repeated for each of their experts.
std::size_t input_row(const Routing& routing, std::size_t rows, std::size_t routed) {
  return rows == routing.experts.size() ? routed : routed / routing.top_k;
}

// Rows of a product are filled up to a multiple of this: its code is made per number of rows.
constexpr std::size_t kRowsMultiple = 32;

// `in` is of the weight's type, or float.
template <class T>
void run_tile(const Routing& routing, const ExpertTile& tile, const PackedMatrix& weight,
              Matrix<const T> in, std::span<const float> bias, MatrixView out) {
  thread_local AlignedBuffer<float> rows;
  thread_local AlignedBuffer<std::uint16_t> converted;
  thread_local AlignedBuffer<float> products;
  const auto routed = routing.rows_of(tile.expert).subspan(tile.first, tile.count);
  const std::size_t height = (tile.count + kRowsMultiple - 1) / kRowsMultiple * kRowsMultiple;
  products.reserve(height * out.cols);
  const MatrixView product(products.data(), height, out.cols);
  const auto gather = [&](auto* to) {
    for (std::size_t i = 0; i < tile.count; ++i) {
      copy_row(in.row(input_row(routing, in.rows, routed[i])), to + i * in.cols);
    }
    std::fill(to + tile.count * in.cols, to + height * in.cols,
              std::remove_cvref_t<decltype(*to)>{});
  };
  if (weight.is_bf16()) {
    converted.reserve(height * in.cols);
    gather(converted.data());
    multiply_transposed(Matrix<const std::uint16_t>(converted.data(), height, in.cols), weight, 0,
                        product);
  } else if constexpr (std::is_same_v<T, float>) {
    rows.reserve(height * in.cols);
    gather(rows.data());
    multiply_transposed(Matrix<const float>(rows.data(), height, in.cols), weight, 0, product);
  }
  for (std::size_t i = 0; i < tile.count; ++i) {
    float* to = out.row(routed[i]).data();
    std::memcpy(to, product.row(i).data(), out.cols * sizeof(float));
    if (!bias.empty()) add(to, bias.data() + tile.expert * out.cols, out.cols, to);
  }
}

// Calls visit(expert, rows) for every expert that has rows, with copies of its input's rows.
template <class T>
void visit_expert_rows(const Routing& routing, Matrix<const T> in,
                       const std::function<void(std::size_t, const FactorRows&)>& visit) {
  std::vector<T> rows;
  for (std::size_t expert = 0; expert + 1 < routing.begins.size(); ++expert) {
    const auto routed = routing.rows_of(expert);
    if (routed.empty()) continue;
    rows.clear();
    for (const std::size_t row : routed) {
      const auto values = in.row(input_row(routing, in.rows, row));
      rows.insert(rows.end(), values.begin(), values.end());
    }
    visit(expert, Matrix<const T>(rows.data(), routed.size(), in.cols));
  }
}

}  // namespace

Routing route(const RouteOp& op, ConstMatrixView logits, std::span<const float> selection_bias,
              const TaskThreads& threads) {
  Routing routing;
  routing.top_k = static_cast<std::size_t>(op.top_k);
  routing.experts.resize(logits.rows * routing.top_k);
  routing.weights.resize(logits.rows * routing.top_k);
  threads.run((logits.rows + kTileRows - 1) / kTileRows, [&](std::size_t tile) {
    const std::size_t end = std::min(logits.rows, (tile + 1) * kTileRows);
    for (std::size_t t = tile * kTileRows; t < end; ++t) {
      route_token(op, logits.row(t), selection_bias,
                  std::span(routing.experts).subspan(t * routing.top_k, routing.top_k),
                  std::span(routing.weights).subspan(t * routing.top_k, routing.top_k));
    }
  });
  group_by_expert(static_cast<std::size_t>(op.experts), routing);
  return routing;
}

void expert_linear(const ExpertLinearOp& op, const Routing& routing, const FactorRows& in,
                   MatrixView out, WeightCache& weights, const Graph& graph,
                   const TaskThreads& threads) {
  const std::uint64_t height = graph.weights[op.weight].shape[1];
  const std::size_t experts = routing.begins.size() - 1;
  const auto bias = weights.vector(op.bias);
  for (std::size_t expert = 0; expert < experts;) {
    std::vector<WeightRows> parts;
    std::vector<ExpertTile> tiles;
    std::uint64_t bytes = 0;
    for (; expert < experts && (parts.empty() || bytes < kGroupBytes); ++expert) {
      const std::size_t rows = routing.rows_of(expert).size();
      if (rows == 0) continue;
      for (std::size_t first = 0; first < rows; first += kTileRows) {
        tiles.push_back({expert, parts.size(), first, std::min(kTileRows, rows - first)});
      }
      parts.push_back({op.weight, expert * height, height});
      bytes += weights.decoded_bytes(parts.back());
    }
    const auto handles = weights.load(parts);
    threads.run(tiles.size(), [&](std::size_t i) {
      const PackedMatrix& weight = handles[tiles[i].handle]->matrices.front();
      std::visit([&](const auto& rows) { run_tile(routing, tiles[i], weight, rows, bias, out); },
                 in);
    });
  }
}

void visit_linear_rows(const Graph& graph, const Op& op, const FactorRows& rows,
                       const std::map<ValueId, Routing>& routings,
                       const std::function<void(std::size_t, const FactorRows&)>& visit) {
  if (std::holds_alternative<ExpertLinearOp>(op.kind)) {
    std::visit([&](const auto& in) { visit_expert_rows(routings.at(op.inputs[1]), in, visit); },
               rows);
  } else if (const auto* heads = std::get_if<HeadLinearOp>(&op.kind)) {
    const auto& shape = graph.weights[heads->weight].shape;
    const auto width = static_cast<std::size_t>(shape[2]);
    for (std::size_t h = 0; h < shape[0]; ++h) {
      std::visit([&](const auto& in) { visit(h, in.col_range(h * width, width)); }, rows);
    }
  } else {
    visit(0, rows);
  }
}

void combine(const Routing& routing, ConstMatrixView in, MatrixView out,
             const TaskThreads& threads) {
  threads.run((out.rows + kTileRows - 1) / kTileRows, [&](std::size_t tile) {
    const std::size_t end = std::min(out.rows, (tile + 1) * kTileRows);
    for (std::size_t t = tile * kTileRows; t < end; ++t) {
      std::ranges::fill(out.row(t), 0.0f);
      for (std::size_t j = 0; j < routing.top_k; ++j) {
        const std::size_t row = t * routing.top_k + j;
        add_scaled(in.row(row).data(), in.cols, routing.weights[row], out.row(t).data());
      }
    }
  });
}

}  // namespace qwodel
