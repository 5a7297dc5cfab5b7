// What runtimes load and what they refuse, as rules that are checked before any work.
//
// Adding a rule: a row in target_rules.cc, with the place it was read in or run with. Rules of
// Apple's processors stand in device_rules.cc.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "codecs/group_int.h"
#include "plan/linear_plan.h"

namespace qwodel {

// "--for vllm:tp=2".
struct Runtime {
  std::string name;
  std::uint64_t parts = 1;  // tensor parallelism: into how many a linear is cut
};

// Throws Error (usage) for a runtime that no rule knows, or a tp that is no number from 1 to 1024.
Runtime parse_runtime(const std::string& text);

struct PackageFacts;

// The planned artifact as rules see it.
struct ArtifactFacts {
  std::string_view backend = {};          // "gguf", "awq", "gptq", "ct", "coreml"
  std::string model_type = {};            // of config.json
  std::string dtype = {};                 // of config.json: "bfloat16"
  bool act_order = false;                 // columns have groups by g_idx
  GroupIntScheme scheme = {};             // of most linears
  const LinearPlan* plan = nullptr;       // null for gguf and coreml
  const PackageFacts* package = nullptr;  // of coreml
};

struct Finding {
  bool refused = false;  // else it loads, but not as well as it could
  std::string where;     // "vllm, 14 linears such as model.layers.0.mlp.down_proj"
  std::string found;
  std::string expected;
  std::string remedy;
  std::string source;  // where the rule comes from
};

// What breaks a rule; one finding per rule.
std::vector<Finding> check_rules(const Runtime& runtime, const ArtifactFacts& facts);

// One sentence.
std::string to_text(const Finding& finding);

}  // namespace qwodel
