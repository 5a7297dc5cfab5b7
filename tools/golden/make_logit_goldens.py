#!/usr/bin/env python3
"""Writes tests/golden/logits/CASE.json: logits of transformers in single precision for tiny models of every family.

    python tools/golden/make_logit_goldens.py [-o tests/golden/logits] [--only PATTERN]

A case is a model of tests/golden/models (config.json, names and shapes of its tensors) with changes that make
every trait show: a window shorter than the sequences, a pretraining length between their lengths. Weights and
tokens are those of recipe_weights.py, which the C++ test makes by itself. A file holds
  model, edits, add, drop   what the case is: config.json keys to set (null removes one), tensors to add or leave out
  sequences                 per sequence its length and, at some positions, the logits of every COLUMN_STEP-th column
  range                     largest less smallest logit of all
  made_by, recipe           versions
reference_models.py says which transformers class stands for a class of remote code.
"""
import argparse
import fnmatch
import json
import pathlib
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools" / "oracle"))

import recipe_weights

MODELS = ROOT / "tests" / "golden" / "models"
LENGTHS = {24: (0, 5, 23), 72: (0, 7, 40, 71)}
COLUMN_STEP = 17

WINDOW = dict(sliding_window=8)
QWEN_WINDOW = dict(WINDOW, use_sliding_window=True, layer_types=["full_attention", "sliding_attention"])
LLAMA3 = dict(rope_parameters=dict(rope_type="llama3", rope_theta=500000.0, factor=8.0, low_freq_factor=1.0,
                                   high_freq_factor=4.0, original_max_position_embeddings=64))


def per_layer(shapes):
    return [[f"model.layers.{i}.{name}", shape] for i in range(2) for name, shape in shapes]


def routed(experts):
    """DeepSeek's second layer with more experts than the golden model has."""
    p = "model.layers.1.mlp."
    tensors = [[p + "gate.weight", [experts, 64]]]
    for e in range(experts):
        tensors += [[f"{p}experts.{e}.{name}.weight", shape]
                    for name, shape in (("gate_proj", [24, 64]), ("up_proj", [24, 64]), ("down_proj", [64, 24]))]
    return tensors


V3_EXPERTS = dict(drop=["lm_head.weight"],
                  add=[*routed(8), ["model.layers.1.mlp.gate.e_score_correction_bias", [8]]])
CLIPPED = dict(attn_config=dict(alibi=False, alibi_bias_max=8, attn_impl="torch", clip_qkv=1.0, kv_n_heads=4))

# name -> (model, edits, what else)
CASES = {name: (name, {}, {}) for name in (
    "bloom", "bloom_prefixed", "command_r", "deepseek", "deepseek_v2_lite", "falcon_mha", "falcon_mqa",
    "falcon_new_decoder", "falcon_old_names", "gemma", "gpt2", "gpt_bigcode", "gptneox", "granite", "granite_moe",
    "granite_moe_shared", "internlm2", "llama", "llama_bias", "llama_linear_rope", "llama_tied", "llama_yarn",
    "minicpm", "minicpm_longrope", "mistral_sparse", "mpt", "olmo2", "phi2", "phi3_longrope",
    "phi4_partial", "qwen2_moe", "qwen2_yarn", "qwen3_moe", "smollm3", "stablelm", "stablelm_bias")}
CASES |= {
    "mistral": ("mistral", WINDOW, {}),
    "mixtral": ("mixtral", WINDOW, {}),
    "mpt_clipped": ("mpt_clipped", CLIPPED, {}),
    "olmo": ("olmo", dict(clip_qkv=1.0), {}),
    "starcoder2": ("starcoder2", WINDOW, {}),
    "phi3": ("phi3", WINDOW, {}),
    "gemma2": ("gemma2", WINDOW, {}),
    "gemma3": ("gemma3", WINDOW, {}),
    "gemma3_old": ("gemma3_old", WINDOW, {}),
    "qwen2": ("qwen2", QWEN_WINDOW, {}),
    "qwen3": ("qwen3", QWEN_WINDOW, {}),
    "llama3_rope": ("llama3_rope", LLAMA3, {}),
    "qwen2_moe_normalized": ("qwen2_moe", dict(norm_topk_prob=True), {}),
    "qwen3_moe_normalized": ("qwen3_moe", dict(norm_topk_prob=True), {}),
    "gptneox_sequential": ("gptneox", dict(use_parallel_residual=False), {}),
    "falcon_one_norm": ("falcon_new_decoder", dict(num_ln_in_parallel_attn=1, rope_theta=5000.0), dict(
        drop=[f"transformer.h.{i}.{norm}.{part}" for i in range(2) for norm in ("ln_attn", "ln_mlp")
              for part in ("weight", "bias")],
        add=[[f"transformer.h.{i}.input_layernorm.{part}", [64]] for i in range(2) for part in ("weight", "bias")])),
    "stablelm_qk_norm": ("stablelm", dict(qk_layernorm=True), dict(add=per_layer(
        [(f"self_attn.{x}_layernorm.norms.{h}.weight", [16]) for x, n in (("q", 4), ("k", 2)) for h in range(n)]))),
    "olmo2_base": ("olmo2", dict(rope_parameters=dict(rope_type="default", rope_theta=5000.0)), {}),
    "deepseek_v3": ("deepseek_v3", dict(n_routed_experts=8), V3_EXPERTS),
    "deepseek_v3_groups": ("deepseek_v3", dict(n_routed_experts=8, n_group=4, topk_group=2), V3_EXPERTS),
    "deepseek_v3_yarn": ("deepseek_v3", dict(n_routed_experts=8, rope_scaling=dict(
        type="yarn", factor=4.0, original_max_position_embeddings=32, beta_fast=32, beta_slow=1, mscale=1.0,
        mscale_all_dim=0.5)), V3_EXPERTS),
    "deepseek_v2_groups": ("deepseek_v2_lite", dict(n_routed_experts=8, n_group=4, topk_group=1,
                                                    topk_method="group_limited_greedy", routed_scaling_factor=2.0),
                           dict(add=routed(8))),
}


def case_model(name):
    """(config.json, {tensor: shape}) of a case."""
    model, edits, more = CASES[name]
    config = json.loads((MODELS / model / "config.json").read_text())
    for key, value in edits.items():
        config.pop(key, None)
        if value is not None:
            config[key] = value
    shapes = {n: s for n, s in json.loads((MODELS / model / "golden.json").read_text())["checkpoint"]}
    shapes |= {n: s for n, s in more.get("add", [])}
    return config, {n: s for n, s in shapes.items() if n not in more.get("drop", [])}


def write_model(directory, config, shapes):
    from safetensors.numpy import save_file
    save_file({n: recipe_weights.values(n, s) for n, s in shapes.items()}, directory / "model.safetensors",
              metadata={"format": "pt"})
    (directory / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def golden(name):
    import reference_models
    import transformers

    model, edits, more = CASES[name]
    config, shapes = case_model(name)
    with tempfile.TemporaryDirectory() as scratch:
        write_model(pathlib.Path(scratch), config, shapes)
        logits = reference_models.load(scratch)
        results = {length: logits(recipe_weights.tokens(length)) for length in LENGTHS}
    sequences = [{"length": length, "positions": LENGTHS[length],
                  "logits": [[float(f"{x:.8g}") for x in y[p, :recipe_weights.VOCABULARY:COLUMN_STEP]] for p in LENGTHS[length]]}
                 for length, y in results.items()]
    low, high = min(y.min() for y in results.values()), max(y.max() for y in results.values())
    return {"model": model, "edits": edits, "add": more.get("add", []), "drop": more.get("drop", []),
            "made_by": f"transformers {transformers.__version__}", "recipe": recipe_weights.VERSION,
            "column_step": COLUMN_STEP, "range": float(high - low), "sequences": sequences}


def main():
    import torch
    import transformers

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("-o", "--output", type=pathlib.Path, default=ROOT / "tests" / "golden" / "logits")
    parser.add_argument("--only", default="*")
    args = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    args.output.mkdir(parents=True, exist_ok=True)
    for name in sorted(CASES):
        if not fnmatch.fnmatch(name, args.only):
            continue
        text = json.dumps(golden(name))
        (args.output / f"{name}.json").write_text(text + "\n")
        print(name, len(text), flush=True)


if __name__ == "__main__":
    main()
