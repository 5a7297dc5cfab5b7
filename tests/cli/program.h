// Runs the program as a user does and looks at what comes back.
#pragma once

#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

namespace qwodel {

struct ProgramResult {
  int status = -1;  // exit code
  std::string out;
  std::string err;

  // The last line of stderr: where an error stands after progress lines.
  std::string last_error_line() const {
    const std::size_t end = err.find_last_not_of('\n');
    if (end == std::string::npos) return "";
    const std::size_t start = err.rfind('\n', end);
    return err.substr(start == std::string::npos ? 0 : start + 1,
                      end - (start == std::string::npos ? 0 : start));
  }
};

inline std::string read_text(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

// `arguments` is a shell's text after the program's name; `before` comes before it ("ulimit -f
// 8;").
inline ProgramResult run_program(const std::filesystem::path& scratch, const std::string& arguments,
                                 const std::string& before = "") {
  const auto out = scratch / "stdout.txt";
  const auto err = scratch / "stderr.txt";
  const std::string command = before + " " QWODEL_PROGRAM " " + arguments + " >" + out.string() +
                              " 2>" + err.string() + " </dev/null";
  const int status = std::system(command.c_str());  // NOLINT: a test of ours, not input
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), read_text(out),
          read_text(err)};
}

}  // namespace qwodel
