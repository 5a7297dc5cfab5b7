// Killed runs that are taken up again, through the program: the bytes are those of a run that
// nobody stopped.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cstring>

#include "io/json.h"
#include "tests/cli/program.h"
#include "tests/formats/temp_directory.h"
#include "tests/pipeline/tiny_llama.h"

extern char** environ;

namespace qwodel {
namespace {

namespace fs = std::filesystem;

class Resume : public testing::Test {
 protected:
  void SetUp() override {
    model().write(scratch_ / "model");
    fs::create_directory(scratch_ / "out");
  }

  // Large enough that a run can be killed in the middle.
  virtual TinyLlama model() const { return {.hidden = 512, .intermediate = 1024, .layers = 4}; }

  virtual std::vector<std::string> method() const {
    return {"--to", "ct:W4A16", "--method", "search"};
  }

  std::vector<std::string> words(const std::string& output) const {
    std::vector<std::string> all = {QWODEL_PROGRAM, "quantize", (scratch_ / "model").string()};
    for (const std::string& word : method()) all.push_back(word);
    all.insert(all.end(), {"--threads", "1", "-o", output});
    return all;
  }

  ProgramResult run(const std::string& output, const std::string& more = "") const {
    std::string text;
    const std::vector<std::string> all = words((scratch_ / output).string());
    for (std::size_t i = 1; i < all.size(); ++i) text += all[i] + " ";
    return run_program(scratch_, text + more);
  }

  // What a run that is to be killed wants besides to leave something.
  virtual std::vector<std::string> kept() const { return {}; }

  virtual fs::path journal() const { return scratch_ / "out/.a.partial/.qwodel-journal"; }
  virtual std::string artifact() const { return "a"; }

  std::size_t journal_lines() const {
    const std::string text = read_text(journal());
    return static_cast<std::size_t>(std::ranges::count(text, '\n'));
  }

  // Starts a run into out/ and kills it when a few linears are done.
  void kill_half_way() const {
    const fs::path output = scratch_ / "out" / artifact();
    std::vector<std::string> all = words(output.string());
    for (const std::string& word : kept()) all.push_back(word);
    std::vector<char*> arguments;
    for (std::string& word : all) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    pid_t child = 0;
    ASSERT_EQ(posix_spawn(&child, QWODEL_PROGRAM, nullptr, nullptr, arguments.data(), environ), 0);
    while (journal_lines() < 4 && waitpid(child, nullptr, WNOHANG) == 0) usleep(1000);
    kill(child, SIGKILL);
    int status = 0;
    waitpid(child, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status));
    ASSERT_FALSE(fs::exists(output));
    ASSERT_GE(journal_lines(), 4u);
  }

  void expect_same_files(const fs::path& a, const fs::path& b) const {
    std::size_t files = 0;
    for (const auto& entry : fs::directory_iterator(a)) {
      ++files;
      EXPECT_EQ(read_text(entry.path()), read_text(b / entry.path().filename())) << entry.path();
    }
    EXPECT_GT(files, 2u);
    EXPECT_EQ(std::distance(fs::directory_iterator(b), {}), static_cast<std::ptrdiff_t>(files));
  }

  TempDirectory temporary_;
  fs::path scratch_ = temporary_.path();
};

TEST_F(Resume, GivesTheBytesOfARunThatWasNotStopped) {
  ASSERT_EQ(run("whole").status, 0);
  kill_half_way();
  // What the journal says of a linear is reported: so it was not done again.
  std::string text = read_text(journal());
  const std::size_t at = text.find("\"search\"");
  ASSERT_NE(at, std::string::npos);
  std::ofstream(journal(), std::ios::binary) << text.replace(at, 8, "\"before\"");
  const ProgramResult resumed = run("out/a", "--resume --json");
  ASSERT_EQ(resumed.status, 0) << resumed.err;
  EXPECT_EQ(std::distance(fs::directory_iterator(scratch_ / "out"), {}), 1);
  expect_same_files(scratch_ / "whole", scratch_ / "out/a");
  const Json report = parse_json(resumed.out, "report");
  std::size_t before = 0;
  for (const Json& row : report["artifacts"][0]["tensors"]) before += row["method"] == "before";
  EXPECT_EQ(before, 1u);
}

TEST_F(Resume, DoesAgainWhatTheDiskLost) {
  ASSERT_EQ(run("whole").status, 0);
  kill_half_way();
  const fs::path shard = scratch_ / "out/.a.partial/model.safetensors";
  std::string bytes = read_text(shard);
  // Everything but the header: all that the journal promises.
  std::uint64_t header = 0;
  std::memcpy(&header, bytes.data(), sizeof header);
  std::fill(bytes.begin() + static_cast<std::ptrdiff_t>(header + 8), bytes.end(), '\0');
  std::ofstream(shard, std::ios::binary) << bytes;
  std::ofstream(journal(), std::ios::binary | std::ios::app) << "{\"module\": \"model.la";
  ASSERT_EQ(run("out/a", "--resume").status, 0);
  expect_same_files(scratch_ / "whole", scratch_ / "out/a");
}

TEST_F(Resume, StartsOverWhenNotAsked) {
  ASSERT_EQ(run("whole").status, 0);
  kill_half_way();
  ASSERT_EQ(run("out/a").status, 0);
  EXPECT_EQ(std::distance(fs::directory_iterator(scratch_ / "out"), {}), 1);
  expect_same_files(scratch_ / "whole", scratch_ / "out/a");
}

TEST_F(Resume, RefusesTheWorkOfAnotherRun) {
  kill_half_way();
  const ProgramResult other = run("out/a", "--resume --max-shard-size 1M");
  EXPECT_EQ(other.status, 1);
  EXPECT_THAT(other.last_error_line(), testing::HasSubstr("another run"));
  EXPECT_FALSE(fs::exists(scratch_ / "out/a"));
  EXPECT_GE(journal_lines(), 4u);  // it is still there
}

TEST_F(Resume, NoRoomForOneShardLeavesNothing) {
  // A limit on file sizes fails like a full disk. All shards fit but that of the embedding, which
  // is a megabyte; room is taken for all of them before any work.
  const ProgramResult full =
      run_program(scratch_,
                  "quantize " + (scratch_ / "model").string() + " --to ct:W4A16 --method rtn -o " +
                      (scratch_ / "out/a").string() + " --max-shard-size 500000",
                  "ulimit -f 1000;");
  EXPECT_EQ(full.status, 4) << full.err;
  EXPECT_TRUE(fs::is_empty(scratch_ / "out"));
}

class ResumeGguf : public Resume {
 protected:
  TinyLlama model() const override { return {}; }
  fs::path journal() const override {
    return scratch_ / "out/.a.gguf.blocks.partial/.qwodel-journal";
  }
  std::string artifact() const override { return "a.gguf"; }
  std::vector<std::string> method() const override {
    return {"--to", "gguf:Q4_K_S", "--method", "awq+gptq", "--samples", "6", "--seq-len", "64"};
  }
};

TEST_F(ResumeGguf, GivesTheBytesOfARunThatWasNotStopped) {
  ASSERT_EQ(run("whole.gguf").status, 0);
  kill_half_way();
  const ProgramResult resumed = run("out/a.gguf", "--resume");
  ASSERT_EQ(resumed.status, 0) << resumed.err;
  EXPECT_EQ(std::distance(fs::directory_iterator(scratch_ / "out"), {}), 1);
  EXPECT_EQ(read_text(scratch_ / "whole.gguf"), read_text(scratch_ / "out/a.gguf"));
}

// Blocks that the journal vouches for go into the artifact as they are: so they were not made
// again.
TEST_F(ResumeGguf, TakesUpWhatWasEncoded) {
  ASSERT_EQ(run("whole.gguf").status, 0);
  kill_half_way();
  const fs::path blocks = journal().parent_path() / "blocks";
  std::string bytes = read_text(blocks);
  constexpr std::size_t kFirst = 256 * 256 / 256 * 144;  // of the first tensor, in Q4_K
  const auto hash = [&] { return std::to_string(XXH3_64bits_withSeed(bytes.data(), kFirst, 0)); };
  const std::string before = hash();
  bytes[kFirst - 1] = static_cast<char>(bytes[kFirst - 1] ^ 1);
  std::string text = read_text(journal());
  const std::size_t at = text.find(before);
  ASSERT_NE(at, std::string::npos);
  text.replace(at, before.size(), hash());
  std::ofstream(journal(), std::ios::binary) << text;
  std::ofstream(blocks, std::ios::binary) << bytes;
  ASSERT_EQ(run("out/a.gguf", "--resume").status, 0);
  EXPECT_NE(read_text(scratch_ / "whole.gguf"), read_text(scratch_ / "out/a.gguf"));
}

TEST_F(ResumeGguf, RefusesTheWorkOfAnotherRun) {
  kill_half_way();
  const ProgramResult other = run("out/a.gguf", "--resume --mismatch-strength 0.25");
  EXPECT_EQ(other.status, 1);
  EXPECT_THAT(other.last_error_line(), testing::HasSubstr("another run"));
  EXPECT_FALSE(fs::exists(scratch_ / "out/a.gguf"));
  EXPECT_GE(journal_lines(), 4u);
}

// A searched .gguf, small enough that only a run with --resume leaves something.
class ResumeSearched : public Resume {
 protected:
  fs::path journal() const override { return scratch_ / "out/.a.gguf.journal"; }
  std::string artifact() const override { return "a.gguf"; }
  std::vector<std::string> kept() const override { return {"--resume"}; }
  std::vector<std::string> method() const override { return {"--to", "gguf:Q2_K"}; }

  std::size_t files() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(scratch_ / "out"), {}));
  }
};

TEST_F(ResumeSearched, GivesTheBytesOfARunThatWasNotStopped) {
  ASSERT_EQ(run("whole.gguf").status, 0);
  kill_half_way();
  // What the journal says of a tensor is reported: so it was not encoded again.
  std::string text = read_text(journal());
  const std::size_t at = text.find("\"error\":");
  ASSERT_NE(at, std::string::npos);
  text.replace(at, text.find(',', at) - at, "\"error\":1e300");
  std::ofstream(journal(), std::ios::binary) << text;
  const ProgramResult resumed = run("out/a.gguf", "--resume --json");
  ASSERT_EQ(resumed.status, 0) << resumed.err;
  EXPECT_EQ(files(), 1u);
  EXPECT_EQ(read_text(scratch_ / "whole.gguf"), read_text(scratch_ / "out/a.gguf"));
  const Json report = parse_json(resumed.out, "report");
  std::size_t before = 0;
  for (const Json& row : report["artifacts"][0]["tensors"]) before += row["nmse"] > 1e100;
  EXPECT_EQ(before, 1u);
}

TEST_F(ResumeSearched, DoesAgainWhatTheDiskLost) {
  ASSERT_EQ(run("whole.gguf").status, 0);
  kill_half_way();
  const fs::path partial = scratch_ / "out/.a.gguf.partial";
  fs::resize_file(partial, 0);
  fs::resize_file(partial, fs::file_size(scratch_ / "whole.gguf"));
  ASSERT_EQ(run("out/a.gguf", "--resume").status, 0);
  EXPECT_EQ(files(), 1u);
  EXPECT_EQ(read_text(scratch_ / "whole.gguf"), read_text(scratch_ / "out/a.gguf"));
}

TEST_F(ResumeSearched, StartsOverWhenNotAsked) {
  ASSERT_EQ(run("whole.gguf").status, 0);
  kill_half_way();
  EXPECT_EQ(files(), 2u);
  ASSERT_EQ(run("out/a.gguf").status, 0);
  EXPECT_EQ(files(), 1u);
  EXPECT_EQ(read_text(scratch_ / "whole.gguf"), read_text(scratch_ / "out/a.gguf"));
}

TEST_F(ResumeSearched, RefusesTheWorkOfAnotherRun) {
  kill_half_way();
  const ProgramResult other = run("out/a.gguf", "--resume --pure");
  EXPECT_EQ(other.status, 1);
  EXPECT_THAT(other.last_error_line(), testing::HasSubstr("another run"));
  EXPECT_EQ(files(), 2u);
  EXPECT_GE(journal_lines(), 4u);
}

}  // namespace
}  // namespace qwodel
