#include "formats/gguf_writer.h"

#include <fmt/format.h>

#include <cstring>
#include <type_traits>
#include <unordered_set>

#include "core/checked.h"
#include "formats/tensor_info.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

constexpr std::uint32_t kVersion = 3;
constexpr std::uint64_t kDefaultAlignment = 32;
constexpr std::size_t kMaxNameBytes = 63;  // GGML_MAX_NAME without its terminating NUL
constexpr std::size_t kMaxAxes = 4;
constexpr std::size_t kArrayIndex = 9;

class HeaderWriter {
 public:
  template <class T>
  void number(T value) {
    static_assert(std::is_arithmetic_v<T>);
    append(&value, sizeof(T));
  }

  void text(std::string_view value) {
    number(static_cast<std::uint64_t>(value.size()));
    append(value.data(), value.size());
  }

  void element(const std::string& value) { text(value); }
  void element(GgufBool value) { number(static_cast<std::uint8_t>(value.value ? 1 : 0)); }
  template <class T>
    requires std::is_arithmetic_v<T>
  void element(T value) {
    number(value);
  }

  void element(const GgufArray& array) {
    number(static_cast<std::uint32_t>(array.index()));
    std::visit(
        [this](const auto& values) {
          if constexpr (!std::is_same_v<std::decay_t<decltype(values)>, std::monostate>) {
            number(static_cast<std::uint64_t>(values.size()));
            for (const auto& value : values) element(value);
          }
        },
        array);
  }

  void pad_to(std::uint64_t size) { bytes_.resize(static_cast<std::size_t>(size)); }
  std::size_t size() const { return bytes_.size(); }
  std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  void append(const void* data, std::size_t size) {
    const std::size_t at = bytes_.size();
    bytes_.resize(at + size);
    if (size > 0) std::memcpy(bytes_.data() + at, data, size);
  }

  std::vector<std::byte> bytes_;
};

[[noreturn]] void fail(const std::string& name, std::string found, std::string expected) {
  throw ValidationError({.where = fmt::format("tensor {}", name),
                         .found = std::move(found),
                         .expected = std::move(expected),
                         .remedy = ""});
}

std::uint64_t tensor_bytes(const GgufTensor& tensor) {
  const TensorTypeInfo& type = info(tensor.type);
  if (type.ggml_id < 0) {
    throw FormatNotSupportedError({.where = fmt::format("tensor {}", tensor.name),
                                   .found = fmt::format("type {}", type.name),
                                   .expected = "a type that GGUF can hold",
                                   .remedy = ""});
  }
  if (tensor.name.size() > kMaxNameBytes) {
    fail(tensor.name, fmt::format("a name of {} bytes", tensor.name.size()),
         fmt::format("at most {}", kMaxNameBytes));
  }
  if (tensor.shape.size() > kMaxAxes) {
    fail(tensor.name, fmt::format("{} axes", tensor.shape.size()),
         fmt::format("at most {}", kMaxAxes));
  }
  const auto count = checked_product(tensor.shape);
  const std::uint64_t row = tensor.shape.empty() ? 1 : tensor.shape.back();
  const auto bytes = count ? bytes_of(tensor.type, *count) : std::nullopt;
  if (!bytes || row % type.block_size != 0) {
    fail(tensor.name, fmt::format("shape {}", shape_text(tensor.shape)),
         fmt::format("rows of whole blocks of {} for type {}", type.block_size, type.name));
  }
  return *bytes;
}

std::uint64_t checked_offset(std::optional<std::uint64_t> offset, const std::string& name) {
  if (!offset) fail(name, "an offset beyond 64 bits", "a smaller file");
  return *offset;
}

}  // namespace

GgufLayout layout_gguf(const GgufMetadata& metadata, std::span<const GgufTensor> tensors) {
  const std::uint64_t alignment =
      metadata.find_unsigned("general.alignment").value_or(kDefaultAlignment);
  HeaderWriter out;
  for (const char c : {'G', 'G', 'U', 'F'}) out.number(c);
  out.number(kVersion);
  out.number(static_cast<std::uint64_t>(tensors.size()));
  out.number(static_cast<std::uint64_t>(metadata.entries().size()));
  for (const auto& [key, value] : metadata.entries()) {
    out.text(key);
    out.number(static_cast<std::uint32_t>(value.index()));
    static_assert(std::is_same_v<std::variant_alternative_t<kArrayIndex, GgufValue>, GgufArray>);
    std::visit([&out](const auto& v) { out.element(v); }, value);
  }
  GgufLayout layout;
  std::unordered_set<std::string_view> names;
  std::uint64_t offset = 0;
  for (const GgufTensor& tensor : tensors) {
    if (!names.insert(tensor.name).second) fail(tensor.name, "the name twice", "unique names");
    const std::uint64_t bytes = tensor_bytes(tensor);
    out.text(tensor.name);
    out.number(static_cast<std::uint32_t>(tensor.shape.size()));
    for (auto axis = tensor.shape.rbegin(); axis != tensor.shape.rend(); ++axis) out.number(*axis);
    out.number(static_cast<std::uint32_t>(info(tensor.type).ggml_id));
    out.number(offset);
    layout.offsets.push_back(offset);
    layout.bytes.push_back(bytes);
    const auto end = checked_add(offset, bytes);
    offset = checked_offset(end ? checked_align(*end, alignment) : std::nullopt, tensor.name);
  }
  const std::uint64_t data_start = checked_offset(checked_align(out.size(), alignment), "header");
  out.pad_to(data_start);
  layout.header = out.take();
  for (std::uint64_t& start : layout.offsets) start += data_start;
  layout.file_size = checked_offset(checked_add(data_start, offset), "data");
  return layout;
}

}  // namespace qwodel
