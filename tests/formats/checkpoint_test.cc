// Finding the files of a model: single, sharded, with and without an index, and traps.
#include "formats/checkpoint.h"

#include <gtest/gtest.h>

#include "io/json.h"
#include "tests/formats/temp_directory.h"

namespace qwodel {
namespace {

namespace fs = std::filesystem;

std::string one_tensor(const std::string& name, const std::string& bytes) {
  const std::string size = std::to_string(bytes.size());
  return safetensors_bytes("{\"" + name + R"(":{"dtype":"U8","shape":[)" + size +
                               R"(],"data_offsets":[0,)" + size + "]}}",
                           bytes);
}

class CheckpointTest : public testing::Test {
 protected:
  CheckpointTest() { folder_.write("config.json", R"({"model_type":"llama"})"); }

  std::vector<std::string> names() {
    std::vector<std::string> found;
    const auto checkpoint = open_checkpoint(folder_.path());
    for (const TensorInfo& tensor : checkpoint->tensors()) found.push_back(tensor.name);
    return found;
  }

  template <class E>
  void expect_refused(std::string_view part) {
    expect_error<E>([&] { open_checkpoint(folder_.path()); }, part);
  }

  void write_index(const std::string& map) {
    folder_.write("model.safetensors.index.json", "{\"weight_map\":" + map + "}");
  }

  TempDirectory folder_;
};

TEST_F(CheckpointTest, SingleFile) {
  folder_.write("model.safetensors", one_tensor("a", "xyz"));
  const auto checkpoint = open_checkpoint(folder_.path());
  EXPECT_EQ(checkpoint->config().at("model_type"), "llama");
  EXPECT_EQ(checkpoint->directory(), folder_.path());
  EXPECT_FALSE(checkpoint->gguf_metadata().has_value());
  ASSERT_NE(checkpoint->find("a"), nullptr);
  EXPECT_EQ(checkpoint->find("a")->bytes.size(), 3u);
  EXPECT_EQ(checkpoint->find("b"), nullptr);
  EXPECT_EQ(open_checkpoint(folder_ / "model.safetensors")->tensors().size(), 1u);
}

TEST_F(CheckpointTest, ShardsWithIndexInNameOrder) {
  folder_.write("model-2.safetensors", one_tensor("a", "x"));
  folder_.write("model-1.safetensors", one_tensor("b", "y"));
  folder_.write("model-unused.safetensors", one_tensor("c", "z"));
  write_index(R"({"a":"model-2.safetensors","b":"model-1.safetensors"})");
  EXPECT_EQ(names(), (std::vector<std::string>{"b", "a"}));
}

TEST_F(CheckpointTest, ShardsWithoutIndex) {
  folder_.write("model-00002-of-00002.safetensors", one_tensor("a", "x"));
  folder_.write("model-00001-of-00002.safetensors", one_tensor("b", "y"));
  EXPECT_EQ(names(), (std::vector<std::string>{"b", "a"}));
  expect_error<ValidationError>(
      [&] { open_checkpoint(folder_ / "model-00001-of-00002.safetensors"); }, "directory");
  fs::remove(folder_ / "model-00001-of-00002.safetensors");
  expect_refused<ValidationError>("model-00001-of-00002.safetensors: found no such file");
}

TEST_F(CheckpointTest, TheSameTensorInTwoFiles) {
  folder_.write("model-a.safetensors", one_tensor("a", "x"));
  folder_.write("model-b.safetensors", one_tensor("a", "y"));
  expect_refused<ValidationError>("\"a\" twice");
}

TEST_F(CheckpointTest, MissingShardIsNamed) {
  folder_.write("one.safetensors", one_tensor("a", "x"));
  write_index(R"({"a":"one.safetensors","b":"two.safetensors"})");
  expect_refused<ValidationError>("two.safetensors: found no such file");
}

TEST_F(CheckpointTest, IndexAndShardsTellTheSameNames) {
  folder_.write("one.safetensors", one_tensor("a", "x"));
  write_index(R"({"a":"one.safetensors","b":"one.safetensors"})");
  expect_refused<ValidationError>("one.safetensors: found no tensor \"b\"");
  folder_.write("two.safetensors", one_tensor("b", "x"));
  write_index(R"({"a":"one.safetensors"})");
  EXPECT_EQ(names(), std::vector<std::string>{"a"});
  folder_.write("one.safetensors", one_tensor("c", "x"));
  write_index(R"({"b":"two.safetensors", "d":"one.safetensors"})");
  expect_refused<ValidationError>("\"d\"");
  folder_.write("one.safetensors",
                safetensors_bytes(R"({"d":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                                  R"("e":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
                                  "xy"));
  expect_refused<ValidationError>("no entry for tensor \"e\"");
}

TEST_F(CheckpointTest, IndexNamesOnlyFilesOfTheDirectory) {
  const TempDirectory elsewhere;
  elsewhere.write("secret.safetensors", one_tensor("a", "x"));
  fs::create_directory(folder_ / "sub");
  fs::copy_file(elsewhere / "secret.safetensors", folder_ / "sub" / "x.safetensors");
  const std::string outside = "../" + elsewhere.path().filename().string() + "/secret.safetensors";
  for (const std::string& name :
       {outside, (elsewhere / "secret.safetensors").string(), std::string("sub/x.safetensors"),
        std::string("./x.safetensors"), std::string(".."), std::string("."), std::string("")}) {
    write_index(R"({"a":")" + name + "\"}");
    expect_refused<ValidationError>("same directory");
  }
  fs::create_symlink(elsewhere / "secret.safetensors", folder_ / "link.safetensors");
  write_index(R"({"a":"link.safetensors"})");
  expect_refused<ValidationError>("link to");
}

TEST_F(CheckpointTest, LinksOfAHuggingFaceCacheAreFollowed) {
  const TempDirectory cache;
  fs::create_directories(cache / "snapshots" / "main");
  fs::create_directory(cache / "blobs");
  cache.write("blobs/0123", one_tensor("a", "x"));
  cache.write("snapshots/main/config.json", "{}");
  cache.write("snapshots/main/model.safetensors.index.json",
              R"({"weight_map":{"a":"model-00001-of-00001.safetensors"}})");
  fs::create_symlink("../../blobs/0123",
                     cache / "snapshots" / "main" / "model-00001-of-00001.safetensors");
  EXPECT_EQ(open_checkpoint(cache / "snapshots" / "main")->tensors().size(), 1u);
}

TEST_F(CheckpointTest, LinksThatLeadNowhere) {
  fs::create_symlink("loop.safetensors", folder_ / "loop.safetensors");
  write_index(R"({"a":"loop.safetensors"})");
  expect_refused<ValidationError>("loop.safetensors: found no such file");
  fs::remove(folder_ / "model.safetensors.index.json");
  fs::create_symlink("model.safetensors", folder_ / "model.safetensors");
  expect_refused<DependencyError>("model.safetensors");
  fs::remove(folder_ / "model.safetensors");
  fs::create_symlink("gone", folder_ / "model.safetensors");
  expect_refused<DependencyError>("No such file");
}

TEST_F(CheckpointTest, DamagedIndex) {
  folder_.write("one.safetensors", one_tensor("a", "x"));
  for (const std::string map : {"[]", "{}", "\"x\"", "null", R"({"a":1})", R"({"a":)"}) {
    write_index(map);
    expect_refused<ValidationError>("index.json");
  }
  write_index(R"({"a":"one.safetensors","a":"one.safetensors"})");
  expect_refused<ValidationError>("twice");
}

TEST_F(CheckpointTest, NothingToOpen) {
  expect_refused<FormatNotSupportedError>("no weights");
  folder_.write("model.safetensors", "");
  expect_refused<ValidationError>("truncated");
  folder_.write("model.safetensors", one_tensor("a", "x"));
  fs::remove(folder_ / "config.json");
  expect_refused<DependencyError>("config.json");
  folder_.write("config.json", "[]");
  expect_refused<ValidationError>("configuration");
  fs::remove(folder_ / "model.safetensors");
  fs::create_directory(folder_ / "model.safetensors");
  folder_.write("config.json", "{}");
  expect_refused<DependencyError>("directory");
  expect_error<DependencyError>([&] { open_checkpoint(folder_ / "gone"); }, "gone");
  expect_error<FormatNotSupportedError>([&] { open_checkpoint(folder_ / "config.json"); },
                                        "config.json");
}

}  // namespace
}  // namespace qwodel
