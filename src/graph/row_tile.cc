#include "graph/row_tile.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "graph/matmul.h"
#include "kernels/activations.h"
#include "kernels/convert.h"
#include "kernels/row_ops.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

using RowFunction = void (*)(const float* in, std::size_t count, float* out);

RowFunction function_of(ActivationKind kind) {
  switch (kind) {
    case ActivationKind::silu:
      return silu;
    case ActivationKind::gelu_tanh:
      return gelu_tanh;
    case ActivationKind::gelu_erf:
      return gelu_erf;
    case ActivationKind::relu:
      return relu;
    case ActivationKind::sigmoid:
      return sigmoid;
    case ActivationKind::tanh:
      return hyperbolic_tangent;
  }
  return nullptr;
}

const float* data_or_null(std::span<const float> values) {
  return values.empty() ? nullptr : values.data();
}

// Runs one operation on a tile; one overload per kind.
class TileRunner {
 public:
  TileRunner(const TileContext& context, std::size_t at, RowTile& tile)
      : context_(context),
        op_(context.stage->ops[at]),
        matrix_(context.matrices.empty() ? nullptr : context.matrices[at]),
        tile_(tile),
        out_(tile.values[op_.output]) {}

  void operator()(const EmbeddingOp& embedding) const {
    for (std::size_t i = 0; i < out_.rows; ++i) {
      const std::uint32_t token = context_.batch->tokens[tile_.first + i];
      context_.weights->read(embedding.weight, token * std::uint64_t{out_.cols}, out_.row(i));
    }
  }

  void operator()(const PositionEmbeddingOp& table) const {
    const std::uint64_t positions = context_.graph->weights[table.weight].shape.front();
    const auto all = context_.weights->vector(table.weight);
    for (std::size_t i = 0; i < out_.rows; ++i) {
      const std::size_t row = tile_.first + i;
      const SequenceRows& sequence = context_.batch->sequence_of(row);
      const std::uint64_t position = sequence.past + (row - sequence.first) + table.offset;
      if (position >= positions) {
        throw ValidationError({.where = "tokens",
                               .found = fmt::format("a sequence of {}", sequence.length()),
                               .expected = fmt::format("at most {} positions, which the model has",
                                                       positions - table.offset),
                               .remedy = "use shorter sequences"});
      }
      add(input(0).row(i).data(), all.data() + position * out_.cols, out_.cols, out_.row(i).data());
    }
  }

  void operator()(const SegmentEmbeddingOp& table) const {
    const auto all = context_.weights->vector(table.weight);
    for (std::size_t i = 0; i < out_.rows; ++i) {
      add(input(0).row(i).data(), all.data(), out_.cols, out_.row(i).data());
    }
  }

  void operator()(const LinearOp& linear) {
    if (context_.idle_threads == nullptr) {
      multiply_input(0, out_);
    } else {
      multiply_in_parts();
    }
    add_bias(linear.bias, out_);
  }

  void operator()(const HeadLinearOp& heads) {
    const auto& shape = context_.graph->weights[heads.weight].shape;
    const auto count = static_cast<std::size_t>(shape[0]);
    const auto width = static_cast<std::size_t>(shape[1]);
    for (std::size_t h = 0; h < count; ++h) multiply_head(h, width);
  }

  void operator()(const NormOp& norm) const {
    const auto weight = context_.weights->vector(norm.weight);
    const auto bias = context_.weights->vector(norm.bias);
    const auto group = norm.group == 0 ? out_.cols : static_cast<std::size_t>(norm.group);
    const auto normalize = norm.kind == NormKind::rms ? rms_norm : layer_norm;
    for (std::size_t i = 0; i < out_.rows; ++i) {
      for (std::size_t first = 0; first < out_.cols; first += group) {
        // A weight as wide as the row goes along with the groups, a shorter one is shared by them.
        const auto part = [&](std::span<const float> values) -> const float* {
          if (values.empty()) return nullptr;
          return values.data() + (values.size() > group ? first : 0);
        };
        normalize(input(0).row(i).data() + first, group, norm.epsilon, part(weight), part(bias),
                  out_.row(i).data() + first);
      }
    }
  }

  void operator()(const RopeOp& rope) const {
    const auto head_dim = static_cast<std::size_t>(rope.head_dim);
    const auto first = static_cast<std::size_t>(rope.first);
    const auto rotate = rope.layout == RopeLayout::halves ? rotate_halves : rotate_interleaved;
    std::shared_ptr<const RopeTable> table;
    std::uint64_t length = 0;
    for (std::size_t i = 0; i < out_.rows; ++i) {
      const std::size_t row = tile_.first + i;
      const SequenceRows& sequence = context_.batch->sequence_of(row);
      if (sequence.length() != length) {
        length = sequence.length();
        table = context_.ropes->find(rope, length);
      }
      const auto position = static_cast<std::size_t>(sequence.past + (row - sequence.first));
      const float* in = input(0).row(i).data();
      float* out = out_.row(i).data();
      if (in != out) std::memcpy(out, in, out_.cols * sizeof(float));
      for (std::size_t head = first; head < out_.cols; head += head_dim) {
        rotate(out + head, table->pairs, table->cosines_at(position), table->sines_at(position),
               out + head);
      }
    }
  }

  void operator()(const ActivationOp& activation) const {
    map_rows([f = function_of(activation.kind)](const float* in, std::size_t count, float* out) {
      f(in, count, out);
    });
  }

  void operator()(const AddOp&) const {
    if (input(1).cols == out_.cols) {
      combine_rows(add);
    } else {
      for (std::size_t i = 0; i < out_.rows; ++i) {
        add_scalar(input(0).row(i).data(), out_.cols, input(1).row(i)[0], out_.row(i).data());
      }
    }
  }

  void operator()(const MulOp&) const {
    if (input(1).cols == out_.cols) {
      combine_rows([](const float* a, const float* b, std::size_t count, float* out) {
        multiply(a, b, count, out);
      });
    } else {
      for (std::size_t i = 0; i < out_.rows; ++i) {
        scale(input(0).row(i).data(), out_.cols, input(1).row(i)[0], out_.row(i).data());
      }
    }
  }

  void operator()(const ScaleOp& op) const {
    map_rows(
        [&](const float* in, std::size_t count, float* out) { scale(in, count, op.factor, out); });
  }

  void operator()(const SoftcapOp& op) const {
    map_rows(
        [&](const float* in, std::size_t count, float* out) { softcap(in, count, op.cap, out); });
  }

  void operator()(const ClampOp& op) const {
    map_rows(
        [&](const float* in, std::size_t count, float* out) { clamp(in, count, op.limit, out); });
  }

  void operator()(const SliceOp& slice) const {
    const auto groups = static_cast<std::size_t>(slice.groups);
    const std::size_t part = input(0).cols / groups;
    const auto count = static_cast<std::size_t>(slice.count);
    for (std::size_t i = 0; i < out_.rows; ++i) {
      for (std::size_t g = 0; g < groups; ++g) {
        std::memcpy(out_.row(i).data() + g * count,
                    input(0).row(i).data() + g * part + static_cast<std::size_t>(slice.first),
                    count * sizeof(float));
      }
    }
  }

  void operator()(const ConcatOp& concat) const {
    const auto groups = static_cast<std::size_t>(concat.groups);
    const std::size_t a = input(0).cols / groups;
    const std::size_t b = input(1).cols / groups;
    for (std::size_t i = 0; i < out_.rows; ++i) {
      for (std::size_t g = 0; g < groups; ++g) {
        float* out = out_.row(i).data() + g * (a + b);
        std::memcpy(out, input(0).row(i).data() + g * a, a * sizeof(float));
        std::memcpy(out + a, input(1).row(i).data() + g * b, b * sizeof(float));
      }
    }
  }

  // Steps of their own.
  void operator()(const AttentionOp&) const {}
  void operator()(const RouteOp&) const {}
  void operator()(const ExpertLinearOp&) const {}
  void operator()(const CombineOp&) const {}

 private:
  MatrixView input(std::size_t i) const { return tile_.values[op_.inputs[i]]; }

  template <class F>
  void map_rows(const F& f) const {
    for (std::size_t i = 0; i < out_.rows; ++i) {
      f(input(0).row(i).data(), out_.cols, out_.row(i).data());
    }
  }

  template <class F>
  void combine_rows(const F& f) const {
    for (std::size_t i = 0; i < out_.rows; ++i) {
      f(input(0).row(i).data(), input(1).row(i).data(), out_.cols, out_.row(i).data());
    }
  }

  // The first input as bf16, converted unless it is, or the operation before did.
  Matrix<const std::uint16_t> converted_input() {
    const Matrix<const std::uint16_t> ready = tile_.factors[op_.inputs[0]];
    if (ready.data != nullptr) return ready;
    const MatrixView in = input(0);
    if (tile_.converted_value != op_.inputs[0]) {
      tile_.converted->reserve(in.rows * in.cols);
      for (std::size_t i = 0; i < in.rows; ++i) {
        float_to_bfloat16(in.row(i).data(), in.cols, tile_.converted->data() + i * in.cols);
      }
      tile_.converted_value = op_.inputs[0];
    }
    return {tile_.converted->data(), in.rows, in.cols};
  }

  // Threads without a tile of their own take columns; how many depends on the matrix only.
  void multiply_in_parts() {
    constexpr std::size_t kPartValues = std::size_t{1} << 19;
    constexpr std::size_t kPanel = PackedMatrix::kPanel;
    const std::size_t depth = std::max<std::size_t>(1, matrix_->matrices.front().cols());
    const std::size_t cols = std::max<std::size_t>(1, kPartValues / (depth * kPanel)) * kPanel;
    if (context_.compute == ComputeType::bf16) converted_input();  // once, not by each
    context_.idle_threads->run((out_.cols + cols - 1) / cols, [&](std::size_t i) {
      multiply_input(i * cols, out_.col_range(i * cols, std::min(cols, out_.cols - i * cols)));
    });
  }

  // Columns [first, first + out.cols) of the product with the operation's one matrix.
  void multiply_input(std::size_t first, MatrixView out) {
    const PackedMatrix& matrix = matrix_->matrices.front();
    if (context_.compute == ComputeType::bf16) {
      multiply_transposed(converted_input(), matrix, first, out);
    } else {
      multiply_transposed(Matrix<const float>(input(0)), matrix, first, out);
    }
  }

  void multiply_head(std::size_t head, std::size_t width) {
    const PackedMatrix& matrix = matrix_->matrices[head];
    const std::size_t depth = matrix.cols();
    const MatrixView out = out_.col_range(head * width, width);
    if (context_.compute == ComputeType::bf16) {
      multiply_transposed(converted_input().col_range(head * depth, depth), matrix, 0, out);
    } else {
      multiply_transposed(Matrix<const float>(input(0).col_range(head * depth, depth)), matrix, 0,
                          out);
    }
  }

  void add_bias(WeightId bias, MatrixView out) const {
    const float* values = data_or_null(context_.weights->vector(bias));
    if (values == nullptr) return;
    for (std::size_t i = 0; i < out.rows; ++i) {
      add(out.row(i).data(), values, out.cols, out.row(i).data());
    }
  }

  const TileContext& context_;
  const Op& op_;
  WeightHandle matrix_;
  RowTile& tile_;
  MatrixView out_;
};

}  // namespace

void run_on_tile(const TileContext& context, std::size_t op, RowTile& tile) {
  std::visit(TileRunner(context, op, tile), context.stage->ops[op].kind);
}

}  // namespace qwodel
