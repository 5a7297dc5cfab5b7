#include "models/arch_metadata.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "qwodel/error.h"

namespace qwodel {
namespace {

constexpr std::uint64_t kMaxCount = std::numeric_limits<std::int32_t>::max();

template <class T>
constexpr bool kIsWhole = std::is_integral_v<T> && !std::is_same_v<T, bool>;

// The number that a value or every entry of a list is; nothing for anything else.
struct WholeNumber {
  template <class T>
  std::optional<std::uint64_t> operator()(const T& value) const {
    if constexpr (kIsWhole<T>) {
      if (value < 0 || static_cast<std::uint64_t>(value) > kMaxCount) return std::nullopt;
      return static_cast<std::uint64_t>(value);
    }
    return std::nullopt;
  }
  template <class T>
  std::optional<std::uint64_t> operator()(const std::vector<T>& list) const {
    if constexpr (kIsWhole<T>) {
      const bool same = !list.empty() && std::all_of(list.begin(), list.end(),
                                                     [&](T x) { return x == list.front(); });
      if (same) return (*this)(list.front());
    }
    return std::nullopt;
  }
  std::optional<std::uint64_t> operator()(const GgufArray& array) const {
    return std::visit(*this, array);
  }
};

}  // namespace

void ArchMetadata::fail(std::string_view key, std::string found, std::string expected) const {
  throw ValidationError({.where = prefix_ + std::string(key),
                         .found = std::move(found),
                         .expected = std::move(expected),
                         .remedy = {}});
}

const GgufValue* ArchMetadata::find(std::string_view key) const {
  return metadata_.find(prefix_ + std::string(key));
}

std::optional<std::uint64_t> ArchMetadata::find_count(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  const auto count = std::visit(WholeNumber{}, *value);
  if (!count) {
    fail(key, "something else", fmt::format("one whole number from 0 to {}", kMaxCount));
  }
  return count;
}

std::uint64_t ArchMetadata::count(std::string_view key) const {
  const auto value = find_count(key);
  if (!value) fail(key, "no such key", "a whole number");
  return *value;
}

std::uint64_t ArchMetadata::size(std::string_view key) const {
  const std::uint64_t value = count(key);
  if (value == 0) fail(key, "0", "at least 1");
  return value;
}

std::uint64_t ArchMetadata::size_or(std::string_view key, std::uint64_t other) const {
  return find(key) == nullptr ? other : size(key);
}

std::optional<float> ArchMetadata::find_number(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  const auto number = metadata_.find_float(prefix_ + std::string(key));
  if (!number) fail(key, "something else", "a number");
  if (!(std::abs(*number) <= static_cast<double>(std::numeric_limits<float>::max()))) {
    fail(key, fmt::format("{}", *number), "a finite number");
  }
  return static_cast<float>(*number);
}

float ArchMetadata::number_or(std::string_view key, float other) const {
  return find_number(key).value_or(other);
}

float ArchMetadata::positive_or(std::string_view key, float other) const {
  const float value = number_or(key, other);
  if (!(value > 0)) fail(key, fmt::format("{}", value), "more than 0");
  return value;
}

float ArchMetadata::limit(std::string_view key) const {
  const float value = number_or(key, 0);
  if (value < 0) fail(key, fmt::format("{}", value), "0 or more");
  return value;
}

std::optional<bool> ArchMetadata::find_flag(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  const auto* flag = std::get_if<GgufBool>(value);
  if (flag == nullptr) fail(key, "something else", "true or false");
  return flag->value;
}

std::optional<std::string> ArchMetadata::find_text(std::string_view key) const {
  return metadata_.find_string(prefix_ + std::string(key));
}

std::vector<bool> ArchMetadata::flags(std::string_view key) const {
  std::vector<bool> list;
  const GgufValue* value = find(key);
  const auto* array = value == nullptr ? nullptr : std::get_if<GgufArray>(value);
  const auto* flags = array == nullptr ? nullptr : std::get_if<std::vector<GgufBool>>(array);
  if (flags == nullptr) return list;
  for (const GgufBool flag : *flags) list.push_back(flag.value);
  return list;
}

}  // namespace qwodel
