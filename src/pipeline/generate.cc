// generate: greedy continuation with a KV cache.
#include <algorithm>
#include <chrono>

#include "graph/head.h"
#include "graph/kv_cache.h"
#include "pipeline/evaluation_text.h"
#include "pipeline/running_model.h"

namespace qwodel {
namespace {

// Decoded weights kept between tokens; what finds no room is decoded for every token.
constexpr std::uint64_t kWeightMemory = std::uint64_t{4} << 30;

std::uint32_t likeliest(const std::vector<float>& logits) {
  return static_cast<std::uint32_t>(std::max_element(logits.begin(), logits.end()) -
                                    logits.begin());
}

// The text without a character that is not whole yet (it shows as U+FFFD at the end).
std::string_view whole_characters(std::string_view text) {
  constexpr std::string_view kReplacement = "\xEF\xBF\xBD";
  while (text.ends_with(kReplacement)) text.remove_suffix(kReplacement.size());
  return text;
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

GenerateReport generate(const RunOptions& options, const std::string& prompt,
                        std::uint64_t max_tokens,
                        const std::function<void(std::string_view)>& on_text) {
  const RunningModel model(options);
  require_logits(model.graph, options.model.string());
  const auto tokenizer = tokenizer_for(model.source, options.model, {});
  ExecutorOptions settings = executor_options(options, model.graph.hidden_size);
  settings.progress = {};
  settings.weight_memory = kWeightMemory;
  const Executor executor(model.graph, model.weights, settings);
  GenerateReport report;
  report.compute = name_of(executor.compute());
  report.prompt_ids = tokenizer->encode(prompt);
  KvCache cache;
  const auto start = std::chrono::steady_clock::now();
  std::vector<float> logits = executor.extend(cache, report.prompt_ids);
  report.prompt_seconds = seconds_since(start);
  const auto first = std::chrono::steady_clock::now();
  // Decoded together with the prompt: a decoder may drop the blank before the first word.
  std::vector<std::uint32_t> all = report.prompt_ids;
  const std::size_t prompt_size = tokenizer->decode(all).size();
  std::size_t shown = 0;
  while (report.ids.size() < max_tokens) {
    const std::uint32_t next = likeliest(logits);
    if (next == tokenizer->eos_id() || next >= tokenizer->vocab_size()) break;
    report.ids.push_back(next);
    all.push_back(next);
    const std::string text = tokenizer->decode(all);
    report.text = text.substr(std::min(prompt_size, text.size()));
    const std::string_view whole = whole_characters(report.text);
    if (on_text && whole.size() > shown) {
      on_text(whole.substr(shown));
      shown = whole.size();
    }
    if (report.ids.size() < max_tokens) logits = executor.extend(cache, {&next, 1});
  }
  if (report.ids.size() > 1) {
    report.token_seconds = seconds_since(first) / static_cast<double>(report.ids.size() - 1);
  }
  return report;
}

}  // namespace qwodel
