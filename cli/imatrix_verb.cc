// imatrix: an importance matrix in llama.cpp's format.
#include <fmt/format.h>

#include "cli/output.h"
#include "cli/verb.h"

namespace qwodel::cli {

std::function<int()> add_imatrix(CLI::App& app, Common& common) {
  auto options = std::make_shared<ImatrixOptions>();
  CLI::App* verb =
      add_verb(app, common, "imatrix", "Make an importance matrix in llama.cpp's format",
               "qwodel imatrix SmolLM2-135M --text calibration.txt -o imatrix.gguf");
  verb->add_option("model", options->run.model, "Hugging Face directory or .gguf");
  verb->add_option("--text", options->text, "text file, or token ids in a .ids file");
  verb->add_option("--statistics", options->statistics, "or statistics of qwodel calibrate");
  verb->add_option("-o,--output", options->output, "GGUF file; .dat: the older form");
  verb->add_option("--ctx", options->context, "tokens of a chunk");
  verb->add_option("--chunks", options->chunks, "chunks at most; 0: the whole text");
  verb->add_flag("--force", options->force, "replace what is at the output path");
  verb->add_option("--compute", options->run.compute, "matrix products in f32 or bf16; auto");
  verb->add_option("--threads", options->run.threads, "worker threads; 0: one per core");
  add_max_memory(*verb, options->run.max_memory);
  verb->add_option("--arch-as", options->run.arch_as, "as for quantize");
  return [options, &common] {
    options->run.cancel = &common.cancel;
    options->run.progress = progress_printer();
    if (options->run.model.empty() && options->statistics.empty()) {
      throw Error(ErrorCode::usage, {.where = "imatrix",
                                     .found = "no model",
                                     .expected = "qwodel imatrix MODEL --text FILE -o FILE",
                                     .remedy = ""});
    }
    const ImatrixReport r = make_imatrix(*options);
    if (common.json) {
      print_json({{"path", options->output.string()},
                  {"entries", r.entries},
                  {"chunks", r.chunks},
                  {"tokens", r.tokens},
                  {"compute", r.compute},
                  {"seconds", r.seconds}});
    } else {
      fmt::print("{}: {} weights, {} chunks, {} tokens, products in {}, {:.1f} s\n",
                 options->output.string(), r.entries, r.chunks, r.tokens, r.compute, r.seconds);
    }
    return 0;
  };
}

}  // namespace qwodel::cli
