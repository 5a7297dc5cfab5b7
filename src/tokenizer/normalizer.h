// Rewrites a text before it is split into words, as the member "normalizer" of tokenizer.json says.
//
// Reference: the Hugging Face tokenizers library (normalizers).
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "io/json_fwd.h"
#include "tokenizer/charsmap.h"
#include "tokenizer/regex.h"
#include "tokenizer/unicode_text.h"

namespace qwodel {

struct NormalFormStep {
  NormalForm form = NormalForm::nfc;
};
struct LowercaseStep {};
struct StripAccentsStep {};
struct NmtStep {};           // controls removed, rare spaces become spaces
struct ByteAlphabetText {};  // bytes written in the alphabet of byte-level BPE
struct PrependStep {
  std::string text;
};
// Occurrences of `literal`, or matches of the expression when that is empty.
struct ReplaceStep {
  std::string literal;
  std::vector<Regex> regex;  // one or none
  std::string content;
};
struct StripStep {
  bool left = true, right = true;
};
struct BertStep {
  bool clean_text = true, spaces_around_ideographs = true, strip_accents = true, lowercase = true;
};
struct CharsmapStep {
  Charsmap charsmap;
};

class Normalizer {
 public:
  using Step =
      std::variant<NormalFormStep, LowercaseStep, StripAccentsStep, NmtStep, ByteAlphabetText,
                   PrependStep, ReplaceStep, StripStep, BertStep, CharsmapStep>;

  // `definition` may be null: nothing changes. Throws FormatNotSupportedError for a step that is
  // unknown, ValidationError for one that is incomplete.
  Normalizer(const Json& definition, const std::string& source);
  explicit Normalizer(std::vector<Step> steps) : steps_(std::move(steps)) {}

  bool empty() const { return steps_.empty(); }

  // REQUIRES: UTF-8.
  std::string normalize(std::string_view text) const;

 private:
  void add(const Json& definition, const std::string& source, int depth);

  std::vector<Step> steps_;
};

// A ReplaceStep of a definition {"pattern": {"String" or "Regex"}, "content"}.
ReplaceStep make_replace(const Json& definition, const std::string& source);
std::string apply_replace(const ReplaceStep& step, std::string_view text);

}  // namespace qwodel
