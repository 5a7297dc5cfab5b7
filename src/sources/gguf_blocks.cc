// Block types (Q4_K, ...): decoded through the registry of codecs, only the blocks a read touches.
#include "sources/gguf_blocks.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "codecs/codec.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

class BlockTensor final : public WeightTensor {
 public:
  BlockTensor(const TensorInfo& tensor, const Codec& codec)
      : WeightTensor(tensor.name, tensor.shape, tensor.type, true),
        bytes_(tensor.bytes),
        size_(info(tensor.type).block_size),
        width_(info(tensor.type).block_bytes),
        decode_(codec.decode) {}

  void read(std::uint64_t first, std::span<float> out) const override {
    std::uint64_t block = first / size_;
    if (const std::uint64_t skipped = first % size_; skipped != 0) {
      const std::size_t part = std::min<std::size_t>(size_ - skipped, out.size());
      read_part(block++, skipped, out.first(part));
      out = out.subspan(part);
    }
    const std::size_t whole = out.size() / size_ * size_;
    if (whole > 0) decode_(bytes_.data() + block * width_, whole, out.data());
    if (whole < out.size()) read_part(block + whole / size_, 0, out.subspan(whole));
  }

  std::span<const std::byte> raw() const override { return bytes_; }

  std::vector<std::span<const std::byte>> storage(std::uint64_t first,
                                                  std::uint64_t count) const override {
    const std::uint64_t begin = first / size_;
    const std::uint64_t end = (first + count + size_ - 1) / size_;
    return {bytes_.subspan(begin * width_, (end - begin) * width_)};
  }

 private:
  // Values [skipped, skipped + out.size()) of one block.
  void read_part(std::uint64_t block, std::uint64_t skipped, std::span<float> out) const {
    std::vector<float> values(size_);
    decode_(bytes_.data() + block * width_, size_, values.data());
    std::copy_n(values.begin() + static_cast<std::ptrdiff_t>(skipped), out.size(), out.begin());
  }

  std::span<const std::byte> bytes_;
  std::size_t size_;
  std::size_t width_;
  void (*decode_)(const std::byte*, std::size_t, float*);
};

}  // namespace

std::unique_ptr<WeightTensor> make_block_tensor(const TensorInfo& tensor) {
  const Codec* codec = find_codec(tensor.type);
  if (codec == nullptr) {
    throw FormatNotSupportedError({.where = fmt::format("tensor \"{}\"", tensor.name),
                                   .found = fmt::format("type {}", info(tensor.type).name),
                                   .expected = "a type with a decoder",
                                   .remedy = "use a GGUF of another type"});
  }
  return std::make_unique<BlockTensor>(tensor, *codec);
}

}  // namespace qwodel
