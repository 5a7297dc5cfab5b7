// The rows of the families that share nothing but the registry; Llama has llama.h.
#pragma once

#include <span>

#include "models/registry.h"

namespace qwodel {

std::span<const ModelClass> bert_classes();
std::span<const ModelClass> bloom_classes();
std::span<const ModelClass> cohere_classes();
std::span<const ModelClass> deepseek_classes();
std::span<const ModelClass> falcon_classes();
std::span<const ModelClass> gemma_classes();
std::span<const ModelClass> gpt2_classes();
std::span<const ModelClass> gptneox_classes();
std::span<const ModelClass> granite_classes();
std::span<const ModelClass> internlm2_classes();
std::span<const ModelClass> minicpm_classes();
std::span<const ModelClass> mpt_classes();
std::span<const ModelClass> olmo_classes();
std::span<const ModelClass> phi_classes();
std::span<const ModelClass> qwen_classes();
std::span<const ModelClass> stablelm_classes();

}  // namespace qwodel
