// Splits a text into the words that a tokenizer's model then encodes one by one, as the member
// "pre_tokenizer" of tokenizer.json says.
//
// Reference: the Hugging Face tokenizers library (pre_tokenizers, normalized_string.rs). Its
// expressions are Oniguruma's; they are run by PCRE2.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "io/json_fwd.h"
#include "tokenizer/regex.h"

namespace qwodel {

// What becomes of the matches of an expression.
enum class SplitBehavior : std::uint8_t {
  removed,
  isolated,              // a word each
  contiguous,            // neighbours form one word
  merged_with_previous,  // appended to the word before
  merged_with_next,      // put in front of the word behind
};

struct SplitStep {
  Regex regex;
  SplitBehavior behavior = SplitBehavior::isolated;
  bool invert = false;  // what lies between the matches counts as matches
};

// Puts a space in front of a word that has none.
struct PrefixSpaceStep {};

// Writes spaces as another character and puts one in front of the text (always, never, or only at
// its start).
struct MetaspaceStep {
  enum class Prepend : std::uint8_t { always, never, first };
  std::string replacement;
  Prepend prepend = Prepend::always;
  bool split = true;  // a word starts at each replacement
};

// Writes bytes in the byte-level alphabet. Only there when a step follows: the last one to do so
// changes no words.
struct ByteAlphabetStep {};

// Words of so many characters.
struct FixedLengthStep {
  std::size_t length = 5;
};

// A text and the words it was cut into.
struct SplitText {
  std::string_view text;         // what the ranges mean
  std::string storage;           // that text, where a step rewrote it
  std::vector<TextRange> words;  // none empty
  bool is_start = true;          // nothing stands before the text

  explicit SplitText(std::string_view whole) : text(whole) {
    if (!whole.empty()) words.push_back({0, whole.size()});
  }
  SplitText(const SplitText&) = delete;
  SplitText& operator=(const SplitText&) = delete;

  std::string_view word(const TextRange& range) const {
    return text.substr(range.begin, range.end - range.begin);
  }
  // Takes another text with other words.
  void rewrite(std::string new_text, std::vector<TextRange> new_words);
};

class PreTokenizer {
 public:
  using Step =
      std::variant<SplitStep, PrefixSpaceStep, MetaspaceStep, ByteAlphabetStep, FixedLengthStep>;

  // `definition` may be null: the text is one word. Throws ValidationError for a step that is
  // unknown or incomplete, or an expression that does not compile.
  PreTokenizer(const Json& definition, const std::string& source);
  explicit PreTokenizer(std::vector<Step> steps) : steps_(std::move(steps)) {}

  // Cuts the words of `split`, each on its own. With has_byte_level() they are bytes, maybe parts
  // of characters; else they are UTF-8. REQUIRES: UTF-8.
  void split(SplitText& split) const;

  // The words of a text, none empty, as if no step wrote bytes in the byte-level alphabet.
  std::vector<std::string> split(std::string_view text) const;

  const std::vector<Step>& steps() const { return steps_; }
  bool has_byte_level() const { return has_byte_level_; }

 private:
  void add(const Json& definition, const std::string& source, int depth);
  void add_split(const Json& definition, const std::string& source);
  void add_metaspace(const Json& definition);
  void add_step(Step step);

  std::vector<Step> steps_;
  bool has_byte_level_ = false;
};

// The expression of byte-level BPE as GPT-2 has it.
extern const char* const kGpt2Pattern;
// Characters of the Unicode class punctuation or of ASCII's.
extern const char* const kPunctuationPattern;

// An Oniguruma expression in PCRE2's syntax: sets inside sets are written out. Nothing for one with
// intersections or negated sets inside sets.
std::optional<std::string> to_pcre(std::string_view oniguruma);

}  // namespace qwodel
