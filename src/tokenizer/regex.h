// Regular expressions over UTF-8 text, with Unicode properties (PCRE2).
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace qwodel {

struct TextRange {
  std::size_t begin = 0, end = 0;  // bytes
  bool operator==(const TextRange&) const = default;
};

// Compiled once, then usable from several threads. Effort is bounded: an expression that backtracks
// too much is an error, not a hang.
class Regex {
 public:
  // Throws ValidationError when the expression does not compile; `source` says where it is from.
  Regex(std::string pattern, std::string source);
  ~Regex();
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;

  // All matches, left to right; empty ones too. REQUIRES: text is UTF-8. Throws ValidationError
  // when matching exceeds its limits.
  std::vector<TextRange> find_all(std::string_view text) const;

  // The same into a vector that is cleared first.
  void find_all(std::string_view text, std::vector<TextRange>& matches) const;

  const std::string& pattern() const { return pattern_; }

 private:
  struct Code;
  [[noreturn]] void refuse(int error) const;

  std::unique_ptr<Code> code_;
  std::string pattern_, source_;
};

// The pattern that matches `text` itself.
std::string quote_regex(std::string_view text);

}  // namespace qwodel
