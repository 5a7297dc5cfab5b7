#include "graph/segmented_pass.h"

#include <algorithm>
#include <utility>

namespace qwodel {
namespace {

// Values that are kept between segments, beside the hidden states: in a Llama layer at most three.
constexpr std::uint64_t kLiveStores = 4;

template <class Stores>
std::vector<ValueId> values_of(const Stores& stores) {
  std::vector<ValueId> values;
  for (const auto& [value, store] : stores) values.push_back(value);
  return values;
}

}  // namespace

SegmentedPass::SegmentedPass(const Executor& executor, const TokenSequences& sequences,
                             std::vector<PassCut> cuts)
    : state_(executor.state_.get()),
      batches_(state_->make_batches(sequences)),
      cuts_(std::move(cuts)),
      progress_(state_->options.progress),
      routings_(batches_.size()) {
  std::vector<std::size_t> rows;
  for (const Batch& batch : batches_) rows.push_back(batch.rows());
  hidden_ = make_store<float>(rows, state_->graph.hidden_size, state_->options.hidden_memory);
  if (cuts_.empty()) return;
  for (std::size_t s = 0; s <= cuts_.back().stage; ++s) progress_.expect(state_->stage_bytes(s));
}

std::optional<PassCut> SegmentedPass::advance() {
  while (next_cut_ < cuts_.size()) {
    if (!runner_) enter_stage();
    run_segment();
    if (segment_ < runner_->segments()) return cuts_[next_cut_++];
    leave_stage();
  }
  if (runner_) {
    progress_.finish();
    state_->finish_stage(stage_);
  }
  runner_.reset();
  live_.clear();
  factors_.clear();
  return std::nullopt;
}

void SegmentedPass::visit(std::size_t batch, const Visit& visit) const {
  const PassCut& cut = cuts_[next_cut_ - 1];
  const Op& op = state_->graph.stages[cut.stage].ops[cut.op];
  const auto visit_rows = [&](const auto& store) {
    AlignedBuffer<typename std::decay_t<decltype(store)>::Value> spare;
    visit_linear_rows(state_->graph, op, store.view(batch, spare), routings_[batch], visit);
  };
  if (const auto found = factors_.find(op.inputs[0]); found != factors_.end()) {
    visit_rows(*found->second);
  } else {
    visit_rows(*live_.at(op.inputs[0]));
  }
}

void SegmentedPass::enter_stage() {
  std::vector<std::size_t> cuts;
  for (const PassCut& cut : cuts_) {
    if (cut.stage == stage_) cuts.push_back(cut.op);
  }
  runner_.emplace(state_->runner(stage_, nullptr, cuts));
  state_->begin_stage(stage_);
  segment_ = 0;
}

void SegmentedPass::leave_stage() {
  state_->finish_stage(stage_);
  live_.clear();
  factors_.clear();
  runner_.reset();
  ++stage_;
}

void SegmentedPass::run_segment() {
  const Stage& stage = state_->graph.stages[stage_];
  const bool is_last = segment_ + 1 == runner_->segments();
  incoming_ = values_of(live_);
  incoming_factors_ = values_of(factors_);
  for (std::size_t b = 0; b < batches_.size(); ++b) {
    LiveValues live = runner_->run_segment(segment_, batches_[b], take(b));
    if (is_last) {
      put_output(b, std::move(live.rows.at(stage.output)));
    } else {
      put(b, std::move(live));
    }
    progress_.advance(stage.name, state_->stage_bytes(stage_), segment_ * batches_.size() + b + 1,
                      runner_->segments() * batches_.size());
  }
  ++segment_;
  state_->buffers->clear();  // what is done with the values that stay takes memory, too
}

LiveValues SegmentedPass::take(std::size_t batch) {
  LiveValues live;
  const auto take_from = [&]<class T>(HiddenStore<T>& store) {
    const std::size_t spare = store.is_in_file(batch) ? store.rows(batch) * store.width() : 0;
    return store.take(batch, state_->buffers->take<T>(spare));
  };
  if (segment_ > 0) {
    for (const ValueId value : incoming_) live.rows[value] = take_from(*live_.at(value));
    for (const ValueId value : incoming_factors_) {
      live.factors[value] = take_from(*factors_.at(value));
    }
  } else if (const ValueId input = state_->graph.stages[stage_].input; input != kNoId) {
    live.rows[input] = take_from(*hidden_);
  }
  live.routings = std::move(routings_[batch]);
  routings_[batch].clear();
  return live;
}

void SegmentedPass::put(std::size_t batch, LiveValues live) {
  if (batch + 1 == batches_.size()) {
    std::erase_if(live_, [&](const auto& kept) { return !live.rows.contains(kept.first); });
    std::erase_if(factors_, [&](const auto& kept) { return !live.factors.contains(kept.first); });
  }
  for (auto& [value, rows] : live.rows) {
    state_->buffers->give_back(store_of(value, live_).put(batch, std::move(rows)));
  }
  for (auto& [value, rows] : live.factors) {
    state_->buffers->give_back(store_of(value, factors_).put(batch, std::move(rows)));
  }
  routings_[batch] = std::move(live.routings);
}

void SegmentedPass::put_output(std::size_t batch, AlignedBuffer<float> rows) {
  const Stage& stage = state_->graph.stages[stage_];
  state_->check_finite(stage, rows, hidden_->width());
  state_->buffers->give_back(hidden_->put(batch, std::move(rows)));
}

template <class T>
HiddenStore<T>& SegmentedPass::store_of(ValueId value, StoresOf<T>& stores) {
  std::unique_ptr<HiddenStore<T>>& store = stores[value];
  if (store == nullptr) {
    std::vector<std::size_t> rows;
    for (const Batch& batch : batches_) rows.push_back(runner_->rows_of(value, batch.rows()));
    store = make_store<T>(rows, state_->graph.stages[stage_].values[value].width,
                          state_->options.hidden_memory / kLiveStores);
  }
  return *store;
}

template <class T>
std::unique_ptr<HiddenStore<T>> SegmentedPass::make_store(const std::vector<std::size_t>& rows,
                                                          std::uint64_t width,
                                                          std::uint64_t memory) const {
  return std::make_unique<HiddenStore<T>>(rows, static_cast<std::size_t>(width), memory,
                                          state_->options.scratch);
}

}  // namespace qwodel
