#!/usr/bin/env python3
"""Writes one tiny model per supported class, as Hugging Face directories with real tokenizers.

    python tools/oracle/make_tiny_models.py OUTDIR --tokenizers TOKENIZERS [--only PATTERN] [--dtype f32|f16|bf16]

Weights are random with a fixed seed. TOKENIZERS holds folders of published tokenizer files, named as
in VOCABULARIES. Needs transformers (5.23), torch, safetensors. compare_conversions.py takes the
result. make_model_goldens.py takes the same cases without weights and tokenizers.

CASES: name -> (class, model_type, settings, edits, vocabulary). The model is made by transformers
from a configuration of `model_type` with `settings` over SMALL; `edits` are then applied to the saved
config.json (None removes a key), so that files of older transformers versions are covered too.
tiny_families.py has the cases that are written without transformers.
"""
import argparse
import fnmatch
import json
import pathlib
import shutil
import tempfile

import tiny_families

# Sizes differ wherever the architecture allows: two exchanged ones cannot give the right shape.
SMALL = dict(vocab_size=512, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=128, bos_token_id=1, eos_token_id=2, pad_token_id=0)

LLAMA3_ROPE = dict(rope_type="llama3", rope_theta=500000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                   original_max_position_embeddings=8192)
LLAMA3_ROPE_OLD = dict(rope_type="llama3", factor=32.0, low_freq_factor=1.0, high_freq_factor=4.0,
                       original_max_position_embeddings=8192)
LONGROPE = dict(type="longrope", long_factor=[1.0 + 0.5 * i for i in range(8)],
                short_factor=[1.0 + 0.05 * i for i in range(8)])
YARN = dict(type="yarn", factor=4.0, original_max_position_embeddings=32, beta_fast=32.0, beta_slow=1.0)
MOE = dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=48)
# Files that say no more than they must: everything else has to come from the class's defaults.
SPARSE = {key: None for key in (
    "rope_parameters", "rms_norm_eps", "layer_norm_eps", "norm_epsilon", "layer_norm_epsilon", "layer_types",
    "max_position_embeddings", "sliding_window", "final_logit_softcapping", "attn_logit_softcapping", "logit_scale",
    "num_experts_per_tok", "use_parallel_residual", "clip_qkv", "embedding_multiplier", "logits_scaling",
    "residual_multiplier", "attention_multiplier", "original_max_position_embeddings", "mlp_only_layers",
    "no_rope_layers", "head_dim", "_sliding_window_pattern", "shared_intermediate_size")}
VISION = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2, image_size=28,
              patch_size=14)

CASES = {
    "llama": ("LlamaForCausalLM", "llama", {}, {}, "llama"),
    "llama_tied": ("LlamaForCausalLM", "llama", dict(tie_word_embeddings=True), {}, "llama"),
    "llama_bias": ("LlamaForCausalLM", "llama", dict(attention_bias=True, mlp_bias=True, head_dim=32), {}, "llama"),
    "llama3_rope": ("LlamaForCausalLM", "llama", dict(hidden_size=128, rope_parameters=LLAMA3_ROPE), {}, "gpt2"),
    "llama3_rope_old": ("LlamaForCausalLM", "llama", dict(hidden_size=256),
                        dict(rope_parameters=None, rope_scaling=LLAMA3_ROPE_OLD, rope_theta=500000.0, dtype=None,
                             torch_dtype="bfloat16"), "gpt2"),
    "llama_old": ("LlamaForCausalLM", "llama", dict(num_key_value_heads=4),
                  dict(num_key_value_heads=None, head_dim=None, rope_parameters=None, rms_norm_eps=None,
                       max_position_embeddings=None), "llama"),
    "llama_linear_rope": ("LlamaForCausalLM", "llama", {},
                          dict(rope_parameters=None, rope_scaling=dict(type="linear", factor=4.0)), "llama"),
    "llama_yarn": ("LlamaForCausalLM", "llama", {}, dict(rope_parameters=None, rope_scaling=YARN, rope_theta=1e6),
                   "llama"),
    "llama_unknown_type": ("LlamaForCausalLM", "llama", {}, dict(model_type="somebodys_llama"), "llama"),
    "mistral": ("MistralForCausalLM", "mistral", {}, {}, "llama"),
    "mistral_old": ("MistralForCausalLM", "mistral", dict(num_key_value_heads=4),
                    dict(num_key_value_heads=4, head_dim=None, rope_parameters=None, rope_theta=10000.0), "llama"),
    "mixtral": ("MixtralForCausalLM", "mixtral", dict(num_local_experts=4), {}, "llama"),
    "smollm3": ("SmolLM3ForCausalLM", "smollm3", dict(num_hidden_layers=4), {}, "gpt2"),
    "qwen2": ("Qwen2ForCausalLM", "qwen2", {}, {}, "qwen2"),
    "qwen2_yarn": ("Qwen2ForCausalLM", "qwen2", dict(tie_word_embeddings=True),
                   dict(rope_parameters=None, rope_scaling=YARN, rope_theta=1000000.0), "qwen2"),
    "qwen2_moe": ("Qwen2MoeForCausalLM", "qwen2_moe", dict(MOE, shared_expert_intermediate_size=80), {}, "qwen2"),
    "qwen3": ("Qwen3ForCausalLM", "qwen3", dict(head_dim=32), {}, "qwen2"),
    "qwen3_moe": ("Qwen3MoeForCausalLM", "qwen3_moe", dict(MOE, head_dim=32), {}, "qwen2"),
    "gemma": ("GemmaForCausalLM", "gemma", dict(head_dim=32), {}, "llama"),
    "gemma2": ("Gemma2ForCausalLM", "gemma2", dict(head_dim=32), {}, "llama"),
    "gemma3": ("Gemma3ForCausalLM", "gemma3_text", dict(head_dim=32, num_hidden_layers=7), {}, "llama"),
    "gemma3_old": ("Gemma3ForCausalLM", "gemma3_text", dict(head_dim=32),
                   dict(rope_parameters=None, rope_theta=1000000.0, rope_local_base_freq=10000.0,
                        rope_scaling=dict(rope_type="linear", factor=8.0)), "llama"),
    "gemma3_vision": ("Gemma3ForConditionalGeneration", "gemma3",
                      dict(text_config=dict(SMALL, model_type="gemma3_text", head_dim=32), vision_config=VISION,
                           mm_tokens_per_image=4), {}, "llama"),
    "phi2": ("PhiForCausalLM", "phi", dict(num_key_value_heads=4), {}, "gpt2"),
    "phi3": ("Phi3ForCausalLM", "phi3", dict(sliding_window=2047), {}, "llama"),
    "phi3_longrope": ("Phi3ForCausalLM", "phi3", dict(max_position_embeddings=256),
                      dict(rope_parameters=None, rope_scaling=LONGROPE, rope_theta=10000.0,
                           original_max_position_embeddings=64), "llama"),
    "phi4_partial": ("Phi3ForCausalLM", "phi3", dict(hidden_size=128, tie_word_embeddings=True),
                     dict(rope_parameters=None, partial_rotary_factor=0.75, rope_theta=10000.0), "gpt2"),
    "gpt2": ("GPT2LMHeadModel", "gpt2", dict(n_inner=None), dict(n_ctx=128), "gpt2"),
    "starcoder2": ("Starcoder2ForCausalLM", "starcoder2", {}, {}, "gpt2"),
    "stablelm": ("StableLmForCausalLM", "stablelm", {}, {}, "gpt2"),
    "stablelm_bias": ("StableLmForCausalLM", "stablelm", dict(use_qkv_bias=True, use_parallel_residual=True), {},
                      "gpt2"),
    "granite": ("GraniteForCausalLM", "granite", dict(embedding_multiplier=12.0, logits_scaling=8.0,
                                                      residual_multiplier=0.22, attention_multiplier=0.0156), {},
                "gpt2"),
    "granite_moe": ("GraniteMoeForCausalLM", "granitemoe", dict(num_local_experts=4), {}, "gpt2"),
    "granite_moe_shared": ("GraniteMoeSharedForCausalLM", "granitemoeshared",
                           dict(num_local_experts=4, shared_intermediate_size=80), {}, "gpt2"),
    "olmo": ("OlmoForCausalLM", "olmo", dict(clip_qkv=8.0), {}, "gpt2"),
    "olmo2": ("Olmo2ForCausalLM", "olmo2", {}, {}, "gpt2"),
    "command_r": ("CohereForCausalLM", "cohere", dict(use_qk_norm=True), dict(model_max_length=1024), "gpt2"),
}

for _name in ("mistral", "mixtral", "smollm3", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "gemma", "gemma2", "gemma3",
              "phi2", "phi3", "starcoder2", "stablelm", "granite", "granite_moe", "olmo", "olmo2", "command_r"):
    _class, _type, _settings, _edits, _vocabulary = CASES[_name]
    CASES[_name + "_sparse"] = (_class, _type, _settings, SPARSE, _vocabulary)

# Kind of vocabulary -> folder below TOKENIZERS and the files to take. A vocabulary larger than the
# model's is no obstacle: config.json's vocab_size is raised to it.
VOCABULARIES = {
    "llama": ("llama2", ["tokenizer.model", "tokenizer_config.json", "special_tokens_map.json"]),
    "gpt2": ("smollm2", ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json",
                         "merges.txt"]),
    "qwen2": ("qwen2", ["vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json"]),
    "bert": ("bert-base-cased", ["vocab.txt"]),
}
VOCABULARY_SIZES = {"llama": 32000, "gpt2": 49280, "qwen2": 151936, "bert": 28996}


def build(case, directory, vocab_size=None, dtype="f32"):
    """Saves the case's model with random weights; returns its vocabulary kind."""
    import torch
    import transformers

    class_name, model_type, settings, edits, vocabulary = CASES[case]
    settings = dict(settings)
    text = settings.get("text_config")
    if vocab_size:
        target = text if text else settings
        target["vocab_size"] = vocab_size
    torch.manual_seed(sum(map(ord, case)))
    config = transformers.AutoConfig.for_model(model_type, **(settings if text else {**SMALL, **settings}))
    model = getattr(transformers, class_name)(config)
    with torch.no_grad():
        for parameter in model.parameters():  # norms too: ones would hide a forgotten "+ 1"
            parameter.copy_(torch.randn_like(parameter) * 0.05)
    model = model.to({"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}[dtype])
    model.save_pretrained(directory)
    path = pathlib.Path(directory) / "config.json"
    saved = json.loads(path.read_text())
    for key, value in edits.items():
        saved.pop(key, None)
        if value is not None:
            saved[key] = value
    path.write_text(json.dumps(saved, indent=2, sort_keys=True) + "\n")
    return vocabulary


def case_names():
    return [*CASES, *tiny_families.cases()]


def describe(case):
    """(config.json, {tensor: shape}, vocabulary) of a case, without weights."""
    from safetensors import safe_open

    if case not in CASES:
        return tiny_families.describe(case)

    with tempfile.TemporaryDirectory() as scratch:
        vocabulary = build(case, scratch)
        config = json.loads((pathlib.Path(scratch) / "config.json").read_text())
        with safe_open(pathlib.Path(scratch) / "model.safetensors", "pt") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
    return config, shapes, vocabulary


def add_tokenizer(directory, vocabulary, tokenizers):
    folder, files = VOCABULARIES[vocabulary]
    for name in files:
        shutil.copyfile(tokenizers / folder / name, directory / name)


def write_random(directory, config, shapes, dtype):
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(len(shapes))
    kind = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}[dtype]
    directory.mkdir(parents=True, exist_ok=True)
    tensors = {name: (torch.randn(shape) * 0.05).to(kind) for name, shape in shapes.items()}
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    (directory / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("outdir", type=pathlib.Path)
    parser.add_argument("--tokenizers", type=pathlib.Path, required=True)
    parser.add_argument("--only", default="*")
    parser.add_argument("--dtype", default="f32", choices=["f32", "f16", "bf16"])
    args = parser.parse_args()
    for case in case_names():
        if not fnmatch.fnmatch(case, args.only):
            continue
        directory = args.outdir / case
        if case in CASES:
            vocabulary = build(case, directory, VOCABULARY_SIZES[CASES[case][4]], args.dtype)
        else:
            vocabulary = tiny_families.describe(case)[2]
            config, shapes, _ = tiny_families.describe(case, VOCABULARY_SIZES[vocabulary])
            write_random(directory, config, shapes, args.dtype)
        (directory / "generation_config.json").unlink(missing_ok=True)
        add_tokenizer(directory, vocabulary, args.tokenizers)
        print(directory, flush=True)


if __name__ == "__main__":
    main()
