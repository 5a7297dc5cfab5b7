// calibrate: statistics of a model's linears on a text.
#include <fmt/format.h>

#include "cli/output.h"
#include "cli/verb.h"

namespace qwodel::cli {
namespace {

struct Arguments {
  CalibrateOptions options;
  std::vector<std::filesystem::path> merge;
  bool no_gram = false;
  std::string gram_memory;
};

int run_merge(const Arguments& a, const Common& common) {
  if (a.options.output.empty()) {
    throw Error(ErrorCode::usage,
                {.where = "-o", .found = "nothing", .expected = "a .qstats file", .remedy = ""});
  }
  merge_calibrations(a.merge, a.options.output, a.options.force);
  if (common.json) print_json({{"path", a.options.output.string()}, {"merged", a.merge.size()}});
  return 0;
}

int run_calibrate(Arguments& a, Common& common) {
  a.options.gram = !a.no_gram;
  if (!a.gram_memory.empty()) {
    a.options.gram_memory = parse_size("--gram-memory", a.gram_memory);
  }
  a.options.run.cancel = &common.cancel;
  a.options.run.progress = progress_printer();
  const CalibrateReport r = calibrate(a.options);
  if (r.sequences < a.options.calibration.samples) {
    print_warning(fmt::format("{} holds {} samples of {} tokens, not {}",
                              a.options.calibration.text, r.sequences,
                              a.options.calibration.seq_len, a.options.calibration.samples));
  }
  if (common.json) {
    print_json({{"path", a.options.output.string()},
                {"bytes", r.bytes},
                {"tokens", r.tokens},
                {"sequences", r.sequences},
                {"inputs", r.inputs},
                {"gram", a.options.gram},
                {"compute", r.compute},
                {"model_hash", r.model_hash},
                {"text_hash", r.text_hash},
                {"resumed_stages", r.resumed_stages},
                {"seconds", r.seconds}});
  } else {
    fmt::print("{}: {} inputs, {} tokens in {} sequences, products in {}, {}, {:.1f} s\n",
               a.options.output.string(), r.inputs, r.tokens, r.sequences, r.compute,
               bytes_text(r.bytes), r.seconds);
  }
  return 0;
}

}  // namespace

std::function<int()> add_calibrate(CLI::App& app, Common& common) {
  auto a = std::make_shared<Arguments>();
  CLI::App* verb =
      add_verb(app, common, "calibrate", "Collect statistics of a model on a text, for any target",
               "qwodel calibrate SmolLM2-135M --calibration builtin -o stats.qstats");
  verb->add_option("model", a->options.run.model, "Hugging Face directory or .gguf");
  verb->add_option("--calibration", a->options.calibration.text,
                   "text, .jsonl, .ids file or directory; builtin: the text of the program");
  verb->add_option("--samples", a->options.calibration.samples, "sequences at most");
  verb->add_option("--seq-len", a->options.calibration.seq_len, "tokens of a sequence");
  verb->add_option("-o,--output", a->options.output, "statistics file (.qstats)");
  verb->add_flag("--no-gram", a->no_gram, "without Gram matrices, which AWQ and GPTQ need");
  verb->add_option("--gram-memory", a->gram_memory,
                   "memory for a layer's Gram matrices, such as 2G; those beyond take longer");
  auto* merge = verb->add_option("--merge", a->merge, "add these statistics files instead");
  verb->add_flag("--force", a->options.force, "replace what is at the output path");
  verb->add_flag("--resume", a->options.resume, "go on after an interrupted run");
  verb->add_option("--compute", a->options.run.compute, "matrix products in f32 or bf16; auto");
  verb->add_option("--threads", a->options.run.threads, "worker threads; 0: one per core");
  add_max_memory(*verb, a->options.run.max_memory);
  verb->add_option("--arch-as", a->options.run.arch_as, "as for quantize");
  return [a, merge, &common] {
    if (merge->count() > 0) return run_merge(*a, common);
    if (a->options.run.model.empty()) {
      throw Error(ErrorCode::usage, {.where = "calibrate",
                                     .found = "no model",
                                     .expected = "qwodel calibrate MODEL -o FILE",
                                     .remedy = ""});
    }
    return run_calibrate(*a, common);
  };
}

}  // namespace qwodel::cli
