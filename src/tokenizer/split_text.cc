// What the steps of a pre-tokenizer do to a text that is cut into words.
#include <algorithm>
#include <utility>

#include "tokenizer/byte_alphabet.h"
#include "tokenizer/pre_tokenizer.h"
#include "tokenizer/utf8.h"

namespace qwodel {
namespace {

using Words = std::vector<TextRange>;

struct Part {
  TextRange range;
  bool match = false;
};

// Matches and what lies between them, in the text's coordinates.
void find_parts(const SplitStep& step, const SplitText& split, const TextRange& word,
                std::vector<TextRange>& matches, std::vector<Part>& parts) {
  parts.clear();
  step.regex.find_all(split.word(word), matches);
  std::size_t at = word.begin;
  for (const TextRange& match : matches) {
    const TextRange range = {word.begin + match.begin, word.begin + match.end};
    if (range.begin > at) parts.push_back({{at, range.begin}, step.invert});
    // An empty match is a place to split at.
    if (range.end > range.begin) parts.push_back({range, !step.invert});
    at = range.end;
  }
  if (at < word.end) parts.push_back({{at, word.end}, step.invert});
}

// A match joins its neighbour unless that is a match that joined already.
void merge_forward(const std::vector<Part>& parts, Words& words) {
  bool previous = false, any = false;
  for (const Part& part : parts) {
    if (part.match && !previous && any) {
      words.back().end = part.range.end;
    } else {
      words.push_back(part.range);
    }
    previous = part.match;
    any = true;
  }
}

void merge_backward(const std::vector<Part>& parts, Words& words) {
  const auto first = static_cast<std::ptrdiff_t>(words.size());
  bool previous = false, any = false;
  for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
    if (part->match && !previous && any) {
      words.back().begin = part->range.begin;
    } else {
      words.push_back(part->range);
    }
    previous = part->match;
    any = true;
  }
  std::reverse(words.begin() + first, words.end());
}

void add_words(const SplitStep& step, const std::vector<Part>& parts, Words& words) {
  if (step.behavior == SplitBehavior::merged_with_previous) return merge_forward(parts, words);
  if (step.behavior == SplitBehavior::merged_with_next) return merge_backward(parts, words);
  bool previous = false, any = false;
  for (const Part& part : parts) {
    if (step.behavior == SplitBehavior::removed && part.match) {
      previous = true;
      continue;
    }
    if (step.behavior == SplitBehavior::contiguous && any && part.match == previous) {
      words.back().end = part.range.end;
    } else {
      words.push_back(part.range);
    }
    previous = part.match;
    any = true;
  }
}

void apply(const SplitStep& step, SplitText& split) {
  Words words;
  words.reserve(split.words.size() + split.text.size() / 6);
  std::vector<TextRange> matches;
  std::vector<Part> parts;
  for (const TextRange& word : split.words) {
    find_parts(step, split, word, matches, parts);
    add_words(step, parts, words);
  }
  split.words = std::move(words);
}

// A text that is put together of new words.
class Rewriter {
 public:
  explicit Rewriter(SplitText& split) : split_(split) { text_.reserve(split.text.size() + 16); }

  void add(std::string_view word) {
    if (word.empty()) return;
    words_.push_back({text_.size(), text_.size() + word.size()});
    text_ += word;
  }
  void finish() { split_.rewrite(std::move(text_), std::move(words_)); }

 private:
  SplitText& split_;
  std::string text_;
  Words words_;
};

void apply(const PrefixSpaceStep&, SplitText& split) {
  Rewriter rewriter(split);
  std::string spaced;
  for (const TextRange& range : split.words) {
    const std::string_view word = split.word(range);
    spaced.assign(1, ' ');
    spaced += word;
    rewriter.add(word.starts_with(' ') ? word : spaced);
  }
  rewriter.finish();
}

void apply(const MetaspaceStep& step, SplitText& split) {
  using Prepend = MetaspaceStep::Prepend;
  Rewriter rewriter(split);
  for (const TextRange& range : split.words) {
    std::string word = replace_all(split.word(range), " ", step.replacement);
    const bool first = split.is_start && range.begin == 0;
    const bool wanted =
        step.prepend == Prepend::always || (step.prepend == Prepend::first && first);
    if (wanted && !word.starts_with(step.replacement)) word.insert(0, step.replacement);
    std::size_t at = 0;
    while (step.split && at < word.size()) {
      const std::size_t next = word.find(step.replacement, at + 1);
      if (next == std::string::npos) break;
      rewriter.add(std::string_view(word).substr(at, next - at));
      at = next;
    }
    rewriter.add(std::string_view(word).substr(at));
  }
  rewriter.finish();
}

void apply(const ByteAlphabetStep&, SplitText& split) {
  Rewriter rewriter(split);
  for (const TextRange& range : split.words) rewriter.add(to_byte_alphabet(split.word(range)));
  rewriter.finish();
}

void apply(const FixedLengthStep& step, SplitText& split) {
  Words words;
  for (const TextRange& word : split.words) {
    std::size_t begin = word.begin, count = 0;
    for (std::size_t at = word.begin; at < word.end; ++at) {
      const bool starts = (static_cast<unsigned char>(split.text[at]) & 0xC0) != 0x80;
      if (!starts || count++ < step.length) continue;
      words.push_back({begin, at});
      begin = at;
      count = 1;
    }
    words.push_back({begin, word.end});
  }
  split.words = std::move(words);
}

// Words in the byte alphabet become the bytes they stand for.
void leave_alphabet(SplitText& split) {
  Rewriter rewriter(split);
  std::string bytes;
  for (const TextRange& range : split.words) {
    bytes.clear();
    for (std::string_view rest = split.word(range); !rest.empty();) {
      const CodePoint point = first_code_point(rest);
      bytes += static_cast<char>(character_byte(point.value).value_or(0));
      rest.remove_prefix(std::max<std::size_t>(point.size, 1));
    }
    rewriter.add(bytes);
  }
  rewriter.finish();
}

}  // namespace

void SplitText::rewrite(std::string new_text, std::vector<TextRange> new_words) {
  storage = std::move(new_text);
  text = storage;
  words = std::move(new_words);
}

void PreTokenizer::split(SplitText& split) const {
  bool in_alphabet = false;
  for (const Step& step : steps_) {
    std::visit([&](const auto& kind) { apply(kind, split); }, step);
    in_alphabet = in_alphabet || std::holds_alternative<ByteAlphabetStep>(step);
  }
  if (in_alphabet) leave_alphabet(split);
}

std::vector<std::string> PreTokenizer::split(std::string_view text) const {
  SplitText split(text);
  for (const Step& step : steps_) {
    if (std::holds_alternative<ByteAlphabetStep>(step)) continue;
    std::visit([&](const auto& kind) { apply(kind, split); }, step);
  }
  std::vector<std::string> words;
  words.reserve(split.words.size());
  for (const TextRange& range : split.words) words.emplace_back(split.word(range));
  return words;
}

}  // namespace qwodel
