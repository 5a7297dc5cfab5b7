// Quantizing a model: one call from a checkpoint to artifacts.
//
//   qwodel::QuantizeOptions options;
//   options.model = "SmolLM2-135M";
//   options.targets = {"gguf:Q4_K_M"};
//   options.output = "SmolLM2-135M-Q4_K_M.gguf";
//   const qwodel::QuantizeReport report = qwodel::quantize(options);
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "qwodel/calibrate.h"
#include "qwodel/error.h"
#include "qwodel/progress.h"

namespace qwodel {

// Of a Core ML package.
struct CoremlPackageOptions {
  std::string minimum_target = "ios18";  // the oldest system that runs it: ios16, ios17, ios18
  std::string form = "auto";             // stateful, stateless; auto: stateful from ios18 on
  std::uint64_t context_length = 0;      // 0: 2048, or what the model has if that is less
  std::vector<std::uint64_t>
      sequence_lengths;           // tokens of a call of a stateless package; none: any
  bool last_logits_only = false;  // of a call
  std::string granularity;        // per_tensor, per_channel, per_block:N, per_grouped_channel:N
  std::string pooling = "none";   // of an encoder: none (each token), mean, cls; model: what the
                                  // checkpoint's modules.json says
};

struct QuantizeReport;

struct QuantizeOptions {
  std::filesystem::path model;  // Hugging Face directory, or .gguf
  std::vector<std::string>
      targets;  // "gguf:Q4_K_M", "ct:W4A16"; several may stand in one, comma-separated
  std::filesystem::path output;                // file or directory; see cli.md in the documentation
  std::filesystem::path imatrix;               // importance matrix (GGUF or .dat); empty: none
  std::filesystem::path statistics;            // or statistics of calibrate(), of the same model
  CalibrationOptions calibration{.text = {}};  // or run this text first; no text: none
  std::string compute = "auto";                // products of that run: f32, bf16, auto
  std::vector<std::string> runtimes;           // must load them: "vllm:tp=2", "lmdeploy"; what one
                                               // of them refuses is an error
  std::string method;                          // rtn, search, awq, gptq; empty: the target's own
  bool true_sequential = true;                 // gptq with a text: linears are quantized on what
                                               // the quantized ones before them give
  bool desc_act = false;  // gptq targets: groups of columns in order of activation (g_idx);
                          // vLLM and LMDeploy refuse it
  float mismatch_strength = 0.5f;   // then: how far a linear makes up for them, 0 to 1 (GPTAQ)
  std::string awq_loss = "linear";  // what chooses AWQ's scales: linear (errors of the linears'
                                    // outputs on all tokens), block (of what a layer gives, on 1024
                                    // tokens of the text: slower)

  std::string outtype = "auto";           // type before quantization: auto, f32, f16 or bf16, as
                                          // convert_hf_to_gguf.py's option of that name
  std::vector<std::string> tensor_types;  // "REGEX=TYPE", first match wins
  std::string output_tensor_type;         // type of output.weight; empty: the mix decides
  std::string token_embedding_type;       // type of token_embd.weight; empty: the mix decides
  bool pure = false;                      // the file type's own type everywhere, no mix
  bool leave_output_tensor = false;       // do not quantize output.weight

  std::string arch_as;        // treat an unknown Llama-shaped class as this: "llama"
  std::string tokenizer_pre;  // overrides tokenizer.ggml.pre
  std::string model_name;     // overrides general.name

  CoremlPackageOptions coreml;

  int threads = 0;                   // 0: one per core
  std::uint64_t max_memory = 0;      // bytes the job may use for its buffers; 0: its default
  std::uint64_t max_shard_size = 0;  // bytes of data per file; 0: one file
  bool force = false;                // replace what is at the output path
  bool resume = false;               // go on with what an interrupted run of the same options left;
                                     // of a .gguf below 1 GiB only a run with this leaves something

  ProgressCallback progress;                      // may be empty
  std::function<void(std::string_view)> warning;  // may be empty
  // What plan() foretells, before the work of a run that is calibrated; may be empty.
  std::function<void(const QuantizeReport& plan)> planned;
  const CancelToken* cancel = nullptr;  // may be null
};

// Of a linear of a directory (awq, gptq, ct) that was quantized under its inputs.
struct CalibratedLinear {
  std::uint64_t tokens = 0;  // that reached it; an expert sees some of them

  // Squared error of its outputs / their squares, under the second moments of its inputs, on at
  // most 256 outputs: of weights rounded to nearest, and of those that were written. Nothing
  // without tokens.
  std::optional<double> loss_before = std::nullopt;
  std::optional<double> loss_after = std::nullopt;

  // Of AWQ: channels were scaled by mean |x| ^ ratio, and by mean |w| ^ (ratio - 1), too, when
  // scale_duo. A ratio of 0 without that: no scales were better.
  std::optional<double> scale_ratio = std::nullopt;
  bool scale_duo = false;
  bool scale_refused = false;  // they changed what the layer gives, and were left out

  // Of GPTQ: times the mean of the Hessian's diagonal, added to it.
  std::optional<double> damp_percent = std::nullopt;
};

struct TensorReport {
  std::string name;
  std::string type;
  std::uint64_t bytes = 0;
  std::string method;
  std::string reason;
  std::optional<double> nmse;  // squared error / squared values; measured, so not part of a plan
  std::optional<CalibratedLinear> calibrated = std::nullopt;
};

struct PhaseTime {
  std::string name;    // such as "model", "second moments", "feedback"
  double seconds = 0;  // of wall time
};

struct ArtifactReport {
  std::filesystem::path path;  // of the first shard where there are several
  std::string target;          // "gguf:Q4_K_M"
  std::uint64_t bytes = 0;     // of all files
  double bits_per_weight = 0;  // of the tensors' data
  std::vector<TensorReport> tensors;
  std::vector<PhaseTime> phases;  // of a method that runs with the model
};

struct QuantizeReport {
  std::vector<ArtifactReport> artifacts;
  // Peak resident memory of the process, pages of mapped checkpoints included, and wall time. In a
  // plan both are forecasts of the run: memory from its buffers and tiles, time from encoding a few
  // tiles of the model, without what the disk adds.
  std::uint64_t peak_memory_bytes = 0;
  double seconds = 0;
};

// Quantizes and verifies; artifacts appear at their paths complete or not at all. Throws Error.
QuantizeReport quantize(const QuantizeOptions& options);

// What quantize() would do: every tensor, type, bytes and reason. Writes nothing.
QuantizeReport plan(const QuantizeOptions& options);

}  // namespace qwodel
