// SentencePiece's compiled normalizer: a double array of what is replaced, and the replacements.
//
// Format: Darts-clone (github.com/s-yata/darts-clone): 32-bit units; bytes of the array, the array,
// then the replacements, each ended by a zero byte.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace qwodel {

class Charsmap {
 public:
  // Throws ValidationError when the bytes are not such a map. No bytes: nothing is replaced.
  Charsmap(std::string_view bytes, const std::string& source);

  bool empty() const { return units_.empty(); }

  struct Match {
    std::size_t size = 0;  // bytes of the text
    std::string_view replacement;
  };
  // The shortest or longest prefix of `text` that is replaced.
  std::optional<Match> shortest(std::string_view text) const { return find(text, true); }
  std::optional<Match> longest(std::string_view text) const { return find(text, false); }

  // As the Hugging Face library does it: each grapheme of less than six bytes, else each character,
  // that has a prefix with a replacement is replaced by it.
  std::string normalize_graphemes(std::string_view text) const;

 private:
  std::optional<Match> find(std::string_view text, bool first) const;

  std::vector<std::uint32_t> units_;
  std::string replacements_;
};

}  // namespace qwodel
