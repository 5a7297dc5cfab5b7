#include "graph/matmul.h"

#include <algorithm>
#include <array>
#include <map>
#include <mutex>
#include <oneapi/dnnl/dnnl.hpp>
#include <shared_mutex>

#include "graph/aligned_buffer.h"

namespace qwodel {
namespace {

using dnnl::memory;

const dnnl::engine& cpu() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

// m, n, k, strides of the rows of a, b and out, is bf16, b is transposed.
using Shape = std::array<std::int64_t, 8>;

struct Product {
  memory::desc a;
  memory::desc b;
  memory::desc out;
  memory::desc scratchpad;
  dnnl::matmul primitive;
};

Product make_product(const Shape& shape) {
  const auto& [m, n, k, a_stride, b_stride, out_stride, is_bf16, transposed] = shape;
  const auto type = is_bf16 != 0 ? memory::data_type::bf16 : memory::data_type::f32;
  Product product;
  product.a = memory::desc({m, k}, type, memory::dims{a_stride, 1});
  product.b = memory::desc({k, n}, type,
                           transposed != 0 ? memory::dims{1, b_stride} : memory::dims{b_stride, 1});
  product.out = memory::desc({m, n}, memory::data_type::f32, memory::dims{out_stride, 1});
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  const dnnl::matmul::primitive_desc description(
      dnnl::matmul::desc(product.a, product.b, product.out), attributes, cpu());
  product.scratchpad = description.scratchpad_desc();
  product.primitive = dnnl::matmul(description);
  return product;
}

// Code is generated per shape, once per process.
const Product& find_product(const Shape& shape) {
  static std::shared_mutex mutex;
  static std::map<Shape, Product> products;
  {
    const std::shared_lock lock(mutex);
    const auto found = products.find(shape);
    if (found != products.end()) return found->second;
  }
  Product product = make_product(shape);
  const std::scoped_lock lock(mutex);
  return products.emplace(shape, std::move(product)).first->second;
}

template <class T>
void run(Matrix<const T> a, Matrix<const T> b, MatrixView out, bool transposed) {
  if (out.rows == 0 || out.cols == 0) return;
  if (a.cols == 0) {
    for (std::size_t i = 0; i < out.rows; ++i) std::ranges::fill(out.row(i), 0.0f);
    return;
  }
  const auto size = [](std::size_t value) { return static_cast<std::int64_t>(value); };
  const Product& product =
      find_product({size(out.rows), size(out.cols), size(a.cols), size(a.stride), size(b.stride),
                    size(out.stride), sizeof(T) == 2, transposed});
  thread_local AlignedBuffer<std::byte> scratchpad;
  thread_local dnnl::stream stream(cpu());
  scratchpad.reserve(product.scratchpad.get_size());
  const auto wrap = [](const memory::desc& description, const void* data) {
    return memory(description, cpu(), const_cast<void*>(data));
  };
  product.primitive.execute(stream,
                            {{DNNL_ARG_SRC, wrap(product.a, a.data)},
                             {DNNL_ARG_WEIGHTS, wrap(product.b, b.data)},
                             {DNNL_ARG_DST, wrap(product.out, out.data)},
                             {DNNL_ARG_SCRATCHPAD, wrap(product.scratchpad, scratchpad.data())}});
}

}  // namespace

bool has_fast_bf16() {
  const auto isa = static_cast<unsigned>(dnnl::get_effective_cpu_isa());
  const auto bf16 = static_cast<unsigned>(dnnl::cpu_isa::avx512_core_bf16);
  return (isa & bf16) == bf16;
}

void multiply_transposed(Matrix<const float> a, Matrix<const float> b, MatrixView out) {
  run(a, b, out, true);
}

void multiply_transposed(Matrix<const std::uint16_t> a, Matrix<const std::uint16_t> b,
                         MatrixView out) {
  run(a, b, out, true);
}

void multiply(Matrix<const float> a, Matrix<const float> b, MatrixView out) {
  run(a, b, out, false);
}

void multiply(Matrix<const std::uint16_t> a, Matrix<const std::uint16_t> b, MatrixView out) {
  run(a, b, out, false);
}

}  // namespace qwodel
