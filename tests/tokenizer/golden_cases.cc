#include "tests/tokenizer/golden_cases.h"

#include <set>

namespace qwodel {
namespace {

bool is_gguf(const std::string& name) { return name.ends_with(".gguf"); }

template <class T>
const std::vector<T>& array_of(const GgufFile& file, const std::string& key) {
  return std::get<std::vector<T>>(std::get<GgufArray>(*file.metadata.find(key)));
}

std::vector<std::string> read_merges(const std::filesystem::path& path) {
  std::vector<std::string> merges;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!line.empty() && !line.starts_with("#version")) merges.push_back(line);
  }
  return merges;
}

// {"assemble": ...}: a tokenizer.json of the vocabulary and merges of other files.
std::optional<std::string> assemble(Json recipe) {
  const auto vocab = find_data(recipe["vocab"]), merges = find_data(recipe["merges"]);
  if (!vocab || !merges) return std::nullopt;
  Json model = recipe["model"];
  model["type"] = "BPE";
  if (is_gguf(recipe["vocab"])) {
    const MappedFile mapped(*vocab);
    const GgufFile file = read_gguf(mapped);
    const auto& tokens = array_of<std::string>(file, "tokenizer.ggml.tokens");
    const auto& types = array_of<std::int32_t>(file, "tokenizer.ggml.token_type");
    const bool listed = !recipe["added_tokens"].empty();
    for (std::size_t id = 0; id < tokens.size(); ++id) {
      model["vocab"][tokens[id]] = id;
      if (listed || (types[id] != 3 && types[id] != 4)) continue;
      recipe["added_tokens"].push_back({{"id", id},
                                        {"content", tokens[id]},
                                        {"special", types[id] == 3},
                                        {"normalized", false}});
    }
    model["merges"] = array_of<std::string>(file, "tokenizer.ggml.merges");
  } else {
    model["vocab"] = Json::parse(read_file(*vocab));
    model["merges"] = read_merges(*merges);
  }
  recipe.erase("vocab");
  recipe.erase("merges");
  recipe["model"] = std::move(model);
  return recipe.dump();
}

// {"patch": a tokenizer.json, "members": ...}: members replaced, "model.x" inside the model.
std::optional<std::string> patched(const Json& recipe) {
  const auto path = find_data(recipe["patch"]);
  if (!path) return std::nullopt;
  Json document = Json::parse(read_file(*path));
  for (const auto& [key, value] : recipe["members"].items()) {
    if (key.starts_with("model.")) {
      document["model"][key.substr(6)] = value;
    } else {
      document[key] = value;
    }
  }
  return document.dump();
}

std::optional<std::string> content_of(const Json& source) {
  if (source.contains("json")) return source["json"].dump();
  if (source.contains("text")) return source["text"].get<std::string>();
  if (source.contains("patch")) return patched(source);
  if (source.contains("assemble")) return assemble(source["assemble"]);
  const auto path = find_data(source["from"]);
  return path ? std::optional(read_file(*path)) : std::nullopt;
}

}  // namespace

bool make_case_directory(const Json& files, const TempDirectory& directory) {
  for (const auto& [name, source] : files.items()) {
    const auto content = content_of(source);
    if (!content) return false;
    std::filesystem::create_directories((directory / name).parent_path());
    directory.write(name, *content);
  }
  return true;
}

}  // namespace qwodel
