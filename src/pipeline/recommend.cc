#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "formats/tensor_info.h"
#include "models/quantization_traits.h"
#include "pipeline/source_model.h"
#include "plan/tensor_plan.h"
#include "qwodel/formats.h"

namespace qwodel {
namespace {

// GGUF types a person would choose, best quality first; none needs an importance matrix.
constexpr std::array kCandidates = {FileType::q8_0,   FileType::q6_k,   FileType::q5_k_m,
                                    FileType::q4_k_m, FileType::iq4_xs, FileType::q3_k_m,
                                    FileType::q2_k};
constexpr double kWorkingSpace = 1.05;  // activations, tables, runtime
constexpr std::uint64_t kRuntimeBytes = std::uint64_t{256} << 20;
constexpr std::uint64_t kCacheValueBytes = 2;  // F16 keys and values

struct Size {
  std::uint64_t weights = 0;
  std::uint64_t memory = 0;
};

// Bytes of the key/value cache at a context length, from the metadata.
std::uint64_t cache_bytes(const GgufMetadata& metadata, std::uint64_t context) {
  const std::string architecture = metadata.find_string("general.architecture").value_or("");
  const auto number = [&](const char* key, std::uint64_t otherwise) {
    return metadata.find_unsigned(architecture + key).value_or(otherwise);
  };
  const std::uint64_t heads = std::max<std::uint64_t>(number(".attention.head_count", 1), 1);
  const std::uint64_t kv_heads = number(".attention.head_count_kv", heads);
  const std::uint64_t head_size =
      number(".attention.key_length", number(".embedding_length", 0) / heads);
  return 2 * number(".block_count", 0) * context * kv_heads * head_size * kCacheValueBytes;
}

Size with_cache(std::uint64_t weights, std::uint64_t cache) {
  return {weights, static_cast<std::uint64_t>(static_cast<double>(weights) * kWorkingSpace) +
                       cache + kRuntimeBytes};
}

class Guide {
 public:
  explicit Guide(const RecommendOptions& options)
      : options_(options),
        model_(options.model, {}),
        cache_(cache_bytes(model_.spec.metadata, options.context)) {}

  Recommendation gguf() const {
    FileType chosen = FileType::q4_k_m;
    if (options_.memory > 0) {
      const auto fitting = std::find_if(kCandidates.begin(), kCandidates.end(), [&](FileType type) {
        return size_as(type).memory <= options_.memory;
      });
      chosen = fitting == kCandidates.end() ? kCandidates.back() : *fitting;
    }
    const Size size = size_as(chosen);
    Recommendation result = base(size, fmt::format("gguf:{}", info(chosen).name), true);
    result.reason = fmt::format(
        "GGUF is what llama.cpp, Ollama and LM Studio run on a CPU, without calibration. {}",
        options_.memory == 0 ? "Q4_K_M keeps nearly all quality at under a third of 16-bit size."
        : result.fits        ? fmt::format("{} is the best quality that fits the memory with the "
                                                  "cache for {} tokens.",
                                           info(chosen).name, options_.context)
                             : "Even the smallest usual type does not fit: take a smaller model or "
                               "a shorter context.");
    result.command =
        fmt::format("qwodel quantize {} --to {} -o {}-{}.gguf", options_.model.string(),
                    result.target, model_name(), info(chosen).name);
    return result;
  }

  Recommendation four_bit(const std::string& target, double bits, const std::string& reason,
                          const std::string& output, bool available) const {
    std::uint64_t weights = 0;
    for (const ModelTensor& tensor : model_.spec.tensors) {
      const double per_weight = tensor.keep_f32 || tensor.shape.size() < 2 ? 16.0 : bits;
      weights += static_cast<std::uint64_t>(static_cast<double>(element_count(tensor.shape)) *
                                            per_weight / 8.0);
    }
    Recommendation result = base(with_cache(weights, cache_), target, available);
    result.reason = reason;
    result.command = fmt::format("qwodel quantize {} --to {} -o {}", options_.model.string(),
                                 target, model_name() + output);
    return result;
  }

 private:
  Size size_as(FileType type) const {
    const auto inputs = model_.plan_inputs(TensorType::f16);
    std::vector<std::string> names;
    for (const PlanInput& input : inputs) names.push_back(input.name);
    PlanOptions plan;
    plan.file_type = type;
    const auto traits = quantization_traits(model_.spec.metadata, names);
    return with_cache(plan_tensors(inputs, traits, plan, nullptr, true).data_bytes, cache_);
  }

  Recommendation base(const Size& size, std::string target, bool available) const {
    Recommendation result;
    result.target = std::move(target);
    result.weight_bytes = size.weights;
    result.memory_bytes = size.memory;
    result.fits = options_.memory == 0 || size.memory <= options_.memory;
    result.available = available;
    return result;
  }

  std::string model_name() const {
    const auto path = options_.model.lexically_normal();
    return path.has_filename() ? path.stem().string() : path.parent_path().filename().string();
  }

  RecommendOptions options_;
  SourceModel model_;
  std::uint64_t cache_;
};

constexpr std::string_view kNotBuilt = " This version of Qwodel cannot write it yet.";

}  // namespace

Recommendation recommend(const RecommendOptions& options) {
  constexpr double kFourBitGroup128 = 4.25;
  constexpr double kPalette4 = 4.1;
  if (options.device == "cpu") return Guide(options).gguf();
  if (options.device == "nvidia") {
    return Guide(options).four_bit(
        "awq", kFourBitGroup128,
        "AWQ (or GPTQ) in 4 bits is what vLLM, SGLang and LMDeploy serve fastest on NVIDIA cards. "
        "It is calibrated on a little text; --calibration with text of the model's use is better "
        "than the text that comes with Qwodel.",
        "-AWQ", true);
  }
  if (options.device == "iphone" || options.device == "mac") {
    return Guide(options).four_bit(
        "coreml:int4", kPalette4,
        fmt::format("Core ML runs on the Neural Engine, and a 4-bit palette keeps the app small. "
                    "Until Qwodel writes it, llama.cpp with gguf:Q4_K_M runs there too.{}",
                    kNotBuilt),
        "-int4.mlpackage", false);
  }
  throw Error(ErrorCode::usage, {.where = "--device",
                                 .found = options.device,
                                 .expected = "cpu, nvidia, iphone or mac",
                                 .remedy = ""});
}

}  // namespace qwodel
