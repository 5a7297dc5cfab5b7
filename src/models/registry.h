// The model families: one row per Hugging Face class, one file per family.
//
// How to add a class. If it is another name for a model that is here, add a row to the family's
// list with the same tables. Otherwise, in a new file family.cc:
//  1. a table of TensorRules, from the checkpoint's names to GGUF's;
//  2. a metadata function that writes ARCH.* in the converter's order (metadata.h has the common
//     part), and VocabularyKinds in the order to try them;
//  3. the ConfigDefaults of its configuration class (`AutoConfig.for_model(TYPE).to_dict()`: only
//     keys that the metadata function or graph_hints() reads);
//  4. rows in a `constexpr ModelClass kRows[]`, and a function returning them, listed in
//     registry.cc;
//  5. a golden directory under tests/golden/models (tools/golden/make_model_goldens.py);
//  6. if its GGUF architecture has no graph yet: a row of traits in graph_traits.cc and cases in
//     tools/golden/make_logit_goldens.py.
// A reordering that transforms.h does not have is a function of the family's own: a Transform emits
// any number of tensors. Nothing outside models/ learns about the new class.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "formats/gguf_value.h"
#include "models/config.h"
#include "models/model_spec.h"
#include "tokenizer/vocabulary.h"

namespace qwodel {

struct ModelClass;

// What rules and hooks may look at.
struct ModelContext {
  const ModelClass& row;
  const LoadedConfig& config;
  const ModelOptions& options;
  const std::filesystem::path& directory;
  std::span<const SourceTensor> tensors;
  std::uint64_t layers = 0;  // num_hidden_layers; not proven by tensors until all rules have run
};

struct TensorRule;

// A checkpoint tensor that matched a rule.
struct RuleMatch {
  const TensorRule& rule;
  const SourceTensor& tensor;
  std::uint32_t source = 0;  // index into ModelSpec::sources
  std::uint64_t layer = 0;   // {L}
  std::uint64_t index = 0;   // {E}
  std::string name;          // the rule's GGUF name with layer and suffix in place
};

// Emits the GGUF tensors made of one checkpoint tensor. Shapes are the checkpoint's: check them.
using Transform = void (*)(const ModelContext&, const RuleMatch&, std::vector<ModelTensor>&);

// Checkpoint tensors numbered {E} that become one GGUF tensor with a new outermost axis; the value
// says where config.json has their number.
enum class Stack : std::uint8_t { none, experts, heads, kv_heads };

enum class Need : std::uint8_t {
  required,  // some rule must have made the GGUF tensor, in every layer if the name has {L}
  optional,
};

void copy_tensor(const ModelContext&, const RuleMatch&, std::vector<ModelTensor>&);

// Maps checkpoint names to GGUF names; {L} is the layer, {E} the number in a stack. Without
// ".weight" or ".bias" at the end of `gguf` the rule names a module: ".weight" and ".bias" of `hf`
// keep their suffix (a bias is always optional). With it, `hf` is the whole name. All rules of a
// table with the same Stack are emitted together, in table order, when a layer's last piece is
// read.
struct TensorRule {
  std::string_view hf;
  std::string_view gguf;
  Transform transform = copy_tensor;
  Need need = Need::required;
  Stack stack = Stack::none;
};

class MetadataWriter;

struct ModelClass {
  std::string_view name;          // "LlamaForCausalLM"
  std::string_view architecture;  // GGUF's: "llama"
  std::span<const TensorRule> tensors;
  void (*metadata)(const ModelContext&, MetadataWriter&);
  std::span<const VocabularyKind> vocabulary;
  std::span<const ConfigDefaults> defaults = {};  // of the model types this class comes with
  AddedTokenRule added_tokens = AddedTokenRule::by_look;

  // Checkpoint names: what is cut out wherever it occurs, what is cut off at the start if it is
  // there, whole names that are not wanted.
  std::span<const std::string_view> strip = {};
  std::string_view prefix = "model.";
  std::span<const std::string_view> dropped = {};
  // More that is not wanted (name after cutting), or nullptr.
  bool (*drop)(const ModelContext&, std::string_view name) = nullptr;

  // Throws ValidationError when the checkpoint lacks what `need` cannot say: tensors of some layers
  // only. Or nullptr.
  void (*check)(const ModelContext&) = nullptr;

  // Tensors without a source, written first; keys around the vocabulary. Or nullptr.
  void (*generate)(const ModelContext&, std::vector<ModelTensor>&) = nullptr;
  void (*early_metadata)(const ModelContext&, MetadataWriter&) = nullptr;  // before general.type
  void (*before_vocabulary)(const ModelContext&, MetadataWriter&) = nullptr;
  void (*after_vocabulary)(const ModelContext&, VocabularyKind, MetadataWriter&) = nullptr;
};

// All rows of all families.
std::vector<const ModelClass*> model_classes();

const ModelClass* find_model_class(std::string_view name);

// The known class whose name takes the fewest edits, for messages.
std::string_view nearest_model_class(std::string_view name);

// The first class of a GGUF architecture: what `--arch-as llama` means. Or nullptr.
const ModelClass* find_architecture(std::string_view architecture);

// Defaults by model_type, whatever the class; nullptr when none is known.
const ConfigDefaults* find_config_defaults(std::string_view model_type);

}  // namespace qwodel
