#include "pipeline/one_layer.h"

#include <algorithm>
#include <cstdint>
#include <utility>

namespace qwodel {
namespace {

// Keeps what one stage gives; the stage before it may be given.
class Kept final : public StageKeeper {
 public:
  Kept(std::size_t stage, const HiddenRows* input) : stage_(stage), input_(input) {}

  std::size_t first_stage() const override { return input_ == nullptr ? 0 : stage_; }
  void load(std::uint64_t first_row, MatrixView out) const override {
    const auto first = input_->begin() + static_cast<std::ptrdiff_t>(first_row * out.cols);
    std::copy_n(first, out.rows * out.cols, out.data);
  }
  void save(std::size_t stage, std::uint64_t, ConstMatrixView rows) override {
    if (stage != stage_) return;
    const HiddenRows more = copy_rows(rows);
    output.insert(output.end(), more.begin(), more.end());
  }

  HiddenRows output;

 private:
  std::size_t stage_;
  const HiddenRows* input_;
};

}  // namespace

HiddenRows copy_rows(ConstMatrixView rows) {
  HiddenRows values;
  values.reserve(rows.rows * rows.cols);
  for (std::size_t r = 0; r < rows.rows; ++r) {
    values.insert(values.end(), rows.row(r).begin(), rows.row(r).end());
  }
  return values;
}

// The layer between the stages that every graph has.
Graph OneLayer::part(std::size_t stage) const {
  Graph part = graph_;
  part.stages = {graph_.stages.front(), graph_.stages[stage]};
  if (!graph_.is_encoder) part.stages.push_back(graph_.stages.back());
  return part;
}

HiddenRows OneLayer::embed(const TokenSequences& tokens) const {
  const Graph first = part(1);
  Kept kept(0, nullptr);
  Executor(first, weights_, options_).forward(tokens, nullptr, &kept);
  return std::move(kept.output);
}

HiddenRows OneLayer::run(std::size_t stage, const TokenSequences& tokens,
                         const HiddenRows& input) const {
  const Graph layer = part(stage);
  Kept kept(1, &input);
  Executor(layer, weights_, options_).forward(tokens, nullptr, &kept);
  return std::move(kept.output);
}

}  // namespace qwodel
