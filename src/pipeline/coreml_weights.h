// Fills the weight file of a Core ML package.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "kernels/error_sums.h"
#include "pipeline/coreml_fit.h"
#include "pipeline/progress_meter.h"
#include "sources/model_tensor_reader.h"
#include "targets/coreml/weight_encoder.h"
#include "targets/coreml/weight_file.h"

namespace qwodel {

// What was written, for reading it back.
struct WrittenPiece {
  std::uint64_t position = 0;  // in the file
  std::uint64_t bytes = 0;
  std::uint64_t hash = 0;
};

struct WrittenWeights {
  std::vector<WrittenPiece> pieces;  // the same for any number of threads
  std::vector<ErrorSums> errors;     // of each stored weight
  std::uint64_t hash = 0;            // of all pieces
};

// Encodes the weights in tiles of rows, several at a time; those with feedback as a whole, one
// after the other. `readers` has one for each weight of the graph; `evidence` is that of the
// fit. Throws FormatNotSupportedError for values that half precision cannot hold,
// QuantizationError for values that are not finite and as factor_of_input().
WrittenWeights write_coreml_weights(const WeightFile& file, const Graph& graph,
                                    std::span<const ModelTensorReader* const> readers,
                                    const CoremlFit& fit, const CoremlEvidence& evidence,
                                    const std::filesystem::path& path, int threads,
                                    ProgressMeter& meter);

// Throws ValidationError (verification_failed) when the file does not hold what was written.
void verify_coreml_weights(const std::filesystem::path& path, const WrittenWeights& written);

}  // namespace qwodel
