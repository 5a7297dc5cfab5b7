#include "graph/stage_runner.h"

#include <algorithm>
#include <utility>

#include "graph/kv_cache.h"
#include "graph/row_tile.h"
#include "kernels/convert.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

// Rows that one task takes through all operations of a step. Part of the results: products of
// other heights may round differently.
constexpr std::size_t kTileRows = 256;

// Buffers of a thread, grown to the largest step.
struct TileScratch {
  AlignedBuffer<float> slots;
  AlignedBuffer<std::uint16_t> converted;
};

}  // namespace

void stop_if_cancelled(const CancelToken* cancel) {
  if (cancel == nullptr || !cancel->cancelled()) return;
  throw Error(
      ErrorCode::interrupted,
      {.where = "forward pass", .found = "a request to stop", .expected = "", .remedy = ""});
}

StageRunner::StageRunner(const Machine& machine, std::size_t stage, std::size_t ops, ValueId output,
                         ActivationObserver* observer, std::span<const std::size_t> cuts)
    : machine_(machine),
      stage_index_(stage),
      stage_(&machine.graph->stages[stage]),
      output_(output),
      observer_(observer),
      schedule_(make_schedule(*stage_, ops, output, observer != nullptr, cuts, *machine.weights)),
      buffers_(stage_->values.size()),
      views_(stage_->values.size()),
      factor_buffers_(stage_->values.size()),
      factors_(stage_->values.size()) {
  segments_.push_back(0);
  for (std::size_t step = 0; step < schedule_.steps.size(); ++step) {
    if (std::ranges::find(cuts, schedule_.steps[step].first) != cuts.end()) {
      segments_.push_back(step);
    }
  }
  segments_.push_back(schedule_.steps.size());
}

AlignedBuffer<float> StageRunner::run(const Batch& batch, AlignedBuffer<float> input) {
  LiveValues live;
  if (stage_->input != kNoId) live.rows[stage_->input] = std::move(input);
  for (std::size_t i = 0; i < segments(); ++i) live = run_segment(i, batch, std::move(live));
  return std::move(live.rows.at(output_));
}

LiveValues StageRunner::run_segment(std::size_t segment, const Batch& batch, LiveValues live) {
  bind(batch, std::move(live));
  for (std::size_t i = segments_[segment]; i < segments_[segment + 1]; ++i) {
    const Step& step = schedule_.steps[i];
    stop_if_cancelled(machine_.cancel);
    run_step(step, batch);
    if (observer_ != nullptr) observe(step);
    release(step);
  }
  return unbind();
}

void StageRunner::bind(const Batch& batch, LiveValues live) {
  for (auto& [value, rows] : live.rows) {
    buffers_[value] = std::move(rows);
    views_[value] = {buffers_[value].data(), rows_of(value, batch.rows()),
                     static_cast<std::size_t>(stage_->values[value].width)};
  }
  for (auto& [value, rows] : live.factors) {
    factor_buffers_[value] = std::move(rows);
    factors_[value] = {factor_buffers_[value].data(), rows_of(value, batch.rows()),
                       static_cast<std::size_t>(stage_->values[value].width)};
  }
  routings_ = std::move(live.routings);
}

LiveValues StageRunner::unbind() {
  LiveValues live;
  for (ValueId value = 0; value < buffers_.size(); ++value) {
    if (factor_buffers_[value].capacity() > 0) {
      live.factors[value] = std::move(factor_buffers_[value]);
      factor_buffers_[value] = {};
      factors_[value] = {};
    }
    if (buffers_[value].capacity() == 0) continue;
    if (is_factor(value)) {
      live.factors[value] = rounded(value);
      machine_.buffers->give_back(std::move(buffers_[value]));
    } else {
      live.rows[value] = std::move(buffers_[value]);
    }
    buffers_[value] = {};
    views_[value] = {};
  }
  live.routings = std::move(routings_);
  routings_.clear();
  return live;
}

FactorRows StageRunner::factor(ValueId value) const {
  if (factors_[value].data != nullptr) return factors_[value];
  return ConstMatrixView(views_[value]);
}

bool StageRunner::is_factor(ValueId value) const {
  return machine_.compute == ComputeType::bf16 && value != output_ &&
         std::ranges::all_of(stage_->ops, [&](const Op& op) {
           return is_linear(op) || std::ranges::find(op.inputs, value) == op.inputs.end();
         });
}

AlignedBuffer<std::uint16_t> StageRunner::rounded(ValueId value) const {
  const MatrixView rows = views_[value];
  auto result = machine_.buffers->take<std::uint16_t>(rows.rows * rows.cols);
  machine_.threads->run((rows.rows + kTileRows - 1) / kTileRows, [&](std::size_t i) {
    const std::size_t first = i * kTileRows * rows.cols;
    const std::size_t count = std::min(kTileRows * rows.cols, rows.rows * rows.cols - first);
    float_to_bfloat16(rows.data + first, count, result.data() + first);
  });
  return result;
}

void StageRunner::allocate(ValueId value, std::size_t tokens) {
  const auto width = static_cast<std::size_t>(stage_->values[value].width);
  const std::size_t height = rows_of(value, tokens);
  buffers_[value] = machine_.buffers->take<float>(height * width);
  views_[value] = {buffers_[value].data(), height, width};
}

void StageRunner::run_step(const Step& step, const Batch& batch) {
  for (std::size_t i = step.first; i < step.last; ++i) {
    const ValueId output = stage_->ops[i].output;
    const bool is_matrix = stage_->values[output].rows != RowKind::routing;
    if (schedule_.slots[output] == kNoId && is_matrix) allocate(output, batch.rows());
  }
  if (step.by_rows) {
    run_tiles(step, batch);
    return;
  }
  const Op& op = stage_->ops[step.first];
  if (const auto* attention = std::get_if<AttentionOp>(&op.kind)) {
    run_attention(step.first, *attention, batch);
  } else if (const auto* router = std::get_if<RouteOp>(&op.kind)) {
    routings_[op.output] =
        route(*router, view(op.inputs[0]), machine_.weights->vector(router->selection_bias),
              *machine_.threads);
  } else if (const auto* linear = std::get_if<ExpertLinearOp>(&op.kind)) {
    expert_linear(*linear, routings_.at(op.inputs[1]), factor(op.inputs[0]), view(op.output),
                  *machine_.weights, *machine_.graph, *machine_.threads);
  } else {
    combine(routings_.at(op.inputs[1]), view(op.inputs[0]), view(op.output), *machine_.threads);
  }
}

void StageRunner::run_tiles(const Step& step, const Batch& batch) {
  std::vector<WeightRows> parts;
  std::vector<std::size_t> part_of;
  for (std::size_t i = step.first; i < step.last; ++i) {
    const WeightId matrix = matrix_of(stage_->ops[i]);
    if (matrix == kNoId) continue;
    parts.push_back(machine_.weights->whole(matrix));
    part_of.push_back(i);
  }
  const auto handles = machine_.weights->load(parts);
  std::vector<WeightHandle> matrices(stage_->ops.size());
  for (std::size_t i = 0; i < handles.size(); ++i) matrices[part_of[i]] = handles[i];
  const ValueId any = stage_->ops[step.first].output;
  const std::size_t rows = batch.rows() * static_cast<std::size_t>(schedule_.rows_per_token[any]);
  const TileContext context{.graph = machine_.graph,
                            .stage = stage_,
                            .batch = &batch,
                            .weights = machine_.weights,
                            .ropes = machine_.ropes,
                            .compute = machine_.compute,
                            .matrices = matrices,
                            .idle_threads = rows <= kTileRows ? machine_.threads : nullptr};
  std::size_t slot_columns = 0;
  for (const std::uint64_t width : step.slot_widths) slot_columns += width;
  machine_.threads->run((rows + kTileRows - 1) / kTileRows, [&](std::size_t i) {
    thread_local TileScratch scratch;
    RowTile tile;
    tile.first = i * kTileRows;
    tile.count = std::min(kTileRows, rows - tile.first);
    scratch.slots.reserve(slot_columns * kTileRows);
    std::vector<float*> slots;
    float* next = scratch.slots.data();
    for (const std::uint64_t width : step.slot_widths) {
      slots.push_back(next);
      next += width * kTileRows;
    }
    std::vector<MatrixView> values(stage_->values.size());
    for (std::size_t v = 0; v < values.size(); ++v) {
      if (schedule_.slots[v] == kNoId) {
        if (views_[v].data != nullptr) values[v] = views_[v].row_range(tile.first, tile.count);
      }
    }
    std::vector<Matrix<const std::uint16_t>> factors(values.size());
    for (std::size_t v = 0; v < factors.size(); ++v) {
      if (factors_[v].data != nullptr) factors[v] = factors_[v].row_range(tile.first, tile.count);
    }
    tile.values = values;
    tile.factors = factors;
    tile.converted = &scratch.converted;
    for (std::size_t op = step.first; op < step.last; ++op) {
      const ValueId output = stage_->ops[op].output;
      if (schedule_.slots[output] != kNoId) {
        values[output] = {slots[schedule_.slots[output]], tile.count,
                          static_cast<std::size_t>(stage_->values[output].width)};
      }
      run_on_tile(context, op, tile);
    }
  });
}

void StageRunner::run_attention(std::size_t at, const AttentionOp& op, const Batch& batch) {
  const auto& inputs = stage_->ops[at].inputs;
  const MatrixView keys = view(inputs[1]);
  const MatrixView values = view(inputs[2]);
  std::vector<KeysAndValues> sequences;
  for (const SequenceRows& rows : batch.sequences) {
    KeysAndValues stored{keys.row_range(rows.first, rows.count),
                         values.row_range(rows.first, rows.count)};
    if (batch.cache != nullptr) {
      KvCache::Entry& entry = batch.cache->entry(stage_index_, at);
      stored = {KvCache::append(entry.keys, stored.keys),
                KvCache::append(entry.values, stored.values)};
    }
    sequences.push_back(stored);
  }
  attention(op, batch, view(inputs[0]), sequences, view(stage_->ops[at].output), machine_.compute,
            *machine_.threads);
}

// Tells the observer about inputs whose first linear is in this step.
void StageRunner::observe(const Step& step) {
  for (std::size_t i = step.first; i < step.last; ++i) {
    const Op& op = stage_->ops[i];
    if (!is_linear(op)) continue;
    const auto before = std::span(stage_->ops).first(i);
    const bool is_first = std::ranges::none_of(before, [&](const Op& other) {
      return is_linear(other) && other.inputs[0] == op.inputs[0] &&
             other.kind.index() == op.kind.index();
    });
    if (!is_first) continue;
    visit_linear_rows(*machine_.graph, op, ConstMatrixView(view(op.inputs[0])), routings_,
                      [&](std::size_t part, const FactorRows& rows) {
                        observer_->on_input(stage_index_, i, part, std::get<ConstMatrixView>(rows));
                      });
  }
}

// Gives back what no later operation reads.
void StageRunner::release(const Step& step) {
  for (ValueId v = 0; v < buffers_.size(); ++v) {
    if (v == output_ || schedule_.last_use[v] >= step.last) continue;
    machine_.buffers->give_back(std::exchange(factor_buffers_[v], {}));
    factors_[v] = {};
    if (buffers_[v].capacity() == 0) continue;
    machine_.buffers->give_back(std::move(buffers_[v]));
    buffers_[v] = {};
    views_[v] = {};
  }
}

}  // namespace qwodel
