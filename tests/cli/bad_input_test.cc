// Damaged input and hostile surroundings, through the program: one clear line, the right status,
// and nothing at the output path. (Each rule of each parser has its own test beside the parser.)
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <unistd.h>

#include <cmath>
#include <functional>

#include "io/json.h"
#include "tests/cli/program.h"
#include "tests/formats/temp_directory.h"
#include "tests/pipeline/tiny_llama.h"

extern char** environ;

namespace qwodel {
namespace {

namespace fs = std::filesystem;

struct Damage {
  std::string name;
  std::function<void(const fs::path& model)> apply;
  std::string said;  // part of the message
};

void rewrite_header(const fs::path& model, const std::function<void(Json&)>& edit) {
  const std::string bytes = read_text(model / "model.safetensors");
  std::uint64_t size = 0;
  std::memcpy(&size, bytes.data(), sizeof(size));
  Json header = parse_json(std::string_view(bytes).substr(8, size), "header");
  edit(header);
  std::ofstream(model / "model.safetensors", std::ios::binary)
      << safetensors_bytes(header.dump(), std::string_view(bytes).substr(8 + size));
}

void cut(const fs::path& file, std::size_t size) {
  const std::string bytes = read_text(file);
  std::ofstream(file, std::ios::binary) << bytes.substr(0, size);
}

void set_value(const fs::path& model, float value) {
  TinyLlama tiny;
  tiny.edit = [value](const std::string& name, std::vector<float>& values) {
    if (name == "model.layers.0.self_attn.o_proj.weight") values[5] = value;
  };
  tiny.write(model);
}

const std::vector<Damage>& damages() {
  static const std::vector<Damage> all = {
      {"truncated", [](const fs::path& m) { cut(m / "model.safetensors", 100000); },
       "model.safetensors"},
      {"empty", [](const fs::path& m) { cut(m / "model.safetensors", 0); }, "model.safetensors"},
      {"overlapping",
       [](const fs::path& m) {
         rewrite_header(m, [](Json& h) {
           h["model.norm.weight"]["data_offsets"] =
               h["model.layers.0.input_layernorm.weight"]["data_offsets"];
         });
       },
       "model.safetensors"},
      {"out_of_range",
       [](const fs::path& m) {
         rewrite_header(m, [](Json& h) { h["model.norm.weight"]["data_offsets"] = {0, 1u << 30}; });
       },
       "model.norm.weight"},
      {"wrong_shape",
       [](const fs::path& m) {
         rewrite_header(m, [](Json& h) {
           h["model.norm.weight"]["shape"] = {std::uint64_t{1} << 40, std::uint64_t{1} << 40};
         });
       },
       "model.norm.weight"},
      {"unknown_dtype",
       [](const fs::path& m) {
         rewrite_header(m, [](Json& h) { h["model.norm.weight"]["dtype"] = "F7"; });
       },
       "F7"},
      {"duplicate_key",
       [](const fs::path& m) { std::ofstream(m / "config.json") << R"({"a":1,"a":2})"; }, "twice"},
      {"path_traversal",
       [](const fs::path& m) {
         fs::rename(m / "model.safetensors", m.parent_path() / "x.safetensors");
         std::ofstream(m / "model.safetensors.index.json")
             << R"({"weight_map":{"model.norm.weight":"../x.safetensors"}})";
       },
       "../x.safetensors"},
      {"missing_shard",
       [](const fs::path& m) {
         fs::remove(m / "model.safetensors");
         std::ofstream(m / "model.safetensors.index.json")
             << R"({"weight_map":{"model.norm.weight":"model-00001-of-00002.safetensors"}})";
       },
       "model-00001-of-00002.safetensors"},
      {"nan", [](const fs::path& m) { set_value(m, NAN); }, "blk.0.attn_output.weight"},
      {"infinity", [](const fs::path& m) { set_value(m, INFINITY); }, "blk.0.attn_output.weight"},
      {"half_overflow", [](const fs::path& m) { set_value(m, 1e6f); }, "bf16"},
      {"missing_tensor",
       [](const fs::path& m) {
         Json config = read_json(m / "config.json");
         config["num_hidden_layers"] = 3;
         std::ofstream(m / "config.json") << config.dump();
       },
       "layers.2"},
      {"extra_tensor",
       [](const fs::path& m) {
         Json config = read_json(m / "config.json");
         config["num_hidden_layers"] = 1;
         std::ofstream(m / "config.json") << config.dump();
       },
       "layers.1"},
      {"no_config", [](const fs::path& m) { fs::remove(m / "config.json"); }, "config.json"},
      {"no_tokenizer", [](const fs::path& m) { fs::remove(m / "tokenizer.model"); }, "tokenizer"},
      {"broken_tokenizer", [](const fs::path& m) { cut(m / "tokenizer.model", 1000); },
       "tokenizer.model"},
  };
  return all;
}

class BadInput : public testing::TestWithParam<Damage> {};

TEST_P(BadInput, FailsWithOneLineAndLeavesNothing) {
  const TempDirectory scratch;
  TinyLlama().write(scratch / "model");
  GetParam().apply(scratch / "model");
  fs::create_directory(scratch / "out");
  const std::string out = (scratch / "out/model.gguf").string();
  const ProgramResult result = run_program(
      scratch.path(), "quantize " + (scratch / "model").string() + " --to gguf:Q4_0 -o " + out);
  EXPECT_TRUE(result.status == 1 || result.status == 3) << result.status << " " << result.err;
  EXPECT_EQ(result.last_error_line().substr(0, 8), "qwodel: ") << result.err;
  EXPECT_THAT(result.last_error_line(), testing::HasSubstr(GetParam().said));
  EXPECT_TRUE(fs::is_empty(scratch / "out"));
}

INSTANTIATE_TEST_SUITE_P(Damages, BadInput, testing::ValuesIn(damages()),
                         [](const auto& suite) { return suite.param.name; });

class BadPlace : public testing::Test {
 protected:
  void SetUp() override {
    TinyLlama().write(scratch_ / "model");
    fs::create_directory(scratch_ / "out");
  }
  std::string quantize_to(const std::string& out) const {
    return "quantize " + (scratch_ / "model").string() + " --to gguf:Q8_0 -o " + out;
  }
  TempDirectory scratch_;
};

TEST_F(BadPlace, FullDisk) {
  // A limit on file sizes fails like a full disk, at the same calls.
  const auto result = run_program(scratch_.path(), quantize_to((scratch_ / "out/a.gguf").string()),
                                  "ulimit -f 64;");
  EXPECT_EQ(result.status, 4) << result.err;
  EXPECT_THAT(result.last_error_line(), testing::HasSubstr("a.gguf"));
  EXPECT_TRUE(fs::is_empty(scratch_ / "out"));
}

TEST_F(BadPlace, PlaceThatCannotBeWritten) {
  // Tests may run as root, whom permissions do not stop; /proc stops everybody.
  for (const char* out : {"/proc/a.gguf", "/proc/none/a.gguf"}) {
    const auto result = run_program(scratch_.path(), quantize_to(out));
    EXPECT_EQ(result.status, 1) << result.err;
    EXPECT_THAT(result.last_error_line(), testing::StartsWith("qwodel: /proc"));
  }
}

TEST_F(BadPlace, ExistingOutput) {
  const std::string out = (scratch_ / "out/a.gguf").string();
  std::ofstream(out) << "mine";
  EXPECT_EQ(run_program(scratch_.path(), quantize_to(out)).status, 1);
  EXPECT_EQ(read_text(out), "mine");
  EXPECT_EQ(run_program(scratch_.path(), quantize_to(out) + " --force").status, 0);
  EXPECT_EQ(read_text(out).substr(0, 4), "GGUF");
}

// Whether a process has a file of this folder open, with or without a name.
bool holds_file_of(pid_t process, const fs::path& folder) {
  std::error_code gone;
  for (const auto& entry : fs::directory_iterator(fmt::format("/proc/{}/fd", process), gone)) {
    const std::string target = fs::read_symlink(entry.path(), gone).string();
    if (target.starts_with(folder.string() + "/")) return true;
  }
  return false;
}

// Whether files without a name can be made there (not on every file system).
bool offers_nameless_files(const fs::path& folder) {
  const int file = ::open(folder.c_str(), O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
  if (file >= 0) ::close(file);
  return file >= 0;
}

// Starts the program on a model that takes a while and sends a signal as soon as it writes.
int signal_while_writing(const fs::path& model, const fs::path& folder, int number) {
  const std::string out = (folder / "big.gguf").string();
  const std::string model_text = model.string();
  std::vector<std::string> words = {QWODEL_PROGRAM, "quantize", model_text,  "--to", "gguf:IQ4_XS",
                                    "-o",           out,        "--threads", "1"};
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  pid_t child = 0;
  if (posix_spawn(&child, QWODEL_PROGRAM, nullptr, nullptr, arguments.data(), environ) != 0)
    return -1;
  while (!holds_file_of(child, folder) && waitpid(child, nullptr, WNOHANG) == 0) usleep(1000);
  kill(child, number);
  int status = 0;
  waitpid(child, &status, 0);
  return status;
}

TEST_F(BadPlace, KilledAndInterruptedHalfWay) {
  TinyLlama big;
  big.hidden = 1024;
  big.intermediate = 2048;
  big.layers = 6;
  big.write(scratch_ / "big");
  const int interrupted = signal_while_writing(scratch_ / "big", scratch_ / "out", SIGINT);
  ASSERT_TRUE(WIFEXITED(interrupted));
  EXPECT_EQ(WEXITSTATUS(interrupted), 130);
  EXPECT_TRUE(fs::is_empty(scratch_ / "out"));
  const int killed = signal_while_writing(scratch_ / "big", scratch_ / "out", SIGKILL);
  ASSERT_TRUE(WIFSIGNALED(killed));
  EXPECT_FALSE(fs::exists(scratch_ / "out/big.gguf"));
  if (offers_nameless_files(scratch_ / "out")) {
    EXPECT_TRUE(fs::is_empty(scratch_ / "out"));
  }
}

}  // namespace
}  // namespace qwodel
