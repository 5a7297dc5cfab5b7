// The layer order of the design holds: a folder of src/ includes only folders before it, and the
// command line sees the public headers only.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <regex>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;

const std::vector<std::string> kLayers = {
    "core",    "io",        "kernels", "formats", "tokenizer", "graph",   "models",   "codecs",
    "sources", "calibrate", "methods", "eval",    "plan",      "targets", "pipeline", "hub"};

std::size_t layer_of(const std::string& folder) {
  return static_cast<std::size_t>(std::find(kLayers.begin(), kLayers.end(), folder) -
                                  kLayers.begin());
}

std::vector<std::string> project_includes(const fs::path& file) {
  static const std::regex pattern("^\\s*#\\s*include\\s+\"([^\"]+)\".*");
  std::ifstream in(file);
  std::vector<std::string> includes;
  for (std::string line; std::getline(in, line);) {
    std::smatch match;
    if (std::regex_match(line, match, pattern)) includes.push_back(match[1]);
  }
  return includes;
}

bool is_source(const fs::path& path) {
  return path.extension() == ".h" || path.extension() == ".cc";
}

TEST(Layers, FoldersIncludeOnlyFoldersBeforeThem) {
  const fs::path src = fs::path(QWODEL_SOURCE_DIR) / "src";
  std::size_t checked = 0;
  for (const auto& entry : fs::recursive_directory_iterator(src)) {
    if (!is_source(entry.path())) continue;
    const std::string folder = fs::relative(entry.path(), src).begin()->string();
    ASSERT_LT(layer_of(folder), kLayers.size()) << folder << " has no place in the layer order";
    for (const std::string& include : project_includes(entry.path())) {
      const std::string included = fs::path(include).begin()->string();
      if (included == "qwodel") continue;  // the public API: errors and progress
      ++checked;
      EXPECT_LE(layer_of(included), layer_of(folder)) << entry.path() << " includes " << include;
    }
  }
  EXPECT_GT(checked, 100u);
}

TEST(Layers, TheCommandLineSeesOnlyThePublicApi) {
  const fs::path cli = fs::path(QWODEL_SOURCE_DIR) / "cli";
  for (const auto& entry : fs::recursive_directory_iterator(cli)) {
    if (!is_source(entry.path())) continue;
    for (const std::string& include : project_includes(entry.path())) {
      const std::string included = fs::path(include).begin()->string();
      EXPECT_TRUE(included == "qwodel" || included == "cli")
          << entry.path() << " includes " << include;
    }
  }
}

TEST(Layers, PublicHeadersIncludeOnlyPublicHeaders) {
  const fs::path api = fs::path(QWODEL_SOURCE_DIR) / "include" / "qwodel";
  for (const auto& entry : fs::directory_iterator(api)) {
    for (const std::string& include : project_includes(entry.path())) {
      EXPECT_EQ(fs::path(include).begin()->string(), "qwodel") << entry.path();
    }
  }
}

}  // namespace
