#include "models/model_id.h"

#include <utf8proc.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <vector>

namespace qwodel {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

char to_lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }
char to_upper(char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; }

bool equals_ignoring_case(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return to_lower(x) == to_lower(y); });
}

bool is_one_of(std::string_view text, std::initializer_list<std::string_view> words) {
  return std::any_of(words.begin(), words.end(),
                     [&](std::string_view word) { return equals_ignoring_case(text, word); });
}

// The first code point of `text` and its length in bytes; a byte that is not UTF-8 gives -1 and 1.
struct CodePoint {
  utf8proc_int32_t value = -1;
  std::size_t length = 1;
};
CodePoint first_code_point(std::string_view text) {
  utf8proc_int32_t value = -1;
  const auto length = utf8proc_iterate(
      reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
      static_cast<utf8proc_ssize_t>(std::min<std::size_t>(text.size(), 4)), &value);
  if (length <= 0) return {};
  return {value, static_cast<std::size_t>(length)};
}

void append_code_point(std::string& text, utf8proc_int32_t value) {
  utf8proc_uint8_t bytes[4];
  const auto length = utf8proc_encode_char(value, bytes);
  text.append(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(length));
}

bool is_space(utf8proc_int32_t c) {
  if (c < 0) return false;
  if ((c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x1F) || c == 0x85) return true;
  const auto category = utf8proc_category(c);
  return category == UTF8PROC_CATEGORY_ZS || category == UTF8PROC_CATEGORY_ZL ||
         category == UTF8PROC_CATEGORY_ZP;
}

bool is_letter(utf8proc_int32_t c) {
  if (c < 0) return false;
  const auto category = utf8proc_category(c);
  return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}

// Reads a pattern front to back, ignoring case.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  bool at_end() const { return at_ == text_.size(); }
  bool take(std::string_view word) {
    if (!equals_ignoring_case(text_.substr(at_, word.size()), word)) return false;
    at_ += word.size();
    return true;
  }
  bool take_any(std::string_view letters) {
    if (at_end() || letters.find(to_lower(text_[at_])) == std::string_view::npos) return false;
    ++at_;
    return true;
  }
  bool take_digit() {
    if (at_end() || !is_digit(text_[at_])) return false;
    ++at_;
    return true;
  }
  bool take_digits() {
    if (!take_digit()) return false;
    while (take_digit()) {
    }
    return true;
  }

 private:
  std::string_view text_;
  std::size_t at_ = 0;
};

// "v1", "2.5", "iter3", with any number of dotted parts.
bool is_version(std::string_view part) {
  Scanner scan(part);
  if (!scan.take("iter")) scan.take("v");
  if (!scan.take_digits()) return false;
  while (scan.take(".")) {
    if (!scan.take_digits()) return false;
  }
  return scan.at_end();
}

// "Q4_K_M" (one word character after each underscore), "iq2_x", "fp16", "bf16", "f32".
bool is_encoding(std::string_view part) {
  Scanner scan(part);
  scan.take("i");
  if (scan.take("q") && scan.take_digit()) {
    while (scan.take("_")) {
      if (!scan.take_any("abcdefghijklmnopqrstuvwxyz0123456789_")) return false;
    }
    return scan.at_end();
  }
  scan = Scanner(part);
  scan.take("b");
  if (!scan.take("f")) return false;
  scan.take("p");
  return (scan.take("16") || scan.take("32")) && scan.at_end();
}

// "7B", "0.5b", "8x7B", "A3B", "7b1", "1_5B", "small".
bool is_size(std::string_view part) {
  if (is_one_of(part, {"small", "mini", "medium", "large", "xl", "xxl"})) return true;
  Scanner scan(part);
  const bool active = scan.take("a");
  if (!scan.take_digits()) return false;
  if (!active && scan.take("x") && !scan.take_digits()) return false;
  if (scan.take_any("._") && !scan.take_digits()) return false;
  if (!scan.take_any("kmbt")) return false;
  scan.take_digit();
  return scan.at_end();
}

enum PartType : unsigned {
  kBasename = 1,
  kSizeLabel = 2,
  kFinetune = 4,
  kVersion = 8,
  kEncoding = 16,
};

struct Part {
  std::string text;
  unsigned types = 0;
};

// Whether a size stands for something else than this model's parameters.
bool is_far_from(std::string_view size, std::uint64_t parameters) {
  const std::string_view digits = size.substr(0, size.size() - 1);
  double number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (error != std::errc() || end != digits.data() + digits.size()) return false;
  const auto power = std::string_view(" KMBT").find(size.back());
  if (power == std::string_view::npos) return false;
  number *= std::pow(1000.0, static_cast<double>(power));
  const std::uint64_t limit = parameters / 8 * 7 + parameters % 8 * 7 / 8;
  return std::abs(number - static_cast<double>(parameters)) > static_cast<double>(limit);
}

void annotate_size(Part& part, std::uint64_t parameters) {
  std::string& text = part.text;
  std::replace(text.begin(), text.end(), '_', '.');
  if (is_digit(text.back())) {  // bloom's 7b1 is 7.1b
    const char unit = text[text.size() - 2];
    const char fraction = text.back();
    text.resize(text.size() - 2);
    text += {'.', fraction, unit};
  }
  if (is_digit(text[text.size() - 2])) text.back() = to_upper(text.back());
  if (parameters != 0 && is_far_from(text, parameters)) {
    part.types |= kFinetune;  // likely a context length
    text.back() = to_lower(text.back());
  } else {
    part.types |= kSizeLabel;
  }
}

std::vector<Part> split_parts(std::string_view name) {
  std::vector<Part> parts;
  while (!name.empty()) {
    const auto dash = std::min(name.find('-'), name.size());
    if (dash > 0) parts.push_back({std::string(name.substr(0, dash))});
    name.remove_prefix(std::min(dash + 1, name.size()));
  }
  return parts;
}

void annotate(std::vector<Part>& parts, std::uint64_t parameters) {
  for (std::size_t i = 0; i < parts.size(); ++i) {
    Part& part = parts[i];
    if (is_version(part.text)) {
      part.types |= kVersion;
    } else if (is_encoding(part.text)) {
      part.types |= kEncoding;
      std::transform(part.text.begin(), part.text.end(), part.text.begin(), to_upper);
    } else if (i > 0 && is_size(part.text)) {
      annotate_size(part, parameters);
    } else if (i > 0 && is_one_of(part.text, {"chat", "instruct", "vision", "lora"})) {
      part.types |= kFinetune;
    }
  }

  // A size in words is none when there is one in numbers.
  const auto has_digit = [](const Part& part) {
    return (part.types & kSizeLabel) != 0 &&
           std::any_of(part.text.begin(), part.text.end(), is_digit);
  };
  if (std::any_of(parts.begin(), parts.end(), has_digit)) {
    for (Part& part : parts) {
      if (!std::any_of(part.text.begin(), part.text.end(),
                       [](char c) { return is_digit(c) || c == '.'; })) {
        part.types &= ~static_cast<unsigned>(kSizeLabel);
      }
    }
  }

  // The base name is the beginning up to the first part that is something else; versions belong to
  // it unless they end it.
  bool at_start = true;
  for (Part& part : parts) {
    const bool plain = part.types == 0 && is_letter(first_code_point(part.text).value);
    if (at_start && (plain || (part.types & kVersion) != 0)) {
      part.types |= kBasename;
    } else {
      at_start = false;
      if (part.types == 0) part.types |= kFinetune;
    }
  }
  for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
    if ((part->types & kBasename) == 0 || part->types == kBasename) break;
    part->types &= ~static_cast<unsigned>(kBasename);
  }
}

// Joins the parts that have type `want` and not `unwanted` with '-'.
std::optional<std::string> join(const std::vector<Part>& parts, unsigned want,
                                unsigned unwanted = 0) {
  std::string joined;
  std::vector<std::string_view> seen;
  for (const Part& part : parts) {
    if ((part.types & want) == 0 || (part.types & unwanted) != 0) continue;
    const bool again = std::find(seen.begin(), seen.end(), part.text) != seen.end();
    if (want == kSizeLabel && again) continue;
    seen.push_back(part.text);
    if (!joined.empty()) joined += '-';
    joined += part.text;
  }
  if (joined.empty()) return std::nullopt;
  return joined;
}

// Whether to_title leaves a word as it is: "v1.5", "7b", or a word with an upper-case letter or
// without any letter that has cases.
bool keeps_case(std::string_view word) {
  if (is_digit(word.front())) return true;
  if (word.front() == 'v' && is_version(word)) return true;
  bool lower = false;
  for (std::size_t at = 0; at < word.size();) {
    const CodePoint c = first_code_point(word.substr(at));
    at += c.length;
    if (c.value < 0) continue;
    const auto category = utf8proc_category(c.value);
    if (category == UTF8PROC_CATEGORY_LU || category == UTF8PROC_CATEGORY_LT) return true;
    lower = lower || category == UTF8PROC_CATEGORY_LL;
  }
  return !lower;
}

// Upper case for every letter that does not follow a letter: "qwen2moe" is "Qwen2Moe".
std::string capitalize(std::string_view word) {
  std::string title;
  bool after_letter = false;
  for (std::size_t at = 0; at < word.size();) {
    const CodePoint c = first_code_point(word.substr(at));
    if (c.value < 0) {
      title += word.substr(at, c.length);
      after_letter = false;
    } else {
      append_code_point(title, after_letter ? c.value : utf8proc_totitle(c.value));
      const auto category = utf8proc_category(c.value);
      after_letter = category == UTF8PROC_CATEGORY_LL || category == UTF8PROC_CATEGORY_LU ||
                     category == UTF8PROC_CATEGORY_LT;
    }
    at += c.length;
  }
  return title;
}

}  // namespace

ModelId parse_model_id(std::string_view id, std::uint64_t parameters) {
  ModelId result;
  if (id.find(' ') != std::string_view::npos) {  // a sentence
    result.name = std::string(id);
    return result;
  }
  std::string_view name = id;
  if (const auto slash = id.find('/'); slash != std::string_view::npos) {
    name = id.substr(slash + 1);
    if (!id.starts_with('.')) result.organization = std::string(id.substr(0, slash));
  }
  result.name = std::string(name);

  std::vector<Part> parts = split_parts(name);
  annotate(parts, parameters);
  result.size_label = join(parts, kSizeLabel);
  result.finetune = join(parts, kFinetune);
  result.version = join(parts, kVersion, kBasename);
  // A base name alone would only repeat the name.
  if (result.size_label || result.finetune || result.version) {
    result.basename = join(parts, kBasename);
  }
  return result;
}

std::string to_title(std::string_view id) {
  std::string title;
  std::string word;
  const auto flush = [&] {
    if (word.empty()) return;
    if (!title.empty()) title += ' ';
    title += keeps_case(word) ? word : capitalize(word);
    word.clear();
  };
  for (std::size_t at = 0; at < id.size();) {
    const CodePoint c = first_code_point(id.substr(at));
    if (c.value == '-' || is_space(c.value)) {
      flush();
    } else {
      word += id.substr(at, c.length);
    }
    at += c.length;
  }
  flush();
  return title;
}

std::string_view strip(std::string_view text) {
  std::size_t begin = 0;
  std::size_t end = 0;
  bool inside = false;
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint c = first_code_point(text.substr(at));
    if (!is_space(c.value)) {
      if (!inside) begin = at;
      inside = true;
      end = at + c.length;
    }
    at += c.length;
  }
  return text.substr(begin, end - begin);
}

}  // namespace qwodel
