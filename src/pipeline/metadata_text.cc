#include "pipeline/metadata_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <type_traits>

namespace qwodel {
namespace {

constexpr std::size_t kMaxText = 120;
constexpr std::size_t kMaxElements = 8;

std::string text_of(const std::string& value) {
  std::string shortened = value.substr(0, kMaxText);
  for (char& c : shortened) {
    if (c == '\n' || c == '\r' || c == '\t') c = ' ';
  }
  return value.size() > kMaxText ? shortened + "..." : shortened;
}

std::string text_of(GgufBool value) { return value.value ? "true" : "false"; }

template <class T>
  requires std::is_arithmetic_v<T>
std::string text_of(T value) {
  return fmt::format("{}", value);
}

std::string text_of(const GgufArray& array) {
  return std::visit(
      [](const auto& values) -> std::string {
        if constexpr (std::is_same_v<std::decay_t<decltype(values)>, std::monostate>) {
          return "[]";
        } else {
          std::string text = "[";
          for (std::size_t i = 0; i < std::min(values.size(), kMaxElements); ++i) {
            text += (i > 0 ? ", " : "") + text_of(values[i]);
          }
          if (values.size() > kMaxElements) text += fmt::format(", ... {} in all", values.size());
          return text + "]";
        }
      },
      array);
}

}  // namespace

std::string value_text(const GgufValue& value) {
  return std::visit([](const auto& v) { return text_of(v); }, value);
}

}  // namespace qwodel
