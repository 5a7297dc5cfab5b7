// eval: perplexity of a model, and its divergence from another.
#include <fmt/format.h>

#include "cli/output.h"
#include "cli/verb.h"

namespace qwodel::cli {
namespace {

using nlohmann::ordered_json;

ordered_json interval(const Measured& m) { return ordered_json::array({m.low, m.high}); }

std::string percentile_name(double percent) {
  return percent == 50 ? "median" : fmt::format("p{:g}", percent);
}

ordered_json to_json(const DivergenceReport& d) {
  ordered_json kld = {{"mean", d.mean.value}, {"mean_error", d.mean_error}};
  for (const auto& [percent, value] : d.percentiles) kld[percentile_name(percent)] = value.value;
  kld["max"] = d.max;
  ordered_json intervals = {{"mean", interval(d.mean)}};
  for (const auto& [percent, value] : d.percentiles) {
    intervals[percentile_name(percent)] = interval(value);
  }
  kld["intervals"] = std::move(intervals);
  return kld;
}

ordered_json to_json(const EvaluateReport& r) {
  ordered_json json = {{"perplexity", r.perplexity.value},
                       {"perplexity_error", r.perplexity_error},
                       {"perplexity_interval", interval(r.perplexity)},
                       {"tokens", r.tokens},
                       {"chunks", r.chunks},
                       {"context", r.context},
                       {"compute", r.compute},
                       {"stopped_early", r.stopped_early}};
  if (r.divergence) {
    const DivergenceReport& d = *r.divergence;
    json["kld"] = to_json(d);
    json["top1_agreement"] = d.same_top.value;
    json["top1_agreement_interval"] = interval(d.same_top);
    json["reference_perplexity"] = d.reference_perplexity;
    json["reference_perplexity_error"] = d.reference_perplexity_error;
    json["perplexity_ratio"] = d.perplexity_ratio.value;
    json["perplexity_ratio_interval"] = interval(d.perplexity_ratio);
    json["probability_change"] = {{"mean", d.mean_probability_change},
                                  {"rms", d.rms_probability_change}};
  }
  json["seconds"] = r.seconds;
  return json;
}

void print_report(const EvaluateReport& r) {
  std::vector<std::vector<std::string>> rows;
  const auto add = [&](const std::string& name, const Measured& m, int digits, double factor = 1) {
    rows.push_back({name, fmt::format("{:.{}f}", factor * m.value, digits),
                    fmt::format("{:.{}f}", factor * m.low, digits),
                    fmt::format("{:.{}f}", factor * m.high, digits)});
  };
  add("perplexity", r.perplexity, 4);
  if (r.divergence) {
    const DivergenceReport& d = *r.divergence;
    rows.push_back({"reference perplexity", fmt::format("{:.4f}", d.reference_perplexity), "", ""});
    add("perplexity ratio", d.perplexity_ratio, 5);
    add("mean KL divergence", d.mean, 6);
    for (const auto& [percent, value] : d.percentiles) {
      if (percent == 50 || percent == 90 || percent == 99) {
        add(percentile_name(percent) + " KL divergence", value, 6);
      }
    }
    rows.push_back({"max KL divergence", fmt::format("{:.6f}", d.max), "", ""});
    add("same top token, %", d.same_top, 3, 100);
  }
  print_table({"", "value", "from", "to (95 %)"}, rows);
  fmt::print("{} tokens in {} chunks of {}, products in {}, {:.1f} s{}\n", r.tokens, r.chunks,
             r.context, r.compute, r.seconds,
             r.stopped_early ? "; precise enough before the text ended" : "");
}

}  // namespace

std::function<int()> add_eval(CLI::App& app, Common& common) {
  auto options = std::make_shared<EvaluateOptions>();
  CLI::App* verb =
      add_verb(app, common, "eval", "Perplexity on a text; with a reference, KL divergence from it",
               "qwodel eval SmolLM2-Q4_K_M.gguf --text wiki.txt --against SmolLM2");
  verb->add_option("model", options->run.model, "Hugging Face directory or .gguf")->required();
  verb->add_option("--text", options->text, "text file, or token ids in a .ids file");
  verb->add_option("--ctx", options->context, "tokens of a chunk");
  verb->add_option("--chunks", options->chunks, "chunks at most; 0: the whole text");
  verb->add_option("--against", options->against, "the model it was made from");
  verb->add_option("--base", options->base,
                   "instead: the log-probabilities of that model (llama-perplexity's "
                   "--kl-divergence-base)");
  verb->add_option("--save-base", options->save_base, "write such a file of this model");
  verb->add_flag("--force", options->force, "replace the file of --save-base");
  verb->add_option("--precision", options->precision,
                   "stop when the 95 % interval is within this share of the value (0.01: 1 %)");
  verb->add_option("--compute", options->run.compute, "matrix products in f32 or bf16; auto");
  verb->add_option("--threads", options->run.threads, "worker threads; 0: one per core");
  add_max_memory(*verb, options->run.max_memory);
  verb->add_option("--arch-as", options->run.arch_as, "as for quantize");
  return [options, &common] {
    options->run.cancel = &common.cancel;
    options->run.progress = progress_printer();
    const EvaluateReport report = evaluate(*options);
    if (common.json) {
      print_json(to_json(report));
    } else {
      print_report(report);
    }
    return 0;
  };
}

}  // namespace qwodel::cli
