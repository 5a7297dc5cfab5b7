// vocab.json, merges.txt and vocab.txt as a TokenizerJson.
#include <fmt/format.h>

#include "io/mapped_file.h"
#include "qwodel/error.h"
#include "tokenizer/tokenizer_json.h"
#include "tokenizer/utf8.h"

namespace qwodel {
namespace {

constexpr std::string_view kBlanks = " \t\r\f\v";

// Calls `visit` with every line of a UTF-8 file and its number, without its line end.
template <class Visit>
void for_each_line(const std::filesystem::path& path, Visit visit) {
  const MappedFile file(path);
  std::string_view text(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
  if (!is_utf8(text)) {
    throw ValidationError({.where = path.string(),
                           .found = "bytes that are not UTF-8",
                           .expected = "text",
                           .remedy = ""});
  }
  for (std::size_t number = 1; !text.empty(); ++number) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    visit(line, number);
  }
}

std::string_view trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(kBlanks);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
}

std::vector<Merge> read_merges(const std::filesystem::path& path) {
  std::vector<Merge> merges;
  for_each_line(path, [&](std::string_view line, std::size_t number) {
    if (number == 1 && line.starts_with("#version")) return;
    line = trimmed(line);
    if (line.empty()) return;
    const std::size_t space = line.find_first_of(kBlanks);
    const std::string_view left = line.substr(0, space);
    const std::string_view right =
        space == std::string_view::npos ? std::string_view() : trimmed(line.substr(space));
    if (right.empty() || right.find_first_of(kBlanks) != std::string_view::npos) {
      throw ValidationError({.where = path.string(),
                             .found = fmt::format("line {}: {}", number, line.substr(0, 60)),
                             .expected = "two tokens",
                             .remedy = ""});
    }
    merges.push_back({std::string(left), std::string(right)});
  });
  return merges;
}

}  // namespace

TokenizerJson read_vocab_and_merges(const std::filesystem::path& vocab,
                                    const std::filesystem::path& merges) {
  Json model = {{"type", "BPE"}, {"vocab", read_json(vocab)}};
  TokenizerJson result = parse_tokenizer_model(model, vocab.string());
  result.merges = read_merges(merges);
  check_vocabulary(result, vocab.string());
  return result;
}

TokenizerJson read_vocab_txt(const std::filesystem::path& path) {
  TokenizerJson result;
  result.kind = TokenModel::wordpiece;
  for_each_line(path, [&](std::string_view line, std::size_t number) {
    if (number > kMaxTokens) {
      throw ValidationError({.where = path.string(),
                             .found = fmt::format("more than {} lines", kMaxTokens),
                             .expected = "one token per line",
                             .remedy = ""});
    }
    result.vocabulary.push_back({std::string(line), static_cast<std::uint32_t>(number - 1), 0});
  });
  check_vocabulary(result, path.string());
  return result;
}

}  // namespace qwodel
