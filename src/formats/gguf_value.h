// Metadata values of a GGUF file and the ordered list of keys that holds them.
//
// Types and their ids: GGUF specification (ggml/docs/gguf.md), "gguf_metadata_value_type".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace qwodel {

// The index of an alternative is its type id on disk. There are no arrays of arrays; bool arrays
// hold one byte each.
struct GgufBool {
  bool value = false;
  bool operator==(const GgufBool&) const = default;
};
using GgufArray =
    std::variant<std::vector<std::uint8_t>, std::vector<std::int8_t>, std::vector<std::uint16_t>,
                 std::vector<std::int16_t>, std::vector<std::uint32_t>, std::vector<std::int32_t>,
                 std::vector<float>, std::vector<GgufBool>, std::vector<std::string>,
                 std::monostate, std::vector<std::uint64_t>, std::vector<std::int64_t>,
                 std::vector<double>>;
using GgufValue = std::variant<std::uint8_t, std::int8_t, std::uint16_t, std::int16_t,
                               std::uint32_t, std::int32_t, float, GgufBool, std::string, GgufArray,
                               std::uint64_t, std::int64_t, double>;

// Keys in the order they were set, which is the order they are written in.
class GgufMetadata {
 public:
  GgufMetadata();
  GgufMetadata(const GgufMetadata&);
  GgufMetadata(GgufMetadata&&) noexcept;
  GgufMetadata& operator=(const GgufMetadata&);
  GgufMetadata& operator=(GgufMetadata&&) noexcept;
  ~GgufMetadata();

  // Sets a key; an existing key keeps its place. Exact types, because the runtime checks them:
  // counts are u32, flags GgufBool, arrays of ids i32.
  void set(std::string_view key, GgufValue value);
  void set(std::string_view key, const char* value);
  void set_u32(std::string_view key,
               std::uint64_t value);  // REQUIRES: fits u32, else ValidationError
  void set_f32(std::string_view key, double value);
  void set_bool(std::string_view key, bool value);
  void set_string(std::string_view key, std::string_view value);
  // T is an element type of GgufArray.
  template <class T>
  void set_array(std::string_view key, std::vector<T> values);

  // Adds a key at the end without looking for it. REQUIRES: the key is new.
  void append(std::string key, GgufValue value);

  bool erase(std::string_view key);
  const GgufValue* find(std::string_view key) const;

  // The value of an integer key of any width, a string key, a float key; nothing when the key is
  // absent or of another kind.
  std::optional<std::uint64_t> find_unsigned(std::string_view key) const;
  std::optional<std::string> find_string(std::string_view key) const;
  std::optional<double> find_float(std::string_view key) const;

  const std::vector<std::pair<std::string, GgufValue>>& entries() const { return entries_; }

 private:
  std::vector<std::pair<std::string, GgufValue>> entries_;
};

}  // namespace qwodel
