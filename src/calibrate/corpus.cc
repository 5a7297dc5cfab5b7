#include "calibrate/corpus.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "calibrate/chat_messages.h"
#include "io/json.h"
#include "io/mapped_file.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

namespace fs = std::filesystem;

constexpr std::array<std::string_view, 5> kExtensions = {".txt", ".md", ".jsonl", ".ids",
                                                         ".tokens"};

[[noreturn]] void fail(const std::string& where, std::string found, std::string expected,
                       std::string remedy = "") {
  throw ValidationError({.where = where,
                         .found = std::move(found),
                         .expected = std::move(expected),
                         .remedy = std::move(remedy)});
}

std::string_view text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

bool is_blank(std::string_view text) {
  return text.find_first_not_of(" \t\r\n\f\v") == std::string_view::npos;
}

void append_text(std::string_view text, bool parse_special, const std::string& where,
                 const CorpusOptions& options, std::vector<std::uint32_t>& tokens) {
  if (options.tokenizer == nullptr) {
    fail(where, "text, and a model without a tokenizer", "token ids in a .ids file",
         "or put tokenizer.json beside the model");
  }
  const auto ids = options.tokenizer->encode(text, {.parse_special = parse_special});
  for (const std::uint32_t id : ids) {
    if (id < options.vocab_size) continue;
    fail(where, fmt::format("a tokenizer that gives the id {}", id),
         fmt::format("ids below {}, the model's vocabulary", options.vocab_size),
         "use the tokenizer the model was made with");
  }
  tokens.insert(tokens.end(), ids.begin(), ids.end());
}

void append_line(std::string_view line, const std::string& where, const CorpusOptions& options,
                 std::vector<std::uint32_t>& tokens) {
  const Json document = parse_json(line, where);
  const Json* text = find_member(document, "text");
  if (text != nullptr && text->is_string()) {
    append_text(text->get<std::string>(), false, where, options, tokens);
    return;
  }
  const Json* messages = find_member(document, "messages");
  if (messages == nullptr || !messages->is_array()) {
    fail(where, "neither \"text\" nor \"messages\"", "one of them in every line");
  }
  const auto conversation = conversation_text(*messages, options.chat_template, where);
  append_text(conversation.text, conversation.has_special_tokens, where, options, tokens);
}

void append_lines(std::string_view text, const std::string& file, const CorpusOptions& options,
                  std::vector<std::uint32_t>& tokens) {
  for (std::size_t number = 1; !text.empty(); ++number) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    if (!is_blank(line)) append_line(line, fmt::format("{}:{}", file, number), options, tokens);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

// Numbers between spaces, newlines, commas or brackets.
void append_ids(std::string_view text, const std::string& file, const CorpusOptions& options,
                std::vector<std::uint32_t>& tokens) {
  const char* end = text.data() + text.size();
  for (const char* at = text.data(); at != end;) {
    if (std::string_view(" \t\r\n,[]").find(*at) != std::string_view::npos) {
      ++at;
      continue;
    }
    std::uint32_t id = 0;
    const auto [next, error] = std::from_chars(at, end, id);
    if (error != std::errc() || next == at) {
      fail(file,
           fmt::format("\"{}\"", std::string_view(at, std::min<std::size_t>(
                                                          static_cast<std::size_t>(end - at), 20))),
           "token ids");
    }
    if (id >= options.vocab_size) {
      fail(file, fmt::format("token id {}", id),
           fmt::format("ids below {}, the model's vocabulary", options.vocab_size));
    }
    tokens.push_back(id);
    at = next;
  }
}

bool holds_ids(const fs::path& path) {
  return path.extension() == ".ids" || path.extension() == ".tokens";
}

void append_file(const fs::path& path, const CorpusOptions& options,
                 std::vector<std::uint32_t>& tokens) {
  const MappedFile file(path);
  const std::string_view text = text_of(file);
  if (holds_ids(path)) {
    append_ids(text, path.string(), options, tokens);
  } else if (path.extension() == ".jsonl") {
    append_lines(text, path.string(), options, tokens);
  } else if (!is_blank(text)) {
    append_text(text, false, path.string(), options, tokens);
  }
}

std::vector<fs::path> files_of(const fs::path& directory) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(directory)) {
    const std::string extension = entry.path().extension().string();
    const bool known = std::ranges::find(kExtensions, extension) != kExtensions.end();
    if (known && entry.is_regular_file()) files.push_back(entry.path());
  }
  std::ranges::sort(files);
  return files;
}

}  // namespace

Corpus read_corpus(const std::string& source, const CorpusOptions& options) {
  Corpus corpus{.name = source, .tokens = {}};
  if (source == "builtin") {
    append_text(builtin_text(), false, source, options, corpus.tokens);
  } else if (fs::is_directory(source)) {
    for (const fs::path& file : files_of(source)) append_file(file, options, corpus.tokens);
  } else {
    append_file(source, options, corpus.tokens);
  }
  if (corpus.tokens.empty()) {
    fail(source, "no text", "a text, .jsonl or .ids file that holds some",
         "the text shipped with Qwodel is --calibration builtin");
  }
  return corpus;
}

std::vector<std::uint32_t> tokenize_file(const fs::path& path, const CorpusOptions& options) {
  std::vector<std::uint32_t> tokens;
  const MappedFile file(path);
  std::string_view text = text_of(file);
  if (text.ends_with('\n')) text.remove_suffix(1);
  if (holds_ids(path)) {
    append_ids(text, path.string(), options, tokens);
  } else if (!text.empty()) {
    append_text(text, false, path.string(), options, tokens);
  }
  if (tokens.empty()) fail(path.string(), "no text", "a text file that holds some");
  return tokens;
}

TokenSequences sample_corpus(const Corpus& corpus, std::uint64_t samples, std::uint64_t seq_len) {
  const std::uint64_t blocks = seq_len == 0 ? 0 : corpus.tokens.size() / seq_len;
  if (blocks == 0 || samples == 0) {
    fail(corpus.name, fmt::format("{} tokens", corpus.tokens.size()),
         fmt::format("at least one sample of {}", std::max<std::uint64_t>(seq_len, 1)),
         "give more text or a smaller --seq-len");
  }
  const std::uint64_t count = std::min(samples, blocks);
  TokenSequences sequences;
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t block = i * blocks / count;
    sequences.append(std::span(corpus.tokens).subspan(block * seq_len, seq_len));
  }
  return sequences;
}

TokenSequences cut_chunks(std::span<const std::uint32_t> tokens, std::uint64_t context,
                          std::uint64_t max_chunks, std::optional<std::uint32_t> bos,
                          const std::string& source) {
  std::uint64_t chunks = context == 0 ? 0 : tokens.size() / context;
  if (max_chunks > 0) chunks = std::min(chunks, max_chunks);
  if (chunks == 0) {
    fail(source, fmt::format("{} tokens", tokens.size()),
         fmt::format("at least one chunk of {}", context), "give more text or a smaller --ctx");
  }
  TokenSequences sequences;
  for (std::uint64_t i = 0; i < chunks; ++i) {
    sequences.append(tokens.subspan(i * context, context));
    if (bos) sequences.tokens[i * context] = *bos;
  }
  return sequences;
}

std::string hash_of(const TokenSequences& sequences) {
  XXH3_state_t* state = XXH3_createState();
  XXH3_128bits_reset(state);
  XXH3_128bits_update(state, sequences.tokens.data(),
                      sequences.tokens.size() * sizeof(std::uint32_t));
  XXH3_128bits_update(state, sequences.ends.data(), sequences.ends.size() * sizeof(std::uint64_t));
  const XXH128_hash_t hash = XXH3_128bits_digest(state);
  XXH3_freeState(state);
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

}  // namespace qwodel
