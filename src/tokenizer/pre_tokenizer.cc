#include "tokenizer/pre_tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "qwodel/error.h"
#include "tokenizer/utf8.h"

namespace qwodel {

const char* const kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
const char* const kPunctuationPattern = R"([\p{P}\x21-\x2F\x3A-\x40\x5B-\x60\x7B-\x7E])";

namespace {

// The Rust library's \w: alphabetic, marks, decimal digits, connectors. PCRE2's \w lacks marks.
constexpr const char* kWordPattern =
    R"([\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}]+|[^\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}\s]+)";

constexpr int kMaxDepth = 16;

constexpr std::array<std::pair<std::string_view, SplitBehavior>, 5> kBehaviors = {{
    {"Removed", SplitBehavior::removed},
    {"Isolated", SplitBehavior::isolated},
    {"Contiguous", SplitBehavior::contiguous},
    {"MergedWithPrevious", SplitBehavior::merged_with_previous},
    {"MergedWithNext", SplitBehavior::merged_with_next},
}};

[[noreturn]] void refuse(const std::string& source, std::string found, std::string expected) {
  throw ValidationError({.where = source,
                         .found = "pre_tokenizer with " + std::move(found),
                         .expected = std::move(expected),
                         .remedy = "choose the pre-tokenizer with --tokenizer-pre NAME"});
}

bool flag(const Json& definition, std::string_view key, bool fallback) {
  const Json* value = find_member(definition, key);
  return value != nullptr && value->is_boolean() ? value->get<bool>() : fallback;
}

std::string text(const Json& definition, std::string_view key) {
  const Json* value = find_member(definition, key);
  return value != nullptr && value->is_string() ? value->get<std::string>() : std::string();
}

SplitBehavior behavior_of(const Json& definition, SplitBehavior fallback,
                          const std::string& source) {
  const std::string name = text(definition, "behavior");
  if (name.empty()) return fallback;
  for (const auto& [known, behavior] : kBehaviors) {
    if (known == name) return behavior;
  }
  refuse(source, fmt::format("the behavior \"{}\"", name), "one of the five known ones");
}

struct Part {
  TextRange range;
  bool match = false;
};

std::vector<Part> parts_of(const SplitStep& step, std::string_view word) {
  std::vector<Part> parts;
  std::size_t at = 0;
  for (const TextRange& match : step.regex.find_all(word)) {
    if (match.begin > at) parts.push_back({{at, match.begin}, step.invert});
    // An empty match is a place to split at.
    if (match.end > match.begin) parts.push_back({match, !step.invert});
    at = match.end;
  }
  if (at < word.size()) parts.push_back({{at, word.size()}, step.invert});
  return parts;
}

// A match joins its neighbour unless that is a match that joined already.
std::vector<TextRange> merge_forward(const std::vector<Part>& parts) {
  std::vector<TextRange> words;
  bool previous = false;
  for (const Part& part : parts) {
    if (part.match && !previous && !words.empty()) {
      words.back().end = part.range.end;
    } else {
      words.push_back(part.range);
    }
    previous = part.match;
  }
  return words;
}

std::vector<TextRange> merge_backward(const std::vector<Part>& parts) {
  std::vector<TextRange> words;
  bool previous = false;
  for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
    if (part->match && !previous && !words.empty()) {
      words.back().begin = part->range.begin;
    } else {
      words.push_back(part->range);
    }
    previous = part->match;
  }
  std::reverse(words.begin(), words.end());
  return words;
}

std::vector<TextRange> words_of(const SplitStep& step, std::string_view word) {
  const std::vector<Part> parts = parts_of(step, word);
  if (step.behavior == SplitBehavior::merged_with_previous) return merge_forward(parts);
  if (step.behavior == SplitBehavior::merged_with_next) return merge_backward(parts);
  std::vector<TextRange> words;
  bool previous = false;
  for (const Part& part : parts) {
    if (step.behavior == SplitBehavior::removed && part.match) {
      previous = true;
      continue;
    }
    if (step.behavior == SplitBehavior::contiguous && !words.empty() && part.match == previous) {
      words.back().end = part.range.end;
    } else {
      words.push_back(part.range);
    }
    previous = part.match;
  }
  return words;
}

using Words = std::vector<std::string>;

void apply(const SplitStep& step, Words& words) {
  Words result;
  for (const std::string& word : words) {
    for (const TextRange& range : words_of(step, word)) {
      result.push_back(word.substr(range.begin, range.end - range.begin));
    }
  }
  words = std::move(result);
}

void apply(const PrefixSpaceStep&, Words& words) {
  for (std::string& word : words) {
    if (!word.starts_with(' ')) word.insert(0, 1, ' ');
  }
}

void apply(const MetaspaceStep& step, Words& words) {
  using Prepend = MetaspaceStep::Prepend;
  Words result;
  for (std::size_t i = 0; i < words.size(); ++i) {
    std::string word = replace_all(words[i], " ", step.replacement);
    const bool wanted =
        step.prepend == Prepend::always || (step.prepend == Prepend::first && i == 0);
    if (wanted && !word.starts_with(step.replacement)) word.insert(0, step.replacement);
    std::size_t at = 0;
    while (step.split && at < word.size()) {
      const std::size_t next = word.find(step.replacement, at + 1);
      if (next == std::string::npos) break;
      result.push_back(word.substr(at, next - at));
      at = next;
    }
    if (at < word.size()) result.push_back(word.substr(at));
  }
  words = std::move(result);
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
  const std::string type = text(definition, "type");
  const auto step = [&](std::string pattern, SplitBehavior behavior, bool invert = false) {
    steps_.push_back(SplitStep{Regex(std::move(pattern), source), behavior, invert});
  };
  if (type == "Sequence") {
    const Json* parts = find_member(definition, "pretokenizers");
    if (parts == nullptr || !parts->is_array()) refuse(source, "an empty Sequence", "its steps");
    for (const Json& part : *parts) add(part, source, depth + 1);
  } else if (type == "ByteLevel") {
    has_byte_level_ = true;
    if (flag(definition, "add_prefix_space", false)) steps_.push_back(PrefixSpaceStep{});
    if (flag(definition, "use_regex", true)) step(kGpt2Pattern, SplitBehavior::isolated);
  } else if (type == "Split") {
    add_split(definition, source);
  } else if (type == "Digits") {
    step(R"(\p{N})", flag(definition, "individual_digits", false) ? SplitBehavior::isolated
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
    const std::string delimiter = text(definition, "delimiter");
    if (delimiter.empty()) refuse(source, "CharDelimiterSplit without delimiter", "one");
    step(quote_regex(delimiter), SplitBehavior::removed);
  } else if (type == "Metaspace") {
    add_metaspace(definition);
  } else {
    refuse(source, fmt::format("the step \"{}\"", type), "a known step");
  }
}

void PreTokenizer::add_split(const Json& definition, const std::string& source) {
  const Json* pattern = find_member(definition, "pattern");
  if (pattern != nullptr) {
    const std::string regex = text(*pattern, "Regex"), literal = text(*pattern, "String");
    if (!regex.empty() || !literal.empty()) {
      const auto expression = regex.empty() ? std::optional(quote_regex(literal)) : to_pcre(regex);
      if (!expression) {
        refuse(source, fmt::format("the expression {}", regex.substr(0, 200)),
               "one without intersections and negations of sets");
      }
      steps_.push_back(SplitStep{Regex(*expression, source),
                                 behavior_of(definition, SplitBehavior::isolated, source),
                                 flag(definition, "invert", false)});
      return;
    }
  }
  refuse(source, "Split without pattern", "\"Regex\" or \"String\"");
}

void PreTokenizer::add_metaspace(const Json& definition) {
  using Prepend = MetaspaceStep::Prepend;
  MetaspaceStep step;
  step.replacement = text(definition, "replacement");
  if (step.replacement.empty()) step.replacement = "\u2581";
  const std::string scheme = text(definition, "prepend_scheme");
  if (scheme == "never" || !flag(definition, "add_prefix_space", true)) {
    step.prepend = Prepend::never;
  } else if (scheme == "first") {
    step.prepend = Prepend::first;
  }
  step.split = flag(definition, "split", true);
  steps_.push_back(std::move(step));
}

std::vector<std::string> PreTokenizer::split(std::string_view text) const {
  Words words;
  if (!text.empty()) words.emplace_back(text);
  for (const Step& step : steps_) {
    std::visit([&](const auto& kind) { apply(kind, words); }, step);
  }
  return words;
}

}  // namespace qwodel
