// logits and generate: running a model.
#include <fmt/format.h>

#include <fstream>

#include "cli/output.h"
#include "cli/verb.h"

namespace qwodel::cli {
namespace {

void add_run_options(CLI::App& verb, RunOptions& options) {
  verb.add_option("model", options.model, "Hugging Face directory or .gguf")->required();
  verb.add_option("--compute", options.compute,
                  "matrix products in f32 or bf16; auto: bf16 where the processor has it");
  verb.add_option("--threads", options.threads, "worker threads; 0: one per core");
  verb.add_option("--arch-as", options.arch_as, "as for quantize");
}

// Ids separated by white space or commas.
std::vector<std::uint32_t> read_ids(const std::string& path) {
  std::ifstream file(path);
  if (!file) {
    throw DependencyError({.where = path,
                           .found = "no readable file",
                           .expected = "token ids separated by white space",
                           .remedy = ""});
  }
  std::vector<std::uint32_t> ids;
  while (true) {
    while (file && (std::isspace(file.peek()) || file.peek() == ',')) file.get();
    if (file.peek() == std::ifstream::traits_type::eof()) return ids;
    std::uint32_t id = 0;
    if (!(file >> id)) {
      throw ValidationError({.where = path,
                             .found = fmt::format("something else after {} ids", ids.size()),
                             .expected = "token ids separated by white space",
                             .remedy = ""});
    }
    ids.push_back(id);
  }
}

}  // namespace

std::function<int()> add_logits(CLI::App& app, Common& common) {
  struct Arguments {
    RunOptions options;
    std::string tokens;
    std::string output;
  };
  auto arguments = std::make_shared<Arguments>();
  CLI::App* verb = add_verb(app, common, "logits", "Write the logits of a sequence of token ids",
                            "qwodel logits SmolLM2-135M --tokens ids.txt -o logits.npy");
  add_run_options(*verb, arguments->options);
  verb->add_option("--tokens", arguments->tokens, "file of token ids separated by white space")
      ->required();
  verb->add_option("-o,--output", arguments->output, "NumPy file, f32 [tokens, vocabulary]")
      ->required();
  return [arguments, &common] {
    RunOptions& options = arguments->options;
    options.cancel = &common.cancel;
    options.progress = progress_printer();
    const auto ids = read_ids(arguments->tokens);
    const LogitsReport report = write_logits(options, ids, arguments->output);
    if (common.json) {
      print_json({{"path", arguments->output},
                  {"tokens", report.tokens},
                  {"vocab_size", report.vocab_size},
                  {"compute", report.compute},
                  {"forward_seconds", report.forward_seconds},
                  {"logits_seconds", report.logits_seconds}});
    } else {
      fmt::print("{}: {} x {}, {} products, {:.2f} s forward, {:.2f} s logits\n", arguments->output,
                 report.tokens, report.vocab_size, report.compute, report.forward_seconds,
                 report.logits_seconds);
    }
    return 0;
  };
}

std::function<int()> add_generate(CLI::App& app, Common& common) {
  struct Arguments {
    RunOptions options;
    std::string prompt;
    std::uint64_t count = 64;
  };
  auto arguments = std::make_shared<Arguments>();
  CLI::App* verb = add_verb(app, common, "generate", "Continue a text, greedily",
                            "qwodel generate SmolLM2-135M --prompt \"Once upon a time\"");
  add_run_options(*verb, arguments->options);
  verb->add_option("--prompt", arguments->prompt, "the text to continue")->required();
  verb->add_option("-n,--tokens", arguments->count, "at most this many new tokens");
  return [arguments, &common] {
    arguments->options.cancel = &common.cancel;
    const auto show = [](std::string_view text) {
      fmt::print("{}", text);
      std::fflush(stdout);
    };
    if (!common.json) fmt::print("{}", arguments->prompt);
    const GenerateReport report =
        generate(arguments->options, arguments->prompt, arguments->count,
                 common.json ? std::function<void(std::string_view)>() : show);
    if (common.json) {
      print_json({{"prompt_ids", report.prompt_ids},
                  {"ids", report.ids},
                  {"text", report.text},
                  {"compute", report.compute},
                  {"prompt_seconds", report.prompt_seconds},
                  {"token_seconds", report.token_seconds}});
    } else {
      fmt::print("\n");
    }
    return 0;
  };
}

}  // namespace qwodel::cli
