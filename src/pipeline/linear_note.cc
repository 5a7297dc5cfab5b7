#include "pipeline/linear_note.h"

#include <cmath>
#include <optional>
#include <string>

#include "io/json.h"

namespace qwodel {
namespace {

Json number_or_null(const std::optional<double>& value) {
  return value && std::isfinite(*value) ? Json(*value) : Json(nullptr);
}

std::optional<double> number(const Json& note, const char* key) {
  const Json* value = find_member(note, key);
  if (value == nullptr || !value->is_number()) return std::nullopt;
  return value->get<double>();
}

bool flag(const Json& note, const char* key) {
  const Json* value = find_member(note, key);
  return value != nullptr && value->is_boolean() && value->get<bool>();
}

}  // namespace

Json to_note(const TensorReport& row) {
  Json note = {{"method", row.method}, {"nmse", number_or_null(row.nmse)}};
  if (!row.calibrated) return note;
  const CalibratedLinear& linear = *row.calibrated;
  note["calibrated"] = {{"tokens", linear.tokens},
                        {"loss_before", number_or_null(linear.loss_before)},
                        {"loss_after", number_or_null(linear.loss_after)},
                        {"scale_ratio", number_or_null(linear.scale_ratio)},
                        {"scale_duo", linear.scale_duo},
                        {"scale_refused", linear.scale_refused},
                        {"damp_percent", number_or_null(linear.damp_percent)}};
  return note;
}

void read_note(const Json& note, TensorReport& row) {
  const Json* method = find_member(note, "method");
  if (method != nullptr && method->is_string()) row.method = method->get<std::string>();
  row.nmse = number(note, "nmse");
  const Json* linear = find_member(note, "calibrated");
  if (linear == nullptr) return;
  const Json* tokens = find_member(*linear, "tokens");
  const bool counted = tokens != nullptr && tokens->is_number_unsigned();
  row.calibrated = {.tokens = counted ? tokens->get<std::uint64_t>() : 0,
                    .loss_before = number(*linear, "loss_before"),
                    .loss_after = number(*linear, "loss_after"),
                    .scale_ratio = number(*linear, "scale_ratio"),
                    .scale_duo = flag(*linear, "scale_duo"),
                    .scale_refused = flag(*linear, "scale_refused"),
                    .damp_percent = number(*linear, "damp_percent")};
}

}  // namespace qwodel
