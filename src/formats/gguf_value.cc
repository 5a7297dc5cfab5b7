#include "formats/gguf_value.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "qwodel/error.h"

namespace qwodel {

// Here and not in the header: copies and destruction of the variants are a second of compilation.
GgufMetadata::GgufMetadata() = default;
GgufMetadata::GgufMetadata(const GgufMetadata&) = default;
GgufMetadata::GgufMetadata(GgufMetadata&&) noexcept = default;
GgufMetadata& GgufMetadata::operator=(const GgufMetadata&) = default;
GgufMetadata& GgufMetadata::operator=(GgufMetadata&&) noexcept = default;
GgufMetadata::~GgufMetadata() = default;

void GgufMetadata::set(std::string_view key, GgufValue value) {
  const auto same_key = [&](const auto& entry) { return entry.first == key; };
  const auto entry = std::find_if(entries_.begin(), entries_.end(), same_key);
  if (entry != entries_.end()) {
    entry->second = std::move(value);
  } else {
    entries_.emplace_back(key, std::move(value));
  }
}

void GgufMetadata::set_u32(std::string_view key, std::uint64_t value) {
  if (value > std::numeric_limits<std::uint32_t>::max()) {
    throw ValidationError({.where = std::string(key),
                           .found = std::to_string(value),
                           .expected = "a number of 32 bits",
                           .remedy = "check config.json"});
  }
  set(key, GgufValue(static_cast<std::uint32_t>(value)));
}

void GgufMetadata::set(std::string_view key, const char* value) { set_string(key, value); }

void GgufMetadata::set_f32(std::string_view key, double value) {
  set(key, GgufValue(static_cast<float>(value)));
}

void GgufMetadata::set_bool(std::string_view key, bool value) {
  set(key, GgufValue(GgufBool{value}));
}

void GgufMetadata::set_string(std::string_view key, std::string_view value) {
  set(key, GgufValue(std::string(value)));
}

template <class T>
void GgufMetadata::set_array(std::string_view key, std::vector<T> values) {
  set(key, GgufValue(GgufArray(std::move(values))));
}

template void GgufMetadata::set_array(std::string_view, std::vector<std::uint8_t>);
template void GgufMetadata::set_array(std::string_view, std::vector<std::int8_t>);
template void GgufMetadata::set_array(std::string_view, std::vector<std::uint16_t>);
template void GgufMetadata::set_array(std::string_view, std::vector<std::int16_t>);
template void GgufMetadata::set_array(std::string_view, std::vector<std::uint32_t>);
template void GgufMetadata::set_array(std::string_view, std::vector<std::int32_t>);
template void GgufMetadata::set_array(std::string_view, std::vector<float>);
template void GgufMetadata::set_array(std::string_view, std::vector<GgufBool>);
template void GgufMetadata::set_array(std::string_view, std::vector<std::string>);
template void GgufMetadata::set_array(std::string_view, std::vector<std::uint64_t>);
template void GgufMetadata::set_array(std::string_view, std::vector<std::int64_t>);
template void GgufMetadata::set_array(std::string_view, std::vector<double>);

void GgufMetadata::append(std::string key, GgufValue value) {
  entries_.emplace_back(std::move(key), std::move(value));
}

bool GgufMetadata::erase(std::string_view key) {
  return std::erase_if(entries_, [&](const auto& entry) { return entry.first == key; }) > 0;
}

const GgufValue* GgufMetadata::find(std::string_view key) const {
  for (const auto& [name, value] : entries_) {
    if (name == key) return &value;
  }
  return nullptr;
}

std::optional<std::uint64_t> GgufMetadata::find_unsigned(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  return std::visit(
      [](const auto& v) -> std::optional<std::uint64_t> {
        if constexpr (std::is_integral_v<std::decay_t<decltype(v)>>) {
          if (v >= 0) return static_cast<std::uint64_t>(v);
        }
        return std::nullopt;
      },
      *value);
}

std::optional<std::string> GgufMetadata::find_string(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr || !std::holds_alternative<std::string>(*value)) return std::nullopt;
  return std::get<std::string>(*value);
}

std::optional<double> GgufMetadata::find_float(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* number = std::get_if<float>(value)) return static_cast<double>(*number);
  if (const auto* number = std::get_if<double>(value)) return *number;
  return std::nullopt;
}

}  // namespace qwodel
