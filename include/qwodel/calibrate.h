// Calibration: what the inputs of a model's linears look like on a text. Statistics files serve all
// methods of quantization; importance matrices are llama.cpp's part of them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "qwodel/error.h"
#include "qwodel/run.h"

namespace qwodel {

// Which tokens are run.
struct CalibrationOptions {
  std::string text = "builtin";  // "builtin", a text, .jsonl or .ids file, or a directory of these
  std::uint64_t samples = 128;   // at most, spread over the text
  std::uint64_t seq_len = 512;   // tokens of each
};

struct CalibrateOptions {
  RunOptions run;
  CalibrationOptions calibration;
  std::filesystem::path output;  // .qstats
  bool gram = true;              // X^T X of every input too, as AWQ and GPTQ need
  // Bytes for sums of a layer's Gram matrices. Rows of those that find no room go to a scratch file
  // beside the output until the layer ends. The statistics are the same.
  std::uint64_t gram_memory = std::uint64_t{2} << 30;
  bool force = false;        // replace what is at the output path
  bool resume = false;       // go on after an interrupted run
  double keep_seconds = 10;  // between the stages that such a run can go on from
};

struct CalibrateReport {
  std::uint64_t tokens = 0;
  std::uint64_t sequences = 0;
  std::uint64_t inputs = 0;  // distinct inputs of linears
  std::uint64_t bytes = 0;
  std::uint64_t resumed_stages = 0;  // that did not have to be run
  std::string compute;
  std::string model_hash;
  std::string text_hash;
  double seconds = 0;
};

// One forward pass. The file is the same for any number of threads, and for a run that was
// interrupted. Throws Error.
CalibrateReport calibrate(const CalibrateOptions& options);

// Adds statistics files of one model and different texts. Throws Error.
void merge_calibrations(const std::vector<std::filesystem::path>& files,
                        const std::filesystem::path& output, bool force);

struct ImatrixOptions {
  RunOptions run;
  std::filesystem::path text;        // run in chunks as llama-imatrix does
  std::filesystem::path statistics;  // or statistics that are there already
  std::filesystem::path output;      // .dat: the older form; else GGUF
  std::uint64_t context = 512;
  std::uint64_t chunks = 0;  // at most; 0: the whole text
  bool force = false;
};

struct ImatrixReport {
  std::uint64_t entries = 0;  // weights
  std::uint64_t chunks = 0;
  std::uint64_t tokens = 0;
  std::string compute;
  double seconds = 0;
};

// Throws Error.
ImatrixReport make_imatrix(const ImatrixOptions& options);

}  // namespace qwodel
