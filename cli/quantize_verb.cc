// quantize and plan: the same options, with and without doing it.
#include <fmt/format.h>

#include <map>

#include "cli/output.h"
#include "cli/quantize_report.h"
#include "cli/verb.h"

namespace qwodel::cli {
namespace {

// Everything a user can say, before it becomes QuantizeOptions.
struct Arguments {
  QuantizeOptions options;
  std::string model_option;
  std::string backend;
  std::string format;
  std::string max_shard_size;
  std::string search = "reference";
  std::string target_size;
  double target_bpw = 0;
  bool dry_run = false;
  bool resume = false;
};

void add_source_options(CLI::App& verb, Arguments& a) {
  verb.add_option("model", a.options.model, "Hugging Face directory or .gguf");
  verb.add_option("-m,--model", a.model_option, "the same, as an option");
  verb.add_option("--to", a.options.targets, "what to make: gguf:TYPE; several with commas");
  verb.add_option("-b,--backend", a.backend, "with -f: the backend of the target");
  verb.add_option("-f,--format", a.format, "with -b: the format of the target");
  verb.add_option("-o,--output", a.options.output, "file, or directory to put files into");
  verb.add_option("--arch-as", a.options.arch_as,
                  "treat an unknown model class as this one: llama");
  verb.add_option("--tokenizer-pre", a.options.tokenizer_pre, "name of the pre-tokenizer to write");
  verb.add_option("--model-name", a.options.model_name, "general.name to write");
  verb.add_option("--outtype", a.options.outtype,
                  "type before quantization: auto, f32, f16, bf16 (as convert_hf_to_gguf.py)");
}

void add_method_options(CLI::App& verb, Arguments& a) {
  verb.add_option("--method", a.options.method,
                  "rtn, search, awq, gptq, awq+gptq, repack; gguf: not rtn");
  verb.add_flag("--true-sequential,!--no-true-sequential", a.options.true_sequential,
                "gptq: quantize each linear on what the quantized ones before it give (default)");
  verb.add_flag("--desc-act", a.options.desc_act,
                "gptq: groups of columns in order of activation, which vLLM and LMDeploy refuse");
  verb.add_option("--mismatch-strength", a.options.mismatch_strength,
                  "gptq: how far a linear makes up for what earlier ones did wrong, 0 to 1")
      ->capture_default_str();
  verb.add_option("--awq-loss", a.options.awq_loss,
                  "awq: errors that choose scales: linear (of linears' outputs), block (of what a "
                  "layer gives, on 1024 tokens of the text)")
      ->capture_default_str();
  verb.add_option("--search", a.search, "reference: the bytes llama-quantize writes");
  verb.add_option("--imatrix", a.options.imatrix, "llama.cpp importance matrix (GGUF or .dat)");
  verb.add_option("--calibration", a.options.calibration.text,
                  "calibration text: .txt, .jsonl, .ids, a directory, or builtin");
  verb.add_option("--samples", a.options.calibration.samples, "calibration samples");
  verb.add_option("--seq-len", a.options.calibration.seq_len, "tokens per calibration sample");
  verb.add_option("--compute", a.options.compute,
                  "products of the calibration run and of AWQ's search: f32, bf16, auto");
  verb.add_option("--statistics", a.options.statistics, "statistics made by qwodel calibrate");
  verb.add_option("--for", a.options.runtimes,
                  "runtimes that must load it: vllm[:tp=N], sglang, lmdeploy, transformers, "
                  "llama.cpp; exit 3 when one cannot; ane, gpu, cpu of Apple's: warnings")
      ->delimiter(',');
  verb.add_option("--tensor-type", a.options.tensor_types, "REGEX=TYPE for matching tensors")
      ->allow_extra_args(false)
      ->take_all();
  verb.add_option("--output-tensor-type", a.options.output_tensor_type, "type of output.weight");
  verb.add_option("--token-embedding-type", a.options.token_embedding_type,
                  "type of token_embd.weight");
  verb.add_flag("--leave-output-tensor", a.options.leave_output_tensor,
                "do not quantize output.weight");
  verb.add_flag("--pure", a.options.pure, "one type for all tensors, no mix");
  verb.add_option("--target-size", a.target_size, "choose types to reach this size");
  verb.add_option("--target-bpw", a.target_bpw, "choose types to reach these bits per weight");
}

void add_coreml_options(CLI::App& verb, Arguments& a) {
  CoremlPackageOptions& coreml = a.options.coreml;
  verb.add_option("--minimum-target", coreml.minimum_target,
                  "coreml: oldest system: ios16, ios17, ios18");
  verb.add_option("--form", coreml.form, "coreml: stateful, stateless; auto: stateful from ios18");
  verb.add_option("--context-length", coreml.context_length,
                  "coreml: tokens a model remembers; 0: 2048");
  verb.add_option("--sequence-length", coreml.sequence_lengths,
                  "coreml, stateless: tokens of a call; several with commas; default: any")
      ->delimiter(',');
  verb.add_flag("--last-logits-only", coreml.last_logits_only,
                "coreml: logits of a call's last token only");
  verb.add_option("--pooling", coreml.pooling,
                  "coreml, encoders: one vector for a text: mean, cls; model: as the model says");
  verb.add_option("--granularity", coreml.granularity,
                  "coreml: per_tensor, per_channel, per_block:N, per_grouped_channel:N");
}

void add_run_options(CLI::App& verb, Arguments& a) {
  verb.add_option("--threads", a.options.threads, "worker threads; 0: one per core");
  add_max_memory(verb, a.options.max_memory);
  verb.add_option("--max-shard-size", a.max_shard_size, "split the file into parts of this size");
  verb.add_flag("--dry-run", a.dry_run, "print the plan and stop");
  verb.add_flag("--force", a.options.force, "replace what is at the output path");
  verb.add_flag("--resume", a.resume, "go on after an interrupted run");
}

[[noreturn]] void usage(std::string where, std::string found, std::string expected) {
  throw Error(ErrorCode::usage, {std::move(where), std::move(found), std::move(expected), ""});
}

void refuse_what_is_not_built(const Arguments& a) {
  const std::map<std::string, bool> given = {{"--search " + a.search, a.search != "reference"},
                                             {"--target-size", !a.target_size.empty()},
                                             {"--target-bpw", a.target_bpw != 0}};
  for (const auto& [option, present] : given) {
    if (!present) continue;
    throw FormatNotSupportedError({.where = option,
                                   .found = "an option this version does not carry out yet",
                                   .expected = "",
                                   .remedy = "leave it out"});
  }
}

QuantizeOptions complete_options(Arguments& a, Common& common) {
  refuse_what_is_not_built(a);
  QuantizeOptions& options = a.options;
  if (options.model.empty()) options.model = a.model_option;
  if (options.model.empty())
    usage("quantize", "no model", "qwodel quantize MODEL --to TARGET -o PATH");
  if (!a.backend.empty() || !a.format.empty()) {
    if (a.backend.empty()) usage("-f", "no -b beside it", "-b BACKEND -f FORMAT");
    options.targets.push_back(a.format.empty() ? a.backend : a.backend + ":" + a.format);
  }
  if (options.targets.empty()) usage("--to", "nothing", "a target such as gguf:Q4_K_M");
  if (!a.max_shard_size.empty()) {
    options.max_shard_size = parse_size("--max-shard-size", a.max_shard_size);
  }
  options.resume = a.resume;
  options.cancel = &common.cancel;
  options.warning = print_warning;
  options.progress = progress_printer();
  options.planned = print_forecast;
  return options;
}

int run(Arguments& arguments, Common& common, bool only_plan) {
  const QuantizeOptions options = complete_options(arguments, common);
  const bool is_plan = only_plan || arguments.dry_run;
  const QuantizeReport report = is_plan ? plan(options) : quantize(options);
  if (common.json) {
    print_json(to_json(report));
  } else {
    print_report(report, is_plan, common.verbose);
  }
  return 0;
}

std::function<int()> add(CLI::App& app, Common& common, const std::string& name,
                         const std::string& summary, const std::string& example, bool only_plan) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* verb = add_verb(app, common, name, summary, example);
  add_source_options(*verb, *arguments);
  add_method_options(*verb, *arguments);
  add_coreml_options(*verb, *arguments);
  add_run_options(*verb, *arguments);
  return [arguments, &common, only_plan] { return run(*arguments, common, only_plan); };
}

}  // namespace

std::function<int()> add_quantize(CLI::App& app, Common& common) {
  return add(app, common, "quantize", "Quantize a model into one or more artifacts",
             "qwodel quantize SmolLM2-135M --to gguf:Q4_K_M -o SmolLM2-135M-Q4_K_M.gguf", false);
}

std::function<int()> add_plan(CLI::App& app, Common& common) {
  return add(app, common, "plan", "Show what quantize would do: every tensor, type, size, reason",
             "qwodel plan SmolLM2-135M --to gguf:Q4_K_M", true);
}

}  // namespace qwodel::cli
