#include "graph/matmul.h"

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <mutex>
#include <oneapi/dnnl/dnnl.hpp>
#include <shared_mutex>
#include <vector>

#include "kernels/convert.h"

namespace qwodel {
namespace {

using dnnl::memory;

const dnnl::engine& cpu() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

std::int64_t signed_size(std::size_t value) { return static_cast<std::int64_t>(value); }

memory::data_type type_of(bool bf16) {
  return bf16 ? memory::data_type::bf16 : memory::data_type::f32;
}

bool has_bf16_products() {
  static const bool has = [] {
    constexpr std::int64_t kSize = 64;
    const memory::desc factor({kSize, kSize}, memory::data_type::bf16, memory::format_tag::ab);
    const memory::desc out({kSize, kSize}, memory::data_type::f32, memory::format_tag::ab);
    try {
      static_cast<void>(
          dnnl::matmul::primitive_desc(dnnl::matmul::desc(factor, factor, out), cpu()));
      return true;
    } catch (const dnnl::error&) {
      return false;
    }
  }();
  return has;
}

// The factors as f32, in a buffer of the thread; one per side of a product.
Matrix<const float> widened(Matrix<const std::uint16_t> a, AlignedBuffer<float>& buffer) {
  buffer.reserve(a.rows * a.cols);
  for (std::size_t i = 0; i < a.rows; ++i) {
    bfloat16_to_float(a.row(i).data(), a.cols, buffer.data() + i * a.cols);
  }
  return {buffer.data(), a.rows, a.cols};
}

ConstMatrixView rounded_to_bf16(ConstMatrixView a, AlignedBuffer<float>& buffer) {
  std::vector<std::uint16_t> row(a.cols);
  buffer.reserve(a.rows * a.cols);
  for (std::size_t i = 0; i < a.rows; ++i) {
    float_to_bfloat16(a.row(i).data(), a.cols, row.data());
    bfloat16_to_float(row.data(), a.cols, buffer.data() + i * a.cols);
  }
  return {buffer.data(), a.rows, a.cols};
}

thread_local AlignedBuffer<float> left_buffer;
thread_local AlignedBuffer<float> right_buffer;

// One is made at a time: threads that come to a new shape together would generate its code twice.
std::mutex making;

// What was made once per shape; made anew when there have been many others since.
template <class Key, class Value>
class ShapeCache {
 public:
  template <class Make>
  std::shared_ptr<const Value> find(const Key& key, const Make& make) {
    if (auto known = look_up(key)) return known;
    const std::scoped_lock only(making);
    if (auto known = look_up(key)) return known;
    auto value = std::make_shared<const Value>(make());
    const std::scoped_lock lock(mutex_);
    if (values_.size() >= kMost) values_.clear();
    return values_.emplace(key, std::move(value)).first->second;
  }

 private:
  std::shared_ptr<const Value> look_up(const Key& key) {
    const std::shared_lock lock(mutex_);
    const auto found = values_.find(key);
    return found != values_.end() ? found->second : nullptr;
  }

  static constexpr std::size_t kMost = 512;
  std::shared_mutex mutex_;
  std::map<Key, std::shared_ptr<const Value>> values_;
};

enum class Left : std::uint8_t { plain, transposed };
enum class Right : std::uint8_t { plain, transposed, packed };

// `right_stride` is the distance of the right factor's rows; of a packed one, how many it has.
struct Shape {
  std::int64_t m, n, k;
  std::int64_t left_stride, right_stride, out_stride;
  bool bf16;
  Left left;
  Right right;
  Output output = Output::replace;

  auto operator<=>(const Shape&) const = default;
};

struct Product {
  memory::desc a;
  memory::desc b;
  memory::desc out;
  memory::desc scratchpad;
  dnnl::matmul primitive;
};

// Where rows of a packed matrix are.
struct Part {
  memory::desc layout;
  std::size_t offset = 0;  // bytes
};

// Where oneDNN has no layout of its own, rows of b^T. Rows at distances of a power of two would be
// in each other's way in the cache, which halves the speed of products with 256 rows.
memory::desc with_row_gaps(const memory::desc& layout) {
  constexpr std::int64_t kLine = 16;  // values
  const auto& blocking = layout.data.format_desc.blocking;
  const std::int64_t n = layout.dims().back();
  if (blocking.inner_nblks != 0 || blocking.strides[0] != n || blocking.strides[1] != 1) {
    return layout;
  }
  std::int64_t stride = (n + kLine - 1) / kLine * kLine + kLine;
  if (stride % (8 * kLine) == 0) stride += kLine;
  return memory::desc(layout.dims(), layout.data_type(), memory::dims{stride, 1});
}

memory::desc packed_layout(std::size_t rows, std::size_t cols, bool bf16) {
  struct Layout {
    memory::desc value;
  };
  static ShapeCache<std::array<std::int64_t, 3>, Layout> layouts;
  const std::int64_t n = signed_size(rows);
  const std::int64_t k = signed_size(cols);
  return layouts
      .find({n, k, bf16},
            [&] {
              constexpr std::int64_t kTypicalRows = 256;  // of the left factor
              const auto type = type_of(bf16);
              const dnnl::matmul::desc product(
                  memory::desc({kTypicalRows, k}, type, memory::format_tag::ab),
                  memory::desc({k, n}, type, memory::format_tag::any),
                  memory::desc({kTypicalRows, n}, memory::data_type::f32, memory::format_tag::ab));
              return Layout{
                  with_row_gaps(dnnl::matmul::primitive_desc(product, cpu()).weights_desc())};
            })
      ->value;
}

Part part_of(const memory::desc& layout, std::size_t first, std::size_t count, bool bf16) {
  const std::int64_t k = layout.dims().front();
  Part part{layout.submemory_desc({k, signed_size(count)}, {0, signed_size(first)}), 0};
  // In the address and not in the layout, so that all parts of a size share one primitive.
  part.offset = static_cast<std::size_t>(part.layout.data.offset0) * (bf16 ? 2 : 4);
  part.layout.data.offset0 = 0;
  return part;
}

Product make_product(const Shape& shape, const memory::desc& right) {
  const auto type = type_of(shape.bf16);
  Product product;
  const memory::dims strides = shape.left == Left::transposed ? memory::dims{1, shape.left_stride}
                                                              : memory::dims{shape.left_stride, 1};
  product.a = memory::desc({shape.m, shape.k}, type, strides);
  product.b = right;
  product.out =
      memory::desc({shape.m, shape.n}, memory::data_type::f32, memory::dims{shape.out_stride, 1});
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (shape.output == Output::add) {
    dnnl::post_ops sum;
    sum.append_sum();
    attributes.set_post_ops(sum);
  }
  const dnnl::matmul::primitive_desc description(
      dnnl::matmul::desc(product.a, product.b, product.out), attributes, cpu());
  product.scratchpad = description.scratchpad_desc();
  product.primitive = dnnl::matmul(description);
  return product;
}

dnnl::stream& stream() {
  thread_local dnnl::stream own(cpu());
  return own;
}

memory wrap(const memory::desc& description, const void* data) {
  return memory(description, cpu(), const_cast<void*>(data));
}

void execute(const Shape& shape, const memory::desc& right, const void* a, const void* b,
             float* out) {
  static ShapeCache<Shape, Product> products;  // code is generated per shape
  const auto product = products.find(shape, [&] { return make_product(shape, right); });
  thread_local AlignedBuffer<std::byte> scratchpad;
  scratchpad.reserve(product->scratchpad.get_size());
  product->primitive.execute(stream(),
                             {{DNNL_ARG_SRC, wrap(product->a, a)},
                              {DNNL_ARG_WEIGHTS, wrap(product->b, b)},
                              {DNNL_ARG_DST, wrap(product->out, out)},
                              {DNNL_ARG_SCRATCHPAD, wrap(product->scratchpad, scratchpad.data())}});
}

// True when there is nothing to multiply.
bool is_trivial(std::size_t depth, MatrixView out) {
  if (out.rows == 0 || out.cols == 0) return true;
  if (depth != 0) return false;
  for (std::size_t i = 0; i < out.rows; ++i) std::ranges::fill(out.row(i), 0.0f);
  return true;
}

template <class T>
Shape shape_of(Matrix<const T> a, Left left, std::size_t right_stride, Right right,
               MatrixView out) {
  return {.m = signed_size(out.rows),
          .n = signed_size(out.cols),
          .k = signed_size(left == Left::transposed ? a.rows : a.cols),
          .left_stride = signed_size(a.stride),
          .right_stride = signed_size(right_stride),
          .out_stride = signed_size(out.stride),
          .bf16 = sizeof(T) == 2,
          .left = left,
          .right = right,
          .output = Output::replace};
}

template <class T>
void run(Matrix<const T> a, Left left, Matrix<const T> b, Right right, MatrixView out,
         Output output = Output::replace) {
  const std::size_t depth = left == Left::transposed ? a.rows : a.cols;
  if (output == Output::add && depth == 0) return;
  if (is_trivial(depth, out)) return;
  if constexpr (sizeof(T) == 2) {
    if (!has_bf16_products()) {
      run(widened(a, left_buffer), left, widened(b, right_buffer), right, out, output);
      return;
    }
  }
  Shape shape = shape_of(a, left, b.stride, right, out);
  shape.output = output;
  const memory::dims strides = right == Right::transposed ? memory::dims{1, shape.right_stride}
                                                          : memory::dims{shape.right_stride, 1};
  execute(shape, memory::desc({shape.k, shape.n}, type_of(shape.bf16), strides), a.data, b.data,
          out.data);
}

// oneDNN has fast code for packed factors only when the other matrices have no gaps.
template <class T>
Matrix<const T> without_gaps(Matrix<const T> a) {
  if (a.stride == a.cols) return a;
  thread_local AlignedBuffer<T> buffer;
  buffer.reserve(a.rows * a.cols);
  for (std::size_t i = 0; i < a.rows; ++i) {
    std::ranges::copy(a.row(i), buffer.data() + i * a.cols);
  }
  return {buffer.data(), a.rows, a.cols};
}

template <class T>
void run_packed(Matrix<const T> a, const PackedMatrix& b, std::size_t first, MatrixView out) {
  if (is_trivial(a.cols, out)) return;
  if constexpr (sizeof(T) == 2) {
    if (!has_bf16_products()) {
      run_packed(widened(a, left_buffer), b, first, out);
      return;
    }
  }
  thread_local AlignedBuffer<float> buffer;
  MatrixView dense = out;
  if (out.stride != out.cols) {
    buffer.reserve(out.rows * out.cols);
    dense = {buffer.data(), out.rows, out.cols};
  }
  a = without_gaps(a);
  constexpr bool kBf16 = sizeof(T) == 2;
  const auto layout = packed_layout(b.rows(), b.cols(), kBf16);
  const Part part = part_of(layout, first, out.cols, kBf16);
  execute(shape_of(a, Left::plain, b.rows(), Right::packed, dense), part.layout, a.data,
          b.data() + part.offset, dense.data);
  if (dense.data == out.data) return;
  for (std::size_t i = 0; i < out.rows; ++i) std::ranges::copy(dense.row(i), out.row(i).data());
}

}  // namespace

bool has_fast_bf16() {
  const auto isa = static_cast<unsigned>(dnnl::get_effective_cpu_isa());
  const auto bf16 = static_cast<unsigned>(dnnl::cpu_isa::avx512_core_bf16);
  return (isa & bf16) == bf16;
}

std::size_t packed_value_bytes(bool bf16) { return bf16 && has_bf16_products() ? 2 : 4; }

void multiply_transposed(Matrix<const float> a, Matrix<const float> b, MatrixView out) {
  run(a, Left::plain, b, Right::transposed, out);
}

void multiply_transposed(Matrix<const std::uint16_t> a, Matrix<const std::uint16_t> b,
                         MatrixView out) {
  run(a, Left::plain, b, Right::transposed, out);
}

void multiply(Matrix<const float> a, Matrix<const float> b, MatrixView out) {
  run(a, Left::plain, b, Right::plain, out);
}

void multiply(Matrix<const std::uint16_t> a, Matrix<const std::uint16_t> b, MatrixView out) {
  run(a, Left::plain, b, Right::plain, out);
}

void multiply_columns(Matrix<const float> a, Matrix<const float> b, MatrixView out, Output output) {
  run(a, Left::transposed, b, Right::plain, out, output);
}

void multiply_columns(Matrix<const std::uint16_t> a, Matrix<const std::uint16_t> b, MatrixView out,
                      Output output) {
  run(a, Left::transposed, b, Right::plain, out, output);
}

PackedMatrix::PackedMatrix(std::size_t rows, std::size_t cols, bool bf16)
    : rows_(rows), cols_(cols), bf16_(bf16) {
  if (rows == 0 || cols == 0) return;
  data_ =
      AlignedBuffer<std::byte>(packed_layout(rows, cols, bf16 && has_bf16_products()).get_size());
}

void PackedMatrix::pack(std::size_t first, ConstMatrixView from) {
  if (from.rows == 0 || from.cols == 0) return;
  const bool as_bf16 = bf16_ && has_bf16_products();
  AlignedBuffer<float> values;
  if (bf16_ && !as_bf16) from = rounded_to_bf16(from, values);
  const Part part = part_of(packed_layout(rows_, cols_, as_bf16), first, from.rows, as_bf16);
  const memory::desc plain({signed_size(cols_), signed_size(from.rows)}, memory::data_type::f32,
                           memory::dims{1, signed_size(from.stride)});
  memory source = wrap(plain, from.data);
  memory target = wrap(part.layout, data_.data() + part.offset);
  dnnl::reorder(source, target).execute(stream(), source, target);
}

void multiply_transposed(Matrix<const float> a, const PackedMatrix& b, std::size_t first,
                         MatrixView out) {
  run_packed(a, b, first, out);
}

void multiply_transposed(Matrix<const std::uint16_t> a, const PackedMatrix& b, std::size_t first,
                         MatrixView out) {
  run_packed(a, b, first, out);
}

}  // namespace qwodel
