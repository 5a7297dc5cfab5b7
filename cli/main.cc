// The program: a table of verbs, one place where an error becomes a message and an exit status.
#include <fmt/format.h>

#include <csignal>
#include <cstdio>
#include <new>
#include <vector>

#include "cli/output.h"
#include "cli/verb.h"

namespace qwodel::cli {
namespace {

constexpr Verb kVerbs[] = {
    add_quantize, add_plan,      add_inspect,      add_verify,        add_diff,
    add_tokenize, add_logits,    add_generate,     add_eval,          add_calibrate,
    add_imatrix,  add_recommend, add_list_formats, add_list_backends, add_check,
};

Common common;

void on_interrupt(int) { common.cancel.cancel(); }

int report_error(ErrorCode code, const std::string& message, const std::string& remedy) {
  fmt::print(stderr, "qwodel: {}\n", message);
  if (common.json) {
    print_json(
        {{"error", {{"code", static_cast<int>(code)}, {"message", message}, {"remedy", remedy}}}});
  }
  return static_cast<int>(code);
}

// CLI11 would exit with codes of its own and say errors in two lines.
int report_parse_error(const CLI::App& app, const CLI::ParseError& error) {
  if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
  return report_error(ErrorCode::usage, error.what(), "see qwodel --help");
}

int run(int argc, char** argv) {
  CLI::App app(
      "Qwodel: a quantizing compiler for language models.\n\nExample: qwodel quantize "
      "SmolLM2-135M --to gguf:Q4_K_M -o SmolLM2-135M-Q4_K_M.gguf");
  app.require_subcommand(1);
  app.set_version_flag("--version", "qwodel " + check().version);
  std::vector<std::function<int()>> actions;
  for (const Verb verb : kVerbs) actions.push_back(verb(app, common));
  // Known before parsing, so that a wrong option is told as JSON too.
  for (int i = 1; i < argc; ++i) common.json = common.json || std::string_view(argv[i]) == "--json";
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return report_parse_error(app, error);
  }
  const auto verbs = app.get_subcommands({});
  for (std::size_t i = 0; i < verbs.size(); ++i) {
    if (verbs[i]->parsed()) return actions[i]();
  }
  return static_cast<int>(ErrorCode::usage);
}

int guarded_run(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const Error& error) {
    return report_error(error.code(), error.what(), error.remedy());
  } catch (const std::bad_alloc&) {
    return report_error(ErrorCode::not_enough_space, "memory: found none left",
                        "close other programs or use fewer --threads");
  } catch (const std::exception& error) {
    return report_error(ErrorCode::failed, error.what(), "");
  }
}

}  // namespace

CLI::App* add_verb(CLI::App& app, Common& shared, const std::string& name,
                   const std::string& summary, const std::string& example) {
  CLI::App* verb = app.add_subcommand(name, summary + "\n\nExample: " + example);
  verb->add_flag("--json", shared.json, "print one JSON document");
  verb->add_flag("-v,--verbose", shared.verbose, "say more");
  return verb;
}

void add_max_memory(CLI::App& verb, std::uint64_t& bytes) {
  verb.add_option_function<std::string>(
      "--max-memory",
      [&bytes](const std::string& text) { bytes = parse_size("--max-memory", text); },
      "memory for buffers, such as 4G");
}

}  // namespace qwodel::cli

int main(int argc, char** argv) {
  struct sigaction action{};
  action.sa_handler = qwodel::cli::on_interrupt;
  action.sa_flags = static_cast<int>(SA_RESETHAND);  // a second Ctrl-C ends the program at once
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  std::signal(SIGXFSZ,
              SIG_IGN);  // a file size limit is then an error of the write, like a full disk
  return qwodel::cli::guarded_run(argc, argv);
}
