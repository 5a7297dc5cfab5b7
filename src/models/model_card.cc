#include "models/model_card.h"

#include <utf8proc.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <optional>
#include <regex>
#include <stdexcept>

#include "io/mapped_file.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

constexpr std::size_t kMaxFileBytes = std::size_t{8} << 20;
constexpr std::size_t kMaxValueBytes = std::size_t{32} << 20;
constexpr int kMaxDepth = 4;            // the map, a list in it, a map in that, a scalar in that
constexpr std::size_t kMaxScalar = 64;  // longer scalars are text: no number is that long

bool is_valid_utf8(std::string_view text) {
  const auto* at = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
  auto left = static_cast<utf8proc_ssize_t>(text.size());
  while (left > 0) {
    utf8proc_int32_t value = 0;
    const auto length = utf8proc_iterate(at, left, &value);
    if (length <= 0) return false;
    at += length;
    left -= length;
  }
  return true;
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  std::string result;
  std::size_t at = 0;
  for (std::size_t found = text.find(from); found != std::string::npos;
       found = text.find(from, at)) {
    result.append(text, at, found - at);
    result += to;
    at = found + from.size();
  }
  result.append(text, at);
  text = std::move(result);
}

// Takes the first line off `text`. Lines end as Python's str.splitlines has it.
std::string_view take_line(std::string_view& text) {
  static constexpr std::string_view kEnds[] = {"\r\n",     "\n",           "\r",          "\v",
                                               "\f",       "\x1c",         "\x1d",        "\x1e",
                                               "\xc2\x85", "\xe2\x80\xa8", "\xe2\x80\xa9"};
  for (std::size_t at = text.find_first_of("\r\n\v\f\x1c\x1d\x1e\xc2\xe2");
       at != std::string_view::npos;
       at = text.find_first_of("\r\n\v\f\x1c\x1d\x1e\xc2\xe2", at + 1)) {
    for (const std::string_view end : kEnds) {
      if (!text.substr(at).starts_with(end)) continue;
      const std::string_view line = text.substr(0, at);
      text.remove_prefix(at + end.size());
      return line;
    }
  }
  return std::exchange(text, std::string_view());
}

// The lines between the first one, which must be "---", and the next such line or the end.
std::optional<std::string> front_matter(std::string_view text) {
  if (take_line(text) != "---") return std::nullopt;
  std::string yaml;
  while (!text.empty()) {
    const std::string_view line = take_line(text);
    if (line == "---") break;
    yaml += line;
    yaml += '\n';
  }
  return yaml;
}

// Whether YAML 1.1 (https://yaml.org/type/) reads a plain scalar as something else than text.
bool is_typed_scalar(const std::string& text) {
  static const std::regex typed(
      "yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF|"
      // int: binary, octal, decimal, hexadecimal, sexagesimal
      "[-+]?0b[01_]+|[-+]?0[0-7_]+|[-+]?(0|[1-9][0-9_]*)|[-+]?0x[0-9a-fA-F_]+|"
      "[-+]?[1-9][0-9_]*(:[0-5]?[0-9])+|"
      // float: decimal, with leading dot, sexagesimal, infinity, not a number
      "[-+]?[0-9][0-9_]*\\.[0-9_]*([eE][-+][0-9]+)?|\\.[0-9][0-9_]*([eE][-+][0-9]+)?|"
      "[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+\\.[0-9_]*|[-+]?\\.(inf|Inf|INF)|\\.(nan|NaN|NAN)|"
      // timestamp
      "[0-9]{4}-[0-9]{2}-[0-9]{2}|"
      "[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}(\\.[0-9]*)?"
      "([ \t]*(Z|[-+][0-9]{1,2}(:[0-9]{2})?))?",
      std::regex::ECMAScript | std::regex::optimize);
  return text.size() <= kMaxScalar && std::regex_match(text, typed);
}

// Thrown when aliases make the card larger than it may be.
class TooLarge : public std::runtime_error {
 public:
  TooLarge() : std::runtime_error("model card too large") {}
};

class Reader {
 public:
  CardValue read(const YAML::Node& node, int depth = 0) {
    CardValue value;
    charge(sizeof(CardValue));
    if (depth >= kMaxDepth) return value;
    switch (node.Type()) {
      case YAML::NodeType::Scalar:
        value.text = read_text(node);
        value.kind = is_text(node) ? CardValue::Kind::text : CardValue::Kind::scalar;
        break;
      case YAML::NodeType::Sequence:
        value.kind = CardValue::Kind::list;
        for (const auto& item : node) value.items.push_back(read(item, depth + 1));
        break;
      case YAML::NodeType::Map:
        value.kind = CardValue::Kind::map;
        for (const auto& member : node) {
          if (!member.first.IsScalar()) continue;
          value.keys.push_back(read_text(member.first));
          value.items.push_back(read(member.second, depth + 1));
        }
        break;
      default:
        break;
    }
    return value;
  }

 private:
  void charge(std::size_t bytes) {
    if (bytes > left_) throw TooLarge();
    left_ -= bytes;
  }

  std::string read_text(const YAML::Node& node) {
    charge(node.Scalar().size());
    return node.Scalar();
  }

  // yaml-cpp tags a plain scalar "?" and a quoted or block scalar "!".
  static bool is_text(const YAML::Node& node) {
    const std::string& tag = node.Tag();
    if (tag == "?" || tag.empty()) return !is_typed_scalar(node.Scalar());
    return tag == "!" || tag.ends_with(":str");
  }

  std::size_t left_ = kMaxValueBytes;
};

}  // namespace

const CardValue* CardValue::find(std::string_view key) const {
  for (std::size_t i = keys.size(); i > 0; --i) {
    if (keys[i - 1] == key) return &items[i - 1];
  }
  return nullptr;
}

CardValue load_model_card(const std::filesystem::path& directory) {
  CardValue empty;
  empty.kind = CardValue::Kind::map;
  const std::filesystem::path path = directory / "README.md";
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) return empty;
  try {
    const MappedFile file(path);
    const auto bytes = file.bytes().first(std::min(file.bytes().size(), kMaxFileBytes));
    auto yaml = front_matter({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    if (!yaml || !is_valid_utf8(*yaml)) return empty;
    // "no" is Norwegian in a list of languages, not false; some cards indent with tabs.
    replace_all(*yaml, "- no\n", "- \"no\"\n");
    replace_all(*yaml, "\t", "  ");
    CardValue card = Reader().read(YAML::Load(*yaml));
    return card.kind == CardValue::Kind::map ? card : empty;
  } catch (const Error&) {
    return empty;
  } catch (const YAML::Exception&) {
    return empty;
  } catch (const TooLarge&) {
    return empty;
  }
}

}  // namespace qwodel
