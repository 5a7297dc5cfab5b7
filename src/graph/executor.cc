#include "graph/executor.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>

#include "graph/edges.h"
#include "graph/executor_state.h"
#include "graph/hidden_store.h"
#include "graph/kv_cache.h"
#include "graph/stage_progress.h"
#include "kernels/convert.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

void check_tokens(std::span<const std::uint32_t> tokens, std::uint64_t vocab_size) {
  const auto bad = std::ranges::find_if(tokens, [&](std::uint32_t id) { return id >= vocab_size; });
  if (bad == tokens.end()) return;
  throw ValidationError({.where = fmt::format("token {}", bad - tokens.begin()),
                         .found = fmt::format("id {}", *bad),
                         .expected = fmt::format("an id below {}", vocab_size),
                         .remedy = "use the model's own tokenizer"});
}

void check_sequences(const TokenSequences& sequences) {
  std::uint64_t before = 0;
  for (const std::uint64_t end : sequences.ends) {
    if (end <= before || end > sequences.tokens.size()) {
      throw ValidationError({.where = "tokens",
                             .found = fmt::format("a sequence from {} to {}", before, end),
                             .expected = "sequences of at least one token",
                             .remedy = ""});
    }
    before = end;
  }
  if (before != sequences.tokens.size() || before == 0) {
    throw ValidationError({.where = "tokens",
                           .found = fmt::format("{} tokens", sequences.tokens.size() - before),
                           .expected = "at least one, all in sequences",
                           .remedy = ""});
  }
}

}  // namespace

void TokenSequences::append(std::span<const std::uint32_t> sequence) {
  tokens.insert(tokens.end(), sequence.begin(), sequence.end());
  ends.push_back(tokens.size());
}

HeadInput::HeadInput(std::unique_ptr<HiddenStore<float>> store) : store_(std::move(store)) {}
HeadInput::~HeadInput() = default;
std::uint64_t HeadInput::tokens() const { return store_->tokens(); }
void HeadInput::read(std::uint64_t first_token, MatrixView out) const {
  store_->read(first_token, out);
}

std::vector<WeightId> Executor::State::stage_weights(std::size_t stage) const {
  std::vector<WeightId> ids;
  for (const Op& op : graph.stages[stage].ops) {
    const auto own = op_weights(op);
    ids.insert(ids.end(), own.begin(), own.end());
  }
  return ids;
}

std::vector<Batch> Executor::State::make_batches(const TokenSequences& sequences) const {
  check_sequences(sequences);
  check_tokens(sequences.tokens, graph.vocab_size);
  std::vector<Batch> batches;
  const std::span<const std::uint32_t> tokens(sequences.tokens);
  std::size_t begin = 0;
  for (const std::uint64_t end_of_sequence : sequences.ends) {
    const auto end = static_cast<std::size_t>(end_of_sequence);
    if (batches.empty() || batches.back().rows() + (end - begin) > options.batch_tokens) {
      batches.push_back({.tokens = tokens.subspan(begin, 0), .sequences = {}});
    }
    Batch& batch = batches.back();
    batch.sequences.push_back({.first = batch.rows(), .count = end - begin});
    batch.tokens = {batch.tokens.data(), batch.rows() + (end - begin)};
    begin = end;
  }
  return batches;
}

std::uint64_t Executor::State::stage_bytes(std::size_t stage) const {
  std::uint64_t bytes = 0;
  for (const WeightId weight : stage_weights(stage)) {
    bytes += cache.decoded_bytes(cache.whole(weight));
  }
  return bytes;
}

void Executor::State::check_finite(const Stage& stage, const AlignedBuffer<float>& values,
                                   std::size_t width) const {
  constexpr std::size_t kTaskValues = std::size_t{1} << 18;
  std::atomic<std::size_t> bad{values.size()};
  threads.run((values.size() + kTaskValues - 1) / kTaskValues, [&](std::size_t i) {
    const std::size_t first = i * kTaskValues;
    const std::size_t count = std::min(kTaskValues, values.size() - first);
    const std::size_t at = find_non_finite(values.data() + first, count);
    if (at == count) return;
    std::size_t known = bad.load();
    while (first + at < known && !bad.compare_exchange_weak(known, first + at)) {
    }
  });
  if (bad.load() == values.size()) return;
  throw ValidationError(
      {.where = stage.name,
       .found = fmt::format("{} in its output, row {} of a batch, column {}",
                            values.data()[bad.load()], bad.load() / width, bad.load() % width),
       .expected = "finite activations",
       .remedy = "check the weights of this layer, or use --compute f32"});
}

StageRunner Executor::State::runner(std::size_t stage, ActivationObserver* observer,
                                    std::span<const std::size_t> cuts) const {
  const Stage& which = graph.stages[stage];
  const bool is_head = stage == head.stage;
  return StageRunner(machine, stage, is_head ? head.linear : which.ops.size(),
                     is_head ? which.ops[head.linear].inputs[0] : which.output, observer, cuts);
}

void Executor::State::begin_stage(std::size_t stage) const {
  for (const WeightId weight : stage_weights(stage)) weights.will_need(weight);
}

void Executor::State::finish_stage(std::size_t stage) {
  for (const WeightId weight : stage_weights(stage)) {
    cache.drop(weight);
    weights.done_with(weight);
  }
}

Executor::Executor(const Graph& graph, const GraphWeights& weights, ExecutorOptions options) {
  validate_graph(graph, "graph");
  state_ = std::make_unique<State>(graph, weights, std::move(options));
}

Executor::~Executor() = default;

ComputeType Executor::compute() const { return state_->compute; }

std::unique_ptr<HeadInput> Executor::forward(const TokenSequences& sequences,
                                             ActivationObserver* observer,
                                             StageKeeper* keeper) const {
  State& state = *state_;
  const std::vector<Batch> batches = state.make_batches(sequences);
  std::vector<std::size_t> rows;
  for (const Batch& batch : batches) rows.push_back(batch.rows());
  const auto width = static_cast<std::size_t>(state.graph.hidden_size);
  auto store = std::make_unique<HiddenStore<float>>(rows, width, state.options.hidden_memory,
                                                    state.options.scratch);
  StageProgress progress(state.options.progress);
  const std::size_t first_stage = keeper == nullptr ? 0 : keeper->first_stage();
  for (std::size_t s = first_stage; s < state.graph.stages.size(); ++s) {
    progress.expect(state.stage_bytes(s));
  }
  for (std::size_t s = first_stage; s < state.graph.stages.size(); ++s) {
    const Stage& stage = state.graph.stages[s];
    const bool is_head = s == state.head.stage;
    if (s + 1 < state.graph.stages.size()) state.begin_stage(s + 1);
    StageRunner runner = state.runner(s, observer);
    for (std::size_t b = 0; b < batches.size(); ++b) {
      AlignedBuffer<float> input;
      const auto first_row =
          static_cast<std::uint64_t>(batches[b].tokens.data() - sequences.tokens.data());
      if (stage.input != kNoId && s == first_stage) {
        input = state.buffers->take<float>(rows[b] * width);
        keeper->load(first_row, {input.data(), rows[b], width});
      } else if (stage.input != kNoId) {
        const std::size_t spare = store->is_in_file(b) ? rows[b] * width : 0;
        input = store->take(b, state.buffers->take<float>(spare));
      }
      AlignedBuffer<float> output = runner.run(batches[b], std::move(input));
      state.check_finite(stage, output, width);
      if (is_head && observer != nullptr) {
        observer->on_input(s, state.head.linear, 0, {output.data(), rows[b], width});
      }
      if (keeper != nullptr) keeper->save(s, first_row, {output.data(), rows[b], width});
      state.buffers->give_back(store->put(b, std::move(output)));
      progress.advance(stage.name, state.stage_bytes(s), b + 1, batches.size());
    }
    if (observer != nullptr) observer->on_stage_end(s);
    state.finish_stage(s);
  }
  state.buffers->clear();
  progress.finish();
  return std::make_unique<HeadInput>(std::move(store));
}

void Executor::logits(const HeadInput& input, std::uint64_t first_token, std::uint64_t first_column,
                      MatrixView out) const {
  AlignedBuffer<float> rows =
      state_->buffers->take<float>(out.rows * static_cast<std::size_t>(state_->graph.hidden_size));
  const MatrixView hidden(rows.data(), out.rows,
                          static_cast<std::size_t>(state_->graph.hidden_size));
  input.store().read(first_token, hidden);
  logits(hidden, first_column, out);
  state_->buffers->give_back(std::move(rows));
}

void Executor::logits(ConstMatrixView hidden, std::uint64_t first_column, MatrixView out) const {
  stop_if_cancelled(state_->options.cancel);
  compute_logits(state_->machine, state_->head, hidden, first_column, out);
}

std::vector<float> Executor::extend(KvCache& cache, std::span<const std::uint32_t> tokens) const {
  State& state = *state_;
  if (tokens.empty()) {
    throw ValidationError(
        {.where = "tokens", .found = "none", .expected = "at least one", .remedy = ""});
  }
  check_tokens(tokens, state.graph.vocab_size);
  const auto width = static_cast<std::size_t>(state.graph.hidden_size);
  const Batch batch{.tokens = tokens,
                    .sequences = {{.first = 0, .count = tokens.size(), .past = cache.length()}},
                    .cache = &cache};
  AlignedBuffer<float> hidden;
  for (std::size_t s = 0; s < state.graph.stages.size(); ++s) {
    hidden = state.runner(s, nullptr).run(batch, std::move(hidden));
    state.check_finite(state.graph.stages[s], hidden, width);
  }
  cache.set_length(cache.length() + tokens.size());
  std::vector<float> logits(static_cast<std::size_t>(state.graph.vocab_size));
  const MatrixView last(hidden.data() + (tokens.size() - 1) * width, 1, width);
  compute_logits(state.machine, state.head, last, 0, {logits.data(), 1, logits.size()});
  return logits;
}

}  // namespace qwodel
