// A verb of the command line: how it registers its options and what it does.
//
// Adding one: a file with its Verb, a declaration and a row in main.cc.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "qwodel/qwodel.h"

namespace qwodel::cli {

// Options every verb has, and what they share while running.
struct Common {
  bool json = false;
  bool verbose = false;
  CancelToken cancel;
};

// Registers a subcommand on `app`; the returned function runs it and returns the exit status.
using Verb = std::function<int()> (*)(CLI::App& app, Common& common);

std::function<int()> add_quantize(CLI::App& app, Common& common);
std::function<int()> add_plan(CLI::App& app, Common& common);
std::function<int()> add_inspect(CLI::App& app, Common& common);
std::function<int()> add_verify(CLI::App& app, Common& common);
std::function<int()> add_diff(CLI::App& app, Common& common);
std::function<int()> add_tokenize(CLI::App& app, Common& common);
std::function<int()> add_recommend(CLI::App& app, Common& common);
std::function<int()> add_list_formats(CLI::App& app, Common& common);
std::function<int()> add_list_backends(CLI::App& app, Common& common);
std::function<int()> add_check(CLI::App& app, Common& common);
std::function<int()> add_logits(CLI::App& app, Common& common);
std::function<int()> add_generate(CLI::App& app, Common& common);
std::function<int()> add_eval(CLI::App& app, Common& common);
std::function<int()> add_calibrate(CLI::App& app, Common& common);
std::function<int()> add_imatrix(CLI::App& app, Common& common);

// Adds a subcommand with the options that all verbs share; `example` comes first in its help.
CLI::App* add_verb(CLI::App& app, Common& common, const std::string& name,
                   const std::string& summary, const std::string& example);

// Adds --max-memory, of verbs that run the model.
void add_max_memory(CLI::App& verb, std::uint64_t& bytes);

}  // namespace qwodel::cli
