// Whole artifacts equal llama.cpp's: every file type of real models, with and without an importance
// matrix (tests/golden/artifacts.json, made by make_artifact_goldens.py).
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>
#include <xxhash.h>

#include <cstdlib>
#include <filesystem>

#include "formats/checkpoint.h"
#include "io/json.h"
#include "io/mapped_file.h"
#include "qwodel/quantize.h"
#include "tests/formats/temp_directory.h"
#include "tests/sanitized.h"

namespace qwodel {
namespace {

namespace fs = std::filesystem;

// Models too large for the repository lie in a folder beside it.
fs::path model_path(const std::string& name) {
  const fs::path own = fs::path(QWODEL_SOURCE_DIR) / "models" / name;
  if (fs::exists(own)) return own;
  const char* shared = std::getenv("QWODEL_SHARED");
  const fs::path beside =
      shared != nullptr ? fs::path(shared) : fs::path(QWODEL_SOURCE_DIR) / ".." / "shared";
  return beside / "models" / name;
}

std::string file_digest(const fs::path& path) {
  const MappedFile file(path);
  return fmt::format("{:016x}", XXH3_64bits(file.bytes().data(), file.bytes().size()));
}

// XXH3-64 over "name type shape\n" and the data of every tensor, as the golden's maker computes it.
std::string tensors_digest(const fs::path& path) {
  const auto checkpoint = open_checkpoint(path);
  XXH3_state_t* state = XXH3_createState();
  XXH3_64bits_reset(state);
  for (const TensorInfo& tensor : checkpoint->tensors()) {
    const std::string line = fmt::format("{} {} {}\n", tensor.name, info(tensor.type).ggml_id,
                                         fmt::join(tensor.shape, ","));
    XXH3_64bits_update(state, line.data(), line.size());
    XXH3_64bits_update(state, tensor.bytes.data(), tensor.bytes.size());
  }
  const auto digest = XXH3_64bits_digest(state);
  XXH3_freeState(state);
  return fmt::format("{:016x}", digest);
}

std::string digest_of(const fs::path& model, const std::string& key, const fs::path& out) {
  QuantizeOptions options;
  options.model = model;
  options.output = out;
  options.force = true;
  options.targets = {"gguf:" + key.substr(0, key.find('+'))};
  const bool with_importance = key.ends_with("+imatrix");
  if (with_importance) {
    options.imatrix = fs::path(QWODEL_SOURCE_DIR) / "tests/data/stories260K-imatrix.gguf";
  }
  try {
    quantize(options);
  } catch (const Error&) {
    return "refused";
  }
  return with_importance ? tensors_digest(out) : file_digest(out);
}

class ArtifactGoldens : public testing::TestWithParam<std::string> {};

TEST_P(ArtifactGoldens, EqualTheReferenceByteForByte) {
  const fs::path model = model_path(GetParam());
  if (!fs::exists(model)) GTEST_SKIP() << model << " is not there (set QWODEL_SHARED)";
  const Json goldens = read_json(QWODEL_SOURCE_DIR "/tests/golden/artifacts.json");
  const TempDirectory scratch;
  std::size_t compared = 0, seen = 0;
  for (const auto& [key, expected] : goldens["models"][GetParam()].items()) {
    if (seen++ % one_of(4) != 0) continue;
    EXPECT_EQ(digest_of(model, key, scratch.path() / "out.gguf"), expected.get<std::string>())
        << GetParam() << " " << key;
    ++compared;
  }
  EXPECT_GE(compared, 30 / one_of(4));
}

INSTANTIATE_TEST_SUITE_P(Models, ArtifactGoldens,
                         testing::Values("stories260K", "babyllama-tok361-hf", "gpt2-16d-tiny"),
                         [](const auto& suite) {
                           std::string name = suite.param;
                           for (char& c : name) c = c == '-' ? '_' : c;
                           return name;
                         });

}  // namespace
}  // namespace qwodel
