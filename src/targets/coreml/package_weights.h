// The weights of a Core ML package as numbers: what Core ML makes of constants and of compressed
// weights.
//
//   const                                              the values
//   constexpr_affine_dequantize, ..blockwise_shift_scale   scale * (code - offset), a half
//   constexpr_lut_to_dense                             table[code]
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "formats/mlpackage/package.h"

namespace qwodel {

// A literal value or a blob of the weight file, of a known shape. Scales, offsets and tables have
// as many axes as the codes (tables two more, of entries and of vectors).
struct StoredNumbers {
  BlobType type = BlobType::float16;
  std::vector<std::uint64_t> shape;
  std::span<const std::byte> bytes;

  // Values [first, first + out.size()), row-major.
  void read(std::uint64_t first, std::span<float> out) const;
  float at(std::uint64_t index) const;
};

// One weight. Immutable; reads from several threads are safe. The package must outlive it.
class PackageWeight {
 public:
  const std::string& name() const { return name_; }
  const std::vector<std::uint64_t>& shape() const { return codes_.shape; }
  std::string type() const;  // of its parts: "fp16", "int4+fp16"
  std::uint64_t bytes() const;
  std::vector<std::span<const std::byte>> parts() const;
  bool is_float() const;  // false for positions and other integers

  // Decodes out.size() values from row-major position `first`.
  void read(std::uint64_t first, std::span<float> out) const;

 private:
  friend class PackageWeightReader;

  std::uint64_t group_of(const std::vector<std::uint64_t>& groups, std::uint64_t index) const;
  void apply_scales(std::uint64_t first, std::span<float> values) const;
  void apply_tables(std::uint64_t first, std::span<float> values) const;

  std::string name_;
  StoredNumbers codes_;
  std::optional<StoredNumbers> scales_;
  std::optional<StoredNumbers> offsets_;
  std::optional<StoredNumbers> tables_;  // shape of the groups; then entries
  std::uint64_t entries_ = 0;
};

// All that lie in the weight file, in the program's order, those of less than 10 values left out.
// Throws ValidationError when parts do not fit each other or the file, FormatNotSupportedError for
// an encoding that Qwodel does not write. `path` is for errors.
std::vector<PackageWeight> package_weights(const MlPackage& package, const std::string& path);

}  // namespace qwodel
