#include "qwodel/evaluate.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <memory>

#include "eval/log_prob_file.h"
#include "eval/score.h"
#include "eval/summary.h"
#include "graph/head.h"
#include "graph/task_threads.h"
#include "pipeline/evaluation_text.h"
#include "pipeline/running_model.h"

namespace qwodel {
namespace {

// Tokens whose hidden states are made in one forward pass of each model. Larger groups read the
// weights of a model less often; with a precision to reach, smaller ones stop sooner.
constexpr std::uint64_t kGroupTokens = 32768;
constexpr std::uint64_t kStoppingGroupTokens = 4096;
constexpr std::uint64_t kSavedLogits = std::uint64_t{1} << 26;  // values in memory

[[noreturn]] void usage(std::string where, std::string found, std::string expected) {
  throw Error(ErrorCode::usage, {.where = std::move(where),
                                 .found = std::move(found),
                                 .expected = std::move(expected),
                                 .remedy = ""});
}

void check_options(const EvaluateOptions& options) {
  if (options.context < 4) usage("--ctx", std::to_string(options.context), "at least 4");
  if (options.text.empty() && options.base.empty()) usage("--text", "nothing", "a text file");
  if (!options.against.empty() && !options.base.empty()) {
    usage("--base", "--against beside it", "one reference");
  }
  if (!options.text.empty() && !options.base.empty()) {
    usage("--base", "--text beside it", "no text: the file holds its own tokens");
  }
  if (options.precision < 0) usage("--precision", std::to_string(options.precision), "0 or more");
}

// One model of an evaluation and its hidden states of the current group.
class Contestant {
 public:
  explicit Contestant(const RunOptions& options)
      : name_(options.model.string()),
        model_(options),
        executor_(model_.graph, model_.weights,
                  executor_options(options, model_.graph.hidden_size)) {
    require_logits(model_.graph, name_);
  }

  const RunningModel& model() const { return model_; }
  const Executor& executor() const { return executor_; }
  const std::string& name() const { return name_; }
  std::uint64_t vocab_size() const { return model_.graph.vocab_size; }

  LogitFunction forward(const TokenSequences& group) {
    hidden_.reset();
    hidden_ = executor_.forward(group);
    return logits_of(executor_, *hidden_, model_.graph.hidden_size);
  }

 private:
  std::string name_;
  RunningModel model_;
  Executor executor_;
  std::unique_ptr<HeadInput> hidden_;
};

// Chunks [first, last) of all, and what is scored of them.
struct Group {
  TokenSequences sequences;
  std::vector<ScoredSpan> spans;
};

class Evaluation {
 public:
  explicit Evaluation(const EvaluateOptions& options)
      : options_(options), measured_(options.run), threads_(options.run.threads) {
    if (!options.base.empty()) {
      base_file_ = std::make_unique<LogProbReader>(options.base);
      take_chunks_of_file();
    } else {
      context_ = options.context;
      chunks_ =
          read_chunks(measured_.model(), options.run.model, options.text, context_, options.chunks);
    }
    if (!options.against.empty()) {
      RunOptions run = options.run;
      run.model = options.against;
      reference_ = std::make_unique<Contestant>(run);
      check_vocabulary(reference_->vocab_size(), options.against.string());
    }
    if (!options.save_base.empty()) {
      const LogProbShape shape{static_cast<std::uint32_t>(context_),
                               static_cast<std::uint32_t>(measured_.vocab_size()),
                               static_cast<std::uint32_t>(chunks_.size())};
      saved_ =
          std::make_unique<LogProbWriter>(options.save_base, shape, chunks_.tokens, options.force);
    }
  }

  EvaluateReport run() {
    const std::uint64_t group_tokens = options_.precision > 0 ? kStoppingGroupTokens : kGroupTokens;
    const std::uint64_t per_group = std::max<std::uint64_t>(1, group_tokens / context_);
    EvaluateReport report;
    std::uint64_t chunk = 0;
    while (chunk < chunks_.size() && !report.stopped_early) {
      const std::uint64_t last = std::min(chunk + per_group, chunks_.size());
      run_group(chunk, last);
      chunk = last;
      report.stopped_early = chunk < chunks_.size() && is_precise_enough();
    }
    if (saved_ != nullptr) saved_->commit();
    report.chunks = chunk;
    report.context = context_;
    fill(report);
    return report;
  }

 private:
  void take_chunks_of_file() {
    const LogProbShape& shape = base_file_->shape();
    context_ = shape.context;
    check_vocabulary(shape.vocab_size, options_.base.string());
    chunks_ = cut_chunks(base_file_->tokens(), context_, options_.chunks, std::nullopt,
                         options_.base.string());
  }

  void check_vocabulary(std::uint64_t size, const std::string& where) const {
    if (size == measured_.vocab_size()) return;
    throw ValidationError(
        {.where = where,
         .found = fmt::format("a vocabulary of {}", size),
         .expected = fmt::format("{}, as {} has", measured_.vocab_size(), measured_.name()),
         .remedy = "compare a model with the one it was made from"});
  }

  Group make_group(std::uint64_t first, std::uint64_t last) const {
    Group group;
    const std::uint64_t skipped = context_ / 2;
    const std::span<const std::uint32_t> tokens(chunks_.tokens);
    for (std::uint64_t chunk = first; chunk < last; ++chunk) {
      const auto of_chunk = tokens.subspan(chunk * context_, context_);
      group.spans.push_back({(chunk - first) * context_ + skipped, of_chunk.subspan(skipped + 1)});
      group.sequences.append(of_chunk);
    }
    return group;
  }

  void run_group(std::uint64_t first, std::uint64_t last) {
    const Group group = make_group(first, last);
    const LogitFunction logits = measured_.forward(group.sequences);
    if (saved_ != nullptr) save(logits, group, first);
    if (reference_ == nullptr && base_file_ == nullptr) {
      for (const TokenScore& score :
           score_tokens(logits, measured_.vocab_size(), group.spans, threads_, measured_.name())) {
        nll_.push_back(score.nll);
      }
      return;
    }
    const BaseLogits base = reference_ != nullptr
                                ? BaseLogits{reference_->forward(group.sequences), false}
                                : BaseLogits{stored_logits(first), true};
    for (const TokenComparison& score : compare_tokens(base, logits, measured_.vocab_size(),
                                                       group.spans, threads_, measured_.name())) {
      compared_.push_back(score);
      nll_.push_back(score.nll);
    }
  }

  LogitFunction stored_logits(std::uint64_t first_chunk) const {
    return [this, first_chunk](std::span<const ScoredSpan> spans) -> LogitTiles {
      std::vector<std::uint64_t> rows;  // of the file, where each span begins
      for (const ScoredSpan& span : spans) {
        rows.push_back((first_chunk + span.first_token / context_) *
                       base_file_->shape().rows_per_chunk());
      }
      const auto per_span = static_cast<std::size_t>(base_file_->shape().rows_per_chunk());
      return [this, rows, per_span](std::uint64_t first_column, MatrixView out) {
        threads_.run(rows.size(), [&](std::size_t i) {
          base_file_->read(rows[i], first_column, out.row_range(i * per_span, per_span));
        });
      };
    };
  }

  // Rows of all columns, as many at once as fit the memory for them.
  void save(const LogitFunction& logits, const Group& group, std::uint64_t first_chunk) {
    const std::uint64_t vocab_size = measured_.vocab_size();
    const std::uint64_t most = std::max<std::uint64_t>(1, kSavedLogits / vocab_size);
    std::vector<float> rows;
    std::uint64_t row = first_chunk * (context_ - 1 - context_ / 2);
    for (const ScoredSpan& span : group.spans) {
      for (std::uint64_t at = 0; at < span.targets.size(); at += most) {
        const std::uint64_t count = std::min<std::uint64_t>(most, span.targets.size() - at);
        const ScoredSpan part{span.first_token + at, span.targets.subspan(at, count)};
        rows.resize(static_cast<std::size_t>(count * vocab_size));
        const MatrixView matrix(rows.data(), static_cast<std::size_t>(count),
                                static_cast<std::size_t>(vocab_size));
        logits(std::span(&part, 1))(0, matrix);
        threads_.run(matrix.rows, [&](std::size_t i) { saved_->write(row + i, matrix.row(i)); });
        row += count;
      }
    }
  }

  bool is_precise_enough() const {
    if (options_.precision <= 0 || saved_ != nullptr) return false;
    const Estimate estimate =
        compared_.empty() ? summarize(nll_).perplexity : summarize(compared_).mean;
    return relative_half_width(estimate) <= options_.precision;
  }

  void fill(EvaluateReport& report) const;

  const EvaluateOptions& options_;
  Contestant measured_;
  TaskThreads threads_;
  std::unique_ptr<Contestant> reference_;
  std::unique_ptr<LogProbReader> base_file_;
  std::unique_ptr<LogProbWriter> saved_;
  std::uint64_t context_ = 0;
  TokenSequences chunks_;
  std::vector<double> nll_;
  std::vector<TokenComparison> compared_;
};

Measured measured(const Estimate& estimate) {
  return {estimate.value, estimate.low, estimate.high};
}

void Evaluation::fill(EvaluateReport& report) const {
  const PerplexitySummary perplexity = summarize(nll_);
  report.perplexity = measured(perplexity.perplexity);
  report.perplexity_error = perplexity.error;
  report.tokens = nll_.size();
  report.compute = name_of(measured_.executor().compute());
  if (compared_.empty()) return;
  const DivergenceSummary summary = summarize(compared_);
  DivergenceReport& out = report.divergence.emplace();
  out.mean = measured(summary.mean);
  out.mean_error = summary.mean_error;
  for (std::size_t i = 0; i < kDivergencePercents.size(); ++i) {
    out.percentiles.emplace_back(kDivergencePercents[i], measured(summary.percentiles[i]));
  }
  out.max = summary.max;
  out.same_top = measured(summary.same_top);
  out.perplexity_ratio = measured(summary.perplexity_ratio);
  out.mean_probability_change = summary.mean_probability_change;
  out.rms_probability_change = summary.rms_probability_change;
  std::vector<double> base_nll;
  for (const TokenComparison& token : compared_) base_nll.push_back(token.base_nll);
  const PerplexitySummary base = summarize(base_nll);
  out.reference_perplexity = base.perplexity.value;
  out.reference_perplexity_error = base.error;
}

}  // namespace

EvaluateReport evaluate(const EvaluateOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  check_options(options);
  Evaluation evaluation(options);
  EvaluateReport report = evaluation.run();
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

}  // namespace qwodel
