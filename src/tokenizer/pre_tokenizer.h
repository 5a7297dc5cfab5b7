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

#include "io/json.h"
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

class PreTokenizer {
 public:
  using Step = std::variant<SplitStep, PrefixSpaceStep, MetaspaceStep>;

  // `definition` may be null: the text is one word. Throws ValidationError for a step that is
  // unknown or incomplete, or an expression that does not compile.
  PreTokenizer(const Json& definition, const std::string& source);
  explicit PreTokenizer(std::vector<Step> steps) : steps_(std::move(steps)) {}

  // The words, none empty. Bytes are not written in the byte-level alphabet yet. REQUIRES: UTF-8.
  std::vector<std::string> split(std::string_view text) const;

  const std::vector<Step>& steps() const { return steps_; }
  bool has_byte_level() const { return has_byte_level_; }

 private:
  void add(const Json& definition, const std::string& source, int depth);
  void add_split(const Json& definition, const std::string& source);
  void add_metaspace(const Json& definition);

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
