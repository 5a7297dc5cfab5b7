// tokenize: ids of a text, or with --decode the text of ids.
#include <fmt/format.h>

#include <charconv>
#include <fstream>
#include <iostream>
#include <iterator>

#include "cli/output.h"
#include "cli/verb.h"

namespace qwodel::cli {
namespace {

struct Arguments {
  std::string model;
  std::string text;
  std::string decode;
  bool no_special = false;
  bool parse_special = false;
  bool skip_special = false;
};

// The bytes of a file, or of stdin for "-".
std::string read_input(const std::string& path) {
  if (path == "-") return {std::istreambuf_iterator<char>(std::cin), {}};
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    throw DependencyError({.where = path,
                           .found = "no file that can be read",
                           .expected = "a text file",
                           .remedy = ""});
  }
  return {std::istreambuf_iterator<char>(file), {}};
}

// Numbers between anything else: lines, spaces, or a JSON array.
std::vector<std::uint32_t> parse_ids(const std::string& text, const std::string& where) {
  std::vector<std::uint32_t> ids;
  const char* end = text.data() + text.size();
  for (const char* at = text.data(); at != end;) {
    if (std::string_view(" \t\r\n,[]").find(*at) != std::string_view::npos) {
      ++at;
      continue;
    }
    std::uint32_t id = 0;
    const auto [next, error] = std::from_chars(at, end, id);
    if (error != std::errc()) {
      throw ValidationError(
          {.where = where,
           .found = std::string(at, std::min(end, at + std::min<std::ptrdiff_t>(end - at, 20))),
           .expected = "token ids",
           .remedy = ""});
    }
    ids.push_back(id);
    at = next;
  }
  return ids;
}

int run_encode(const Arguments& a, const Common& common) {
  const std::vector<std::uint32_t> ids = tokenize({.model = a.model,
                                                   .text = read_input(a.text),
                                                   .add_special = !a.no_special,
                                                   .parse_special = a.parse_special});
  if (common.json) {
    print_json(ids);
    return 0;
  }
  fmt::memory_buffer lines;
  for (const std::uint32_t id : ids) fmt::format_to(std::back_inserter(lines), "{}\n", id);
  std::fwrite(lines.data(), 1, lines.size(), stdout);
  return 0;
}

int run_decode(const Arguments& a, const Common& common) {
  const std::string text = detokenize({.model = a.model,
                                       .ids = parse_ids(read_input(a.decode), a.decode),
                                       .skip_special = a.skip_special});
  if (common.json) {
    print_json(text);
  } else {
    std::fwrite(text.data(), 1, text.size(), stdout);
  }
  return 0;
}

}  // namespace

std::function<int()> add_tokenize(CLI::App& app, Common& common) {
  auto a = std::make_shared<Arguments>();
  CLI::App* verb = add_verb(app, common, "tokenize", "Token ids of a text, one per line",
                            "qwodel tokenize SmolLM2-135M --text wiki.txt");
  verb->add_option("model", a->model, "Hugging Face directory (weights not needed) or .gguf")
      ->required();
  auto* text = verb->add_option("--text", a->text, "text file; -: standard input");
  auto* decode = verb->add_option("--decode", a->decode, "file of ids: print their text instead");
  text->excludes(decode);
  verb->add_flag("--no-special", a->no_special, "no begin and end tokens around the text");
  verb->add_flag("--parse-special", a->parse_special,
                 "special tokens written in the text are these tokens");
  verb->add_flag("--skip-special", a->skip_special, "with --decode: leave special tokens out");
  return [a, &common, decode, text] {
    if (decode->count() > 0) return run_decode(*a, common);
    if (text->count() > 0) return run_encode(*a, common);
    throw Error(ErrorCode::usage, {.where = "tokenize",
                                   .found = "no text",
                                   .expected = "--text FILE or --decode FILE",
                                   .remedy = ""});
  };
}

}  // namespace qwodel::cli
