#include "pipeline/calibrated_method.h"

#include <algorithm>
#include <array>

namespace qwodel {

const CalibratedMethod* find_calibrated_method(std::string_view name) {
  struct Named {
    std::string_view name;
    CalibratedMethod steps;
  };
  static constexpr std::array kMethods = {Named{"awq", {.scale = true, .feed_back = false}},
                                          Named{"gptq", {.scale = false, .feed_back = true}},
                                          Named{"awq+gptq", {.scale = true, .feed_back = true}}};
  const auto* found = std::ranges::find(kMethods, name, &Named::name);
  return found == kMethods.end() ? nullptr : &found->steps;
}

bool is_true_sequential(const CalibratedMethod& method, const QuantizeOptions& options) {
  const bool text = !options.calibration.text.empty() || options.statistics.empty();
  return method.feed_back && options.true_sequential && text;
}

CalibrationWork calibration_work(const CalibratedMethod& method, const QuantizeOptions& options,
                                 bool statistics, bool sequential) {
  return {.statistics = statistics && options.statistics.empty(),
          .scaled = method.scale,
          .by_block = method.scale && options.awq_loss == "block",
          .sequential = sequential,
          .compared = sequential && options.mismatch_strength > 0};
}

}  // namespace qwodel
