#include "tokenizer/normalizer.h"

#include <fmt/format.h>

#include "qwodel/error.h"
#include "tokenizer/byte_alphabet.h"
#include "tokenizer/json_members.h"
#include "tokenizer/pre_tokenizer.h"
#include "tokenizer/tiktoken.h"
#include "tokenizer/utf8.h"

namespace qwodel {
namespace {

constexpr int kMaxDepth = 16;

[[noreturn]] void refuse(const std::string& source, std::string found, std::string expected) {
  throw ValidationError({.where = source,
                         .found = "normalizer with " + std::move(found),
                         .expected = std::move(expected),
                         .remedy = ""});
}

// The text without the characters that `drop` names, and with others for those that `map` changes.
template <class Drop, class Map>
std::string filtered(std::string_view text, Drop drop, Map map) {
  std::string result;
  result.reserve(text.size());
  for_each_character(text, [&](char32_t c, std::string_view character) {
    if (drop(c)) return;
    const char32_t mapped = map(c);
    if (mapped == c) {
      result += character;
    } else {
      append_utf8(result, mapped);
    }
  });
  return result;
}
char32_t same(char32_t c) { return c; }

std::string rewritten(const NormalFormStep& step, std::string_view text) {
  return to_normal_form(text, step.form);
}
std::string rewritten(const LowercaseStep&, std::string_view text) { return to_lower_case(text); }
std::string rewritten(const StripAccentsStep&, std::string_view text) {
  return filtered(text, is_mark, same);
}
std::string rewritten(const ByteAlphabetText&, std::string_view text) {
  return to_byte_alphabet(text);
}

// The characters are those of the rules "nmt" of SentencePiece.
std::string rewritten(const NmtStep&, std::string_view text) {
  const auto drop = [](char32_t c) {
    return (c >= 0x01 && c <= 0x08) || c == 0x0B || (c >= 0x0E && c <= 0x1F) || c == 0x7F ||
           c == 0x8F || c == 0x9F;
  };
  const auto map = [](char32_t c) -> char32_t {
    const bool space = c == 0x09 || c == 0x0A || c == 0x0C || c == 0x0D || c == 0x1680 ||
                       (c >= 0x200B && c <= 0x200F) || c == 0x2028 || c == 0x2029 || c == 0x2581 ||
                       c == 0xFEFF || c == 0xFFFD;
    return space ? ' ' : c;
  };
  return filtered(text, drop, map);
}

std::string rewritten(const PrependStep& step, std::string_view text) {
  return text.empty() ? std::string() : step.text + std::string(text);
}

std::string rewritten(const ReplaceStep& step, std::string_view text) {
  return apply_replace(step, text);
}

std::string rewritten(const StripStep& step, std::string_view text) {
  std::size_t begin = text.size(), end = 0, at = 0;
  for_each_character(text, [&](char32_t c, std::string_view character) {
    if (!is_white_space(c)) {
      begin = std::min(begin, at);
      end = at + character.size();
    }
    at += character.size();
  });
  if (!step.left) begin = 0;
  if (!step.right || begin == text.size()) end = text.size();
  return std::string(text.substr(begin, end - begin));
}

std::string clean_text(std::string_view text) {
  const auto blank = [](char32_t c) { return c == '\t' || c == '\n' || c == '\r'; };
  return filtered(
      text, [&](char32_t c) { return c == 0 || c == 0xFFFD || (!blank(c) && is_other(c)); },
      [&](char32_t c) -> char32_t { return blank(c) || is_white_space(c) ? ' ' : c; });
}

std::string rewritten(const BertStep& step, std::string_view text) {
  std::string result = step.clean_text ? clean_text(text) : std::string(text);
  if (step.spaces_around_ideographs) {
    std::string spaced;
    for_each_character(result, [&](char32_t c, std::string_view character) {
      const bool ideograph = is_cjk_ideograph(c);
      if (ideograph) spaced += ' ';
      spaced += character;
      if (ideograph) spaced += ' ';
    });
    result = std::move(spaced);
  }
  if (step.strip_accents) {
    result = filtered(to_normal_form(result, NormalForm::nfd), is_nonspacing_mark, same);
  }
  return step.lowercase ? to_lower_case(result) : result;
}

std::string rewritten(const CharsmapStep& step, std::string_view text) {
  return step.charsmap.normalize_graphemes(text);
}

}  // namespace

ReplaceStep make_replace(const Json& definition, const std::string& source) {
  const Json* pattern = find_member(definition, "pattern");
  ReplaceStep step;
  step.content = text_member(definition, "content");
  if (pattern != nullptr) {
    step.literal = text_member(*pattern, "String");
    const std::string regex = text_member(*pattern, "Regex");
    if (!regex.empty()) {
      const auto expression = to_pcre(regex);
      if (!expression) refuse(source, fmt::format("the expression {}", regex), "a simpler one");
      step.regex.emplace_back(*expression, source);
    }
  }
  if (step.literal.empty() && step.regex.empty()) {
    refuse(source, "Replace without pattern", "\"String\" or \"Regex\"");
  }
  return step;
}

std::string apply_replace(const ReplaceStep& step, std::string_view text) {
  if (step.regex.empty()) return replace_all(text, step.literal, step.content);
  std::string result;
  std::size_t at = 0;
  for (const TextRange& match : step.regex[0].find_all(text)) {
    result += text.substr(at, match.begin - at);
    result += step.content;
    at = match.end;
  }
  result += text.substr(at);
  return result;
}

Normalizer::Normalizer(const Json& definition, const std::string& source) {
  if (!definition.is_null()) add(definition, source, 0);
}

void Normalizer::add(const Json& definition, const std::string& source, int depth) {
  if (depth > kMaxDepth) refuse(source, "sequences nested too deep", "a flat sequence");
  const std::string type = text_member(definition, "type");
  if (type == "Sequence") {
    const Json* parts = find_member(definition, "normalizers");
    if (parts == nullptr || !parts->is_array()) refuse(source, "an empty Sequence", "its steps");
    for (const Json& part : *parts) add(part, source, depth + 1);
  } else if (type == "NFC") {
    steps_.push_back(NormalFormStep{NormalForm::nfc});
  } else if (type == "NFD") {
    steps_.push_back(NormalFormStep{NormalForm::nfd});
  } else if (type == "NFKC") {
    steps_.push_back(NormalFormStep{NormalForm::nfkc});
  } else if (type == "NFKD") {
    steps_.push_back(NormalFormStep{NormalForm::nfkd});
  } else if (type == "Lowercase") {
    steps_.push_back(LowercaseStep{});
  } else if (type == "StripAccents") {
    steps_.push_back(StripAccentsStep{});
  } else if (type == "Nmt") {
    steps_.push_back(NmtStep{});
  } else if (type == "ByteLevel") {
    steps_.push_back(ByteAlphabetText{});
  } else if (type == "Prepend") {
    steps_.push_back(PrependStep{text_member(definition, "prepend")});
  } else if (type == "Replace") {
    steps_.push_back(make_replace(definition, source));
  } else if (type == "Strip") {
    steps_.push_back(StripStep{flag_member(definition, "strip_left", true),
                               flag_member(definition, "strip_right", true)});
  } else if (type == "BertNormalizer") {
    BertStep step;
    step.clean_text = flag_member(definition, "clean_text", true);
    step.spaces_around_ideographs = flag_member(definition, "handle_chinese_chars", true);
    step.lowercase = flag_member(definition, "lowercase", true);
    step.strip_accents = flag_member(definition, "strip_accents", step.lowercase);
    steps_.push_back(step);
  } else if (type == "Precompiled") {
    const auto bytes = decode_base64(text_member(definition, "precompiled_charsmap"));
    if (!bytes) refuse(source, "a precompiled_charsmap that is not base64", "base64");
    steps_.push_back(CharsmapStep{Charsmap(*bytes, source)});
  } else {
    throw FormatNotSupportedError({.where = source,
                                   .found = fmt::format("the normalizer \"{}\"", type),
                                   .expected = "a known one",
                                   .remedy = ""});
  }
}

std::string Normalizer::normalize(std::string_view text) const {
  std::string result(text);
  for (const Step& step : steps_) {
    result = std::visit([&](const auto& kind) { return rewritten(kind, result); }, step);
  }
  return result;
}

}  // namespace qwodel
