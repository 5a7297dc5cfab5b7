// The methods that use statistics of activations: what they do and what they need.
#pragma once

#include <string_view>

#include "qwodel/quantize.h"

namespace qwodel {

// Which of the calibrated steps are done.
struct CalibratedMethod {
  bool scale = false;              // AWQ: channels are scaled before rounding
  bool feed_back = false;          // GPTQ: errors are made up for by later columns
  float mismatch_strength = 0;     // how far it makes up for what earlier layers did; 0: not
  bool activation_groups = false;  // of GPTQ: groups are of columns in order of activation
};

// What awq, gptq and awq+gptq do, by their names; null for others.
const CalibratedMethod* find_calibrated_method(std::string_view name);

// Whether each linear is quantized on what the quantized ones before it give. A text is better than
// statistics of the original model, which do not know that.
bool is_true_sequential(const CalibratedMethod& method, const QuantizeOptions& options);

// The runs of the model that a method takes.
struct CalibrationWork {
  bool statistics = false;  // a pass that sums the second moments of all inputs
  bool scaled = false;      // AWQ's search
  bool by_block = false;    // that runs layers to choose (block_loss.h)
  bool sequential = false;  // a pass in which linears are quantized one after the other
  bool compared = false;    // and one of the original model beside it
};

// `sequential`: the method's linears are quantized one after the other where they can be.
// `statistics`: it uses second moments; they are not summed when the options name a file of them.
CalibrationWork calibration_work(const CalibratedMethod& method, const QuantizeOptions& options,
                                 bool statistics, bool sequential);

}  // namespace qwodel
