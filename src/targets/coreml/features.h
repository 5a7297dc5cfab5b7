// The inputs, outputs and states of a package as programs that load it see them.
#pragma once

#include "formats/mlpackage/model.pb.h"
#include "targets/coreml/lowering.h"

namespace qwodel {

// A stateful model's inputs all have ranges (Core ML refuses to mix ranges with fixed shapes
// there). An output has a shape only if it is the same for every call.
void describe_features(const Lowering& lowering, const MilValue& ids, const MilValue& result,
                       coreml::ModelDescription& description);

}  // namespace qwodel
