#include "graph/compute_type.h"

#include "graph/matmul.h"

namespace qwodel {

ComputeType resolved(ComputeType compute) {
  if (compute != ComputeType::automatic) return compute;
  return has_fast_bf16() ? ComputeType::bf16 : ComputeType::f32;
}

}  // namespace qwodel
