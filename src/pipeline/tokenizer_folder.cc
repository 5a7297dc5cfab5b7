#include "pipeline/tokenizer_folder.h"

#include <array>
#include <string_view>

#include "io/atomic_directory.h"
#include "io/atomic_file.h"
#include "io/mapped_file.h"

namespace qwodel {
namespace {

namespace fs = std::filesystem;

constexpr std::array<std::string_view, 15> kFiles = {"config.json",
                                                     "generation_config.json",
                                                     "tokenizer.json",
                                                     "tokenizer.model",
                                                     "tokenizer_config.json",
                                                     "special_tokens_map.json",
                                                     "added_tokens.json",
                                                     "vocab.json",
                                                     "vocab.txt",
                                                     "merges.txt",
                                                     "chat_template.jinja",
                                                     "chat_template.json",
                                                     "sentencepiece.bpe.model",
                                                     "LICENSE",
                                                     "LICENSE.txt"};

}  // namespace

fs::path tokenizer_folder(const fs::path& package) {
  return package.parent_path() / (package.stem().string() + "-tokenizer");
}

void write_tokenizer_folder(const Checkpoint& source, const fs::path& package, bool replace) {
  if (source.gguf_metadata()) return;
  AtomicDirectory folder(tokenizer_folder(package), replace);
  for (const std::string_view name : kFiles) {
    const fs::path from = source.directory() / name;
    if (!fs::is_regular_file(from)) continue;
    const MappedFile mapped(from);
    AtomicFile out(folder.staging() / name, mapped.bytes().size(), true);
    out.write_at(0, mapped.bytes());
    out.commit();
  }
  folder.commit();
}

}  // namespace qwodel
