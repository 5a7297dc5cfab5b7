#include "tokenizer/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <pcre2.h>

#include <algorithm>
#include <array>
#include <new>

#include "qwodel/error.h"

namespace qwodel {
namespace {

// Steps of the matcher for one search. The patterns of real tokenizers stay below a few times the
// length of a word.
constexpr std::uint32_t kMatchLimit = 2'000'000;
constexpr std::uint32_t kHeapLimitKiB = 64 * 1024;

template <class T, void (*free_function)(T*)>
struct Free {
  void operator()(T* object) const { free_function(object); }
};
using MatchData = std::unique_ptr<pcre2_match_data, Free<pcre2_match_data, pcre2_match_data_free>>;
using MatchContext =
    std::unique_ptr<pcre2_match_context, Free<pcre2_match_context, pcre2_match_context_free>>;

// What matching needs besides the expression, one per thread.
struct MatchState {
  MatchState()
      : data(pcre2_match_data_create(1, nullptr)),  // where the whole match is, no groups
        context(pcre2_match_context_create(nullptr)),
        stack(pcre2_jit_stack_create(32 * 1024, 1024 * 1024, nullptr)) {
    if (!data || !context || !stack) throw std::bad_alloc();
    pcre2_set_match_limit(context.get(), kMatchLimit);
    pcre2_set_heap_limit(context.get(), kHeapLimitKiB);
    pcre2_jit_stack_assign(context.get(), nullptr, stack.get());
  }

  MatchData data;
  MatchContext context;
  std::unique_ptr<pcre2_jit_stack, Free<pcre2_jit_stack, pcre2_jit_stack_free>> stack;
};

// Unicode's White_Space. PCRE2's \\s has U+180E besides, which other engines do not count.
constexpr std::string_view kWhiteSpace =
    R"(\t-\r\x{20}\x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000})";

// The pattern with \\s, and \\S outside of sets, written out.
std::string with_white_space(std::string_view pattern) {
  std::string result;
  bool in_set = false;
  for (std::size_t i = 0; i < pattern.size();) {
    const std::string_view rest = pattern.substr(i);
    std::size_t taken = rest[0] == '\\' && rest.size() > 1 ? 2 : 1;
    const std::string_view escape = rest.substr(0, taken);
    if (escape == R"(\s)" || (escape == R"(\S)" && !in_set)) {
      if (!in_set) result += escape == R"(\S)" ? "[^" : "[";
      result += kWhiteSpace;
      if (!in_set) result += ']';
    } else {
      if (in_set && rest.starts_with("[:")) {  // [:class:]
        taken = std::min(rest.find(":]"), rest.size() - 2) + 2;
      } else if (!in_set && rest[0] == '[') {
        in_set = true;
        if (rest.starts_with("[^")) ++taken;
        if (rest.substr(taken).starts_with(']')) ++taken;  // as itself
      } else if (rest[0] == ']') {
        in_set = false;
      }
      result += rest.substr(0, taken);
    }
    i += taken;
  }
  return result;
}

std::string message_of(int error) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(error, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

}  // namespace

struct Regex::Code {
  std::unique_ptr<pcre2_code, Free<pcre2_code, pcre2_code_free>> compiled;
};

Regex::Regex(std::string pattern, std::string source)
    : code_(std::make_unique<Code>()), pattern_(std::move(pattern)), source_(std::move(source)) {
  int error = 0;
  PCRE2_SIZE at = 0;
  const std::string expression = with_white_space(pattern_);
  code_->compiled.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(expression.data()),
                                      expression.size(), PCRE2_UTF | PCRE2_UCP, &error, &at,
                                      nullptr));
  if (!code_->compiled) {
    throw ValidationError({.where = source_,
                           .found = fmt::format("the expression {} ({} at byte {})",
                                                pattern_.substr(0, 200), message_of(error), at),
                           .expected = "a regular expression",
                           .remedy = "choose the pre-tokenizer with --tokenizer-pre NAME"});
  }
  // Without a just-in-time compiler the interpreter runs: slower, the same matches.
  pcre2_jit_compile(code_->compiled.get(), PCRE2_JIT_COMPLETE);
}

Regex::~Regex() = default;
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;

void Regex::refuse(int error) const {
  throw ValidationError(
      {.where = source_,
       .found = fmt::format("the expression {} ({})", pattern_.substr(0, 200), message_of(error)),
       .expected = "one that matches within its limits",
       .remedy = "choose the pre-tokenizer with --tokenizer-pre NAME"});
}

std::vector<TextRange> Regex::find_all(std::string_view text) const {
  std::vector<TextRange> matches;
  find_all(text, matches);
  return matches;
}

void Regex::find_all(std::string_view text, std::vector<TextRange>& matches) const {
  thread_local const MatchState state;
  matches.clear();
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  const PCRE2_SIZE* found = pcre2_get_ovector_pointer(state.data.get());
  std::size_t least = 0;
  for (std::size_t at = 0; at <= text.size();) {
    const auto match = [&](std::uint32_t options) {
      return pcre2_match(code_->compiled.get(), subject, text.size(), at,
                         options | PCRE2_NO_UTF_CHECK, state.data.get(), state.context.get());
    };
    int count = match(0);
    // The interpreter needs no stack of its own, only more time.
    if (count == PCRE2_ERROR_JIT_STACKLIMIT) count = match(PCRE2_NO_JIT);
    if (count == PCRE2_ERROR_NOMATCH) break;
    if (count < 0) refuse(count);
    const std::size_t begin = std::max(found[0], least), end = std::max(found[1], least);
    if (begin <= end) matches.push_back({begin, end});
    least = end;
    at = std::max(at, end);
    if (end > begin) continue;
    // An empty match: go on behind the next code point. (\K may even put the end before `at`.)
    ++at;
    while (at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) ++at;
  }
}

std::string quote_regex(std::string_view text) {
  std::string pattern;
  for (const char c : text) {
    const bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (!word && static_cast<unsigned char>(c) < 0x80) pattern += '\\';
    pattern += c;
  }
  return pattern;
}

}  // namespace qwodel
