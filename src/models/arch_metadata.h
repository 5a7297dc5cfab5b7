// Typed reading of ARCH.* keys of a GGUF.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "formats/gguf_value.h"
#include "models/model_spec.h"

namespace qwodel {

// All errors are ValidationErrors naming the key.
class ArchMetadata {
 public:
  explicit ArchMetadata(const ModelSpec& spec)
      : prefix_(spec.architecture + "."), metadata_(spec.metadata) {}

  // Whole numbers up to 2^31 - 1. A list counts as a number when all its entries are the same.
  std::optional<std::uint64_t> find_count(std::string_view key) const;
  std::uint64_t count(std::string_view key) const;
  std::uint64_t size(std::string_view key) const;                          // at least 1
  std::uint64_t size_or(std::string_view key, std::uint64_t other) const;  // at least 1

  std::optional<float> find_number(std::string_view key) const;  // finite
  float number_or(std::string_view key, float other) const;
  float positive_or(std::string_view key, float other) const;  // more than 0
  float limit(std::string_view key) const;                     // 0 (none) when not given, or more

  std::optional<bool> find_flag(std::string_view key) const;
  std::optional<std::string> find_text(std::string_view key) const;
  // A list of flags; empty when there is none.
  std::vector<bool> flags(std::string_view key) const;

  [[noreturn]] void fail(std::string_view key, std::string found, std::string expected) const;

 private:
  const GgufValue* find(std::string_view key) const;

  std::string prefix_;
  const GgufMetadata& metadata_;
};

}  // namespace qwodel
