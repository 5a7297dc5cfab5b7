#include "formats/model_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <set>
#include <string_view>
#include <system_error>

#include "io/json.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

namespace fs = std::filesystem;

struct Container {
  std::string_view prefix;
  std::string_view suffix;
  std::string_view index;
  bool torch;
};

// In the order of preference.
constexpr std::array kContainers = {
    Container{"model", ".safetensors", "model.safetensors.index.json", false},
    Container{"pytorch_model", ".bin", "pytorch_model.bin.index.json", true},
};

bool is_file(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

std::vector<std::string> names_like(const fs::path& directory, const Container& container) {
  std::vector<std::string> names;
  std::error_code error;
  fs::directory_iterator entries(directory, error);
  if (error) {
    throw DependencyError({.where = directory.string(),
                           .found = error.message(),
                           .expected = "a readable directory",
                           .remedy = "check its permissions"});
  }
  for (const fs::directory_entry& entry : entries) {
    const std::string name = entry.path().filename().string();
    if (name.size() >= container.prefix.size() + container.suffix.size() &&
        name.starts_with(container.prefix) && name.ends_with(container.suffix)) {
      names.push_back(name);
    }
  }
  std::ranges::sort(names);
  return names;
}

bool lies_in(const fs::path& path, const fs::path& folder) {
  const auto [end, ignored] = std::mismatch(folder.begin(), folder.end(), path.begin(), path.end());
  return end == folder.end();
}

// A link may lead to the directory itself or, in a Hugging Face cache, to the blobs beside the
// snapshots; anywhere else is not this model's file.
void check_inside(const fs::path& directory, const std::string& name, const fs::path& index) {
  const auto refuse = [&](std::string found) {
    throw ValidationError({.where = index.string(),
                           .found = std::move(found),
                           .expected = "names of files in the same directory",
                           .remedy = "put the weight files into the directory of the index"});
  };
  const fs::path path(name);
  if (name.empty() || name == "." || name == ".." || path.filename() != path) {
    refuse(fmt::format("file name \"{}\"", name));
  }
  std::error_code error;
  const fs::path home = fs::canonical(directory, error);
  const fs::path target = error ? fs::path() : fs::canonical(directory / path, error);
  if (error) return;  // missing, or a link that leads nowhere: reported when it is opened
  const fs::path blobs = home.parent_path().parent_path() / "blobs";
  if (!lies_in(target, home) && !lies_in(target, blobs)) {
    refuse(fmt::format("\"{}\", a link to {}", name, target.string()));
  }
}

void read_index(const fs::path& directory, const fs::path& index, ModelFiles& found) {
  const Json document = read_json(index);
  const Json* map = find_member(document, "weight_map");
  if (map == nullptr || !map->is_object() || map->empty()) {
    throw ValidationError({.where = index.string(),
                           .found = "no weight_map",
                           .expected = "a map from tensor names to file names",
                           .remedy = "download the index again"});
  }
  std::set<std::string> names;
  for (const auto& [tensor, file] : map->items()) {
    if (!file.is_string()) {
      throw ValidationError({.where = index.string(),
                             .found = fmt::format("{} for tensor \"{}\"", file.dump(), tensor),
                             .expected = "a file name",
                             .remedy = "download the index again"});
    }
    const auto& name = file.get_ref<const std::string&>();
    names.insert(name);
    found.index_map.emplace(tensor, name);
  }
  for (const std::string& name : names) {
    check_inside(directory, name, index);
    if (!is_file(directory / name)) {
      throw ValidationError(
          {.where = (directory / name).string(),
           .found = "no such file",
           .expected = fmt::format("the shard that {} names", index.filename().string()),
           .remedy = "download the missing shard"});
    }
    found.files.push_back(directory / name);
  }
  found.index = index;
}

// Without an index the names alone say how many shards belong together.
void check_shard_names(const fs::path& directory, const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    const std::size_t count = shard_count(name);
    const std::size_t dash = name.rfind("-of-");
    for (std::size_t i = 1; i <= count; ++i) {
      const std::string shard =
          fmt::format("{}{:05}{}", name.substr(0, dash - 5), i, name.substr(dash));
      if (!std::ranges::binary_search(names, shard)) {
        throw ValidationError({.where = (directory / shard).string(),
                               .found = "no such file",
                               .expected = fmt::format("{} shards beside {}", count, name),
                               .remedy = "download the missing shard"});
      }
    }
    if (count > 0) return;  // one complete set; strangers beside it show up as duplicate tensors
  }
}

}  // namespace

std::size_t shard_count(const std::string& file_name) {
  const std::size_t dash = file_name.rfind("-of-");
  const std::size_t digits = 5;
  if (dash == std::string::npos || dash < digits + 1 || file_name.size() < dash + 4 + digits)
    return 0;
  const auto number = [&](std::size_t at) -> std::size_t {
    std::size_t value = 0;
    const char* first = file_name.data() + at;
    const auto [end, error] = std::from_chars(first, first + digits, value);
    return error == std::errc() && end == first + digits ? value : 0;
  };
  if (file_name[dash - digits - 1] != '-' || number(dash - digits) == 0) return 0;
  return number(dash + 4);
}

ModelFiles find_model_files(const fs::path& directory) {
  ModelFiles found;
  for (const Container& container : kContainers) {
    found.torch = container.torch;
    if (is_file(directory / container.index)) {
      read_index(directory, directory / container.index, found);
      return found;
    }
    const auto names = names_like(directory, container);
    if (names.empty()) continue;
    check_shard_names(directory, names);
    for (const std::string& name : names) found.files.push_back(directory / name);
    return found;
  }
  throw FormatNotSupportedError({.where = directory.string(),
                                 .found = "no weights",
                                 .expected = "model.safetensors, pytorch_model.bin or their shards",
                                 .remedy = "give a Hugging Face model directory or a .gguf file"});
}

}  // namespace qwodel
