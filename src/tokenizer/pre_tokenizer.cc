#include "tokenizer/pre_tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "qwodel/error.h"
#include "tokenizer/json_members.h"

namespace qwodel {

const char* const kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
const char* const kPunctuationPattern = R"([\p{P}\x21-\x2F\x3A-\x40\x5B-\x60\x7B-\x7E])";

namespace {

// The Rust library's \w: alphabetic (letters in circles and squares too), marks, decimal digits,
// connectors, joiners. PCRE2's \w lacks some of them.
#define QWODEL_WORD                                                                     \
  R"(\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}\x{200C}\x{200D}\x{24B6}-\x{24E9}\x{1F130}-\x{1F149})" \
  R"(\x{1F150}-\x{1F169}\x{1F170}-\x{1F189})"
constexpr const char* kWordPattern = "[" QWODEL_WORD "]+|[^" QWODEL_WORD R"(\s]+)";
#undef QWODEL_WORD

constexpr int kMaxDepth = 16;

constexpr std::array<std::pair<std::string_view, SplitBehavior>, 5> kBehaviors = {{
    {"Removed", SplitBehavior::removed},
    {"Isolated", SplitBehavior::isolated},
    {"Contiguous", SplitBehavior::contiguous},
    {"MergedWithPrevious", SplitBehavior::merged_with_previous},
    {"MergedWithNext", SplitBehavior::merged_with_next},
}};

template <class E = ValidationError>
[[noreturn]] void refuse(const std::string& source, std::string found, std::string expected) {
  throw E({.where = source,
           .found = "pre_tokenizer with " + std::move(found),
           .expected = std::move(expected),
           .remedy = "choose the pre-tokenizer with --tokenizer-pre NAME"});
}

SplitBehavior behavior_of(const Json& definition, SplitBehavior fallback,
                          const std::string& source) {
  const std::string name = text_member(definition, "behavior");
  if (name.empty()) return fallback;
  for (const auto& [known, behavior] : kBehaviors) {
    if (known == name) return behavior;
  }
  refuse(source, fmt::format("the behavior \"{}\"", name), "one of the five known ones");
}

}  // namespace

std::optional<std::string> to_pcre(std::string_view oniguruma) {
  std::string result;
  int depth = 0;
  for (std::size_t i = 0; i < oniguruma.size(); ++i) {
    const std::string_view rest = oniguruma.substr(i);
    if (rest.size() > 1 && rest[0] == '\\') {
      result += rest.substr(0, 2);
      ++i;
      continue;
    }
    if (depth > 0) {
      if (rest.starts_with("&&") || rest.starts_with("[^")) return std::nullopt;
      if (rest.starts_with("[:")) {  // [:class:]
        const std::size_t end = rest.find(":]");
        if (end == std::string_view::npos) return std::nullopt;
        result += rest.substr(0, end + 2);
        i += end + 1;
        continue;
      }
      if (rest[0] == '[') {
        ++depth;
        continue;
      }
      if (rest[0] == ']' && --depth > 0) continue;
    } else if (rest[0] == '[') {
      depth = 1;
      if (rest.starts_with("[^")) {
        result += "[^";
        ++i;
        continue;
      }
    }
    result += rest[0];
  }
  return result;
}

PreTokenizer::PreTokenizer(const Json& definition, const std::string& source) {
  if (!definition.is_null()) add(definition, source, 0);
}

void PreTokenizer::add(const Json& definition, const std::string& source, int depth) {
  if (depth > kMaxDepth) refuse(source, "sequences nested too deep", "a flat sequence");
  const std::string type = text_member(definition, "type");
  const auto step = [&](std::string pattern, SplitBehavior behavior, bool invert = false) {
    add_step(SplitStep{Regex(std::move(pattern), source), behavior, invert});
  };
  if (type == "Sequence") {
    const Json* parts = find_member(definition, "pretokenizers");
    if (parts == nullptr || !parts->is_array()) refuse(source, "an empty Sequence", "its steps");
    for (const Json& part : *parts) add(part, source, depth + 1);
  } else if (type == "ByteLevel") {
    if (flag_member(definition, "add_prefix_space", false)) add_step(PrefixSpaceStep{});
    if (flag_member(definition, "use_regex", true)) step(kGpt2Pattern, SplitBehavior::isolated);
    has_byte_level_ = true;
  } else if (type == "Split") {
    add_split(definition, source);
  } else if (type == "Digits") {
    step(R"(\p{N})", flag_member(definition, "individual_digits", false)
                         ? SplitBehavior::isolated
                         : SplitBehavior::contiguous);
  } else if (type == "Punctuation") {
    step(kPunctuationPattern, behavior_of(definition, SplitBehavior::isolated, source));
  } else if (type == "Whitespace") {
    step(kWordPattern, SplitBehavior::removed, true);
  } else if (type == "WhitespaceSplit") {
    step(R"(\s)", SplitBehavior::removed);
  } else if (type == "BertPreTokenizer") {
    step(R"(\s)", SplitBehavior::removed);
    step(kPunctuationPattern, SplitBehavior::isolated);
  } else if (type == "CharDelimiterSplit") {
    const std::string delimiter = text_member(definition, "delimiter");
    if (delimiter.empty()) refuse(source, "CharDelimiterSplit without delimiter", "one");
    step(quote_regex(delimiter), SplitBehavior::removed);
  } else if (type == "Metaspace") {
    add_metaspace(definition);
  } else if (type == "FixedLength") {
    const Json* length = find_member(definition, "length");
    const bool valid = length != nullptr && length->is_number_unsigned() && *length > 0;
    add_step(FixedLengthStep{valid ? length->get<std::size_t>() : 5});
  } else {
    refuse<FormatNotSupportedError>(source, fmt::format("the step \"{}\"", type), "a known step");
  }
}

void PreTokenizer::add_split(const Json& definition, const std::string& source) {
  const Json* pattern = find_member(definition, "pattern");
  if (pattern != nullptr) {
    const std::string regex = text_member(*pattern, "Regex"),
                      literal = text_member(*pattern, "String");
    if (!regex.empty() || !literal.empty()) {
      const auto expression = regex.empty() ? std::optional(quote_regex(literal)) : to_pcre(regex);
      if (!expression) {
        refuse(source, fmt::format("the expression {}", regex.substr(0, 200)),
               "one without intersections and negations of sets");
      }
      add_step(SplitStep{Regex(*expression, source),
                         behavior_of(definition, SplitBehavior::isolated, source),
                         flag_member(definition, "invert", false)});
      return;
    }
  }
  refuse(source, "Split without pattern", "\"Regex\" or \"String\"");
}

void PreTokenizer::add_metaspace(const Json& definition) {
  using Prepend = MetaspaceStep::Prepend;
  MetaspaceStep step;
  step.replacement = text_member(definition, "replacement");
  if (step.replacement.empty()) step.replacement = "\u2581";
  const std::string scheme = text_member(definition, "prepend_scheme");
  if (scheme == "never" || !flag_member(definition, "add_prefix_space", true)) {
    step.prepend = Prepend::never;
  } else if (scheme == "first") {
    step.prepend = Prepend::first;
  }
  step.split = flag_member(definition, "split", true);
  add_step(std::move(step));
}

// A step behind ByteLevel sees the text in the byte alphabet.
void PreTokenizer::add_step(Step step) {
  const auto is_alphabet = [](const Step& kind) {
    return std::holds_alternative<ByteAlphabetStep>(kind);
  };
  if (has_byte_level_ && std::none_of(steps_.begin(), steps_.end(), is_alphabet)) {
    steps_.emplace_back(ByteAlphabetStep{});
  }
  steps_.push_back(std::move(step));
}

}  // namespace qwodel
