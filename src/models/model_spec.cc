#include "models/model_spec.h"

namespace qwodel {

TensorView whole_tensor(std::uint32_t source, const std::vector<std::uint64_t>& shape) {
  TensorView view{.source = source, .offset = 0, .shape = shape, .strides = shape};
  std::uint64_t stride = 1;
  for (std::size_t axis = shape.size(); axis-- > 0;) {
    view.strides[axis] = stride;
    stride *= shape[axis];
  }
  return view;
}

}  // namespace qwodel
