#include "targets/coreml/compression.h"

#include <fmt/format.h>

namespace qwodel {

std::string name_of(const WeightScheme& scheme) {
  switch (scheme.form) {
    case WeightForm::float16:
      return "fp16";
    case WeightForm::linear: {
      std::string name = fmt::format("int{}", scheme.bits);
      if (scheme.block != 0) name += fmt::format("-b{}", scheme.block);
      if (scheme.per_tensor) name += "-tensor";
      return scheme.symmetric ? name : name + "-offset";
    }
    case WeightForm::palette:
      break;
  }
  const std::string name = fmt::format("palette{}", scheme.bits);
  return scheme.group_rows == 0 ? name : fmt::format("{}-g{}", name, scheme.group_rows);
}

}  // namespace qwodel
