// Tensors of rotary scaling that no checkpoint holds: llama3 frequency factors, longrope factors.
#pragma once

#include <vector>

#include "models/registry.h"

namespace qwodel {

// rope_freqs.weight when rope_parameters say "llama3": one factor per pair of a head's rows, by
// which the runtime divides the frequency. Long wavelengths get the full factor, short ones 1,
// those in between a blend (Llama 3.1 model card; single precision in the converter's order of
// operations).
void add_llama3_factors(const ModelContext& model, std::vector<ModelTensor>& out);

// A generated vector.
ModelTensor generated_tensor(std::string name, std::vector<float> values);

// A list of numbers as floats. Throws ValidationError naming `key` when it is something else.
std::vector<float> float_list(const ModelConfig& config, std::string_view key);

}  // namespace qwodel
