"""Logits of a checkpoint from transformers in single precision, also for classes that it no longer has.

load(directory) returns a function from token ids to logits [tokens, vocab_size]. Classes of remote code
are mapped to transformers classes with the same arithmetic:

  InternLM2   Llama, with the grouped projection split into three
  MiniCPM     Granite: the same four multipliers
  DeepSeek V1 Llama, with the feed-forward of later layers replaced by experts (written here)
  RWForCausalLM, MPT with learned positions: renamed, patched
"""
import json
import math
import os
import pathlib

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from safetensors.torch import load_file


def tensors_of(directory):
    merged = {}
    for path in sorted(pathlib.Path(directory).glob("*.safetensors")):
        merged.update(load_file(path))
    return {name: tensor.float() for name, tensor in merged.items()}


def fill(model, tensors):
    """Loads tensors; everything that the model computes with must be among them."""
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    tied = {"lm_head.weight", "transformer.lm_head.weight"} if model.config.tie_word_embeddings else set()
    if set(missing) - tied or unexpected:
        raise ValueError(f"missing {missing[:4]}, unexpected {unexpected[:4]}")
    model.tie_weights()
    return model.eval()


def plain(directory, config):
    """The class that config.json names, whatever model_type says."""
    import transformers
    return getattr(transformers, config["architectures"][0]).from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager").eval()


def internlm2(directory, config):
    from transformers import LlamaConfig, LlamaForCausalLM
    heads, kv, width = config["num_attention_heads"], config["num_key_value_heads"], config["hidden_size"]
    dim = width // heads
    rope = dict(rope_type="default", rope_theta=config["rope_theta"])
    model = LlamaForCausalLM(LlamaConfig(
        **{k: config[k] for k in ("vocab_size", "hidden_size", "intermediate_size", "num_attention_heads",
                                  "num_key_value_heads", "num_hidden_layers", "max_position_embeddings",
                                  "rms_norm_eps")},
        rope_parameters=rope, tie_word_embeddings=False, attn_implementation="eager"))
    names = {"tok_embeddings": "embed_tokens", "attention.wo": "self_attn.o_proj", "attention_norm": "input_layernorm",
             "ffn_norm": "post_attention_layernorm", "feed_forward.w1": "mlp.gate_proj",
             "feed_forward.w2": "mlp.down_proj", "feed_forward.w3": "mlp.up_proj"}
    out = {}
    for name, tensor in tensors_of(directory).items():
        if "wqkv" in name:
            grouped = tensor.view(kv, heads // kv + 2, dim, width)
            prefix = name.split("attention.")[0] + "self_attn."
            out[prefix + "q_proj.weight"] = grouped[:, :-2].reshape(-1, width)
            out[prefix + "k_proj.weight"] = grouped[:, -2].reshape(-1, width)
            out[prefix + "v_proj.weight"] = grouped[:, -1].reshape(-1, width)
            continue
        for old, new in names.items():
            name = name.replace(old, new)
        out["lm_head.weight" if name == "output.weight" else name] = tensor
    return fill(model, out)


def minicpm(directory, config):
    from transformers import GraniteConfig, GraniteForCausalLM
    rope = dict(rope_type="default", rope_theta=config.get("rope_theta", 10000.0))
    if config.get("rope_scaling"):
        rope = dict(config["rope_scaling"], rope_theta=rope["rope_theta"])
    head_dim = config["hidden_size"] // config["num_attention_heads"]
    tensors = tensors_of(directory)
    model = GraniteForCausalLM(GraniteConfig(
        **{k: config[k] for k in ("vocab_size", "hidden_size", "intermediate_size", "num_attention_heads",
                                  "num_key_value_heads", "num_hidden_layers", "max_position_embeddings",
                                  "rms_norm_eps")},
        rope_parameters=rope, embedding_multiplier=config["scale_emb"], attention_multiplier=1 / math.sqrt(head_dim),
        residual_multiplier=config["scale_depth"] / math.sqrt(config["num_hidden_layers"]),
        logits_scaling=config["hidden_size"] / config["dim_model_base"],
        tie_word_embeddings="lm_head.weight" not in tensors, attn_implementation="eager"))
    return fill(model, tensors)


class Experts(torch.nn.Module):
    """DeepSeek V1's feed-forward: softmax over all experts, the best ones, and shared experts beside them."""

    def __init__(self, config):
        super().__init__()
        self.top_k, self.normalize = config["num_experts_per_tok"], config["norm_topk_prob"]
        width, inner = config["hidden_size"], config["moe_intermediate_size"]
        self.gate = torch.nn.Linear(width, config["n_routed_experts"], bias=False)
        self.experts = torch.nn.ModuleList(Gated(width, inner) for _ in range(config["n_routed_experts"]))
        self.shared_experts = Gated(width, inner * config["n_shared_experts"])

    def forward(self, x):
        weights, chosen = self.gate(x).softmax(-1).topk(self.top_k, dim=-1)
        if self.normalize:
            weights = weights / weights.sum(-1, keepdim=True)
        y = self.shared_experts(x)
        for e, expert in enumerate(self.experts):
            y = y + expert(x) * (weights * (chosen == e)).sum(-1, keepdim=True)
        return y


class Gated(torch.nn.Module):
    def __init__(self, width, inner):
        super().__init__()
        self.gate_proj = torch.nn.Linear(width, inner, bias=False)
        self.up_proj = torch.nn.Linear(width, inner, bias=False)
        self.down_proj = torch.nn.Linear(inner, width, bias=False)

    def forward(self, x):
        return self.down_proj(torch.nn.functional.silu(self.gate_proj(x)) * self.up_proj(x))


def deepseek_v1(directory, config):
    from transformers import LlamaConfig, LlamaForCausalLM
    model = LlamaForCausalLM(LlamaConfig(
        **{k: config[k] for k in ("vocab_size", "hidden_size", "intermediate_size", "num_attention_heads",
                                  "num_key_value_heads", "num_hidden_layers", "max_position_embeddings",
                                  "rms_norm_eps", "tie_word_embeddings")},
        rope_parameters=dict(rope_type="default", rope_theta=config["rope_theta"]), attn_implementation="eager"))
    for layer in model.model.layers[config["first_k_dense_replace"]:]:
        layer.mlp = Experts(config)
    return fill(model, tensors_of(directory))


def falcon(directory, config):
    """The names of the first release: an old decoder says multi_query, a new one has grouped heads."""
    from transformers import FalconConfig, FalconForCausalLM
    new = config["model_type"] == "RefinedWeb"
    settings = {"vocab_size": config["vocab_size"], "hidden_size": config["hidden_size"],
                "num_hidden_layers": config["n_layer"], "num_attention_heads": config["n_head"],
                "num_kv_heads": config.get("n_head_kv"), "new_decoder_architecture": new,
                "layer_norm_epsilon": config["layer_norm_epsilon"], "multi_query": config.get("multi_query", True)}
    tensors = tensors_of(directory)
    model = FalconForCausalLM(FalconConfig(**settings, bias=False, alibi=False, parallel_attn=True,
                                           tie_word_embeddings="lm_head.weight" not in tensors,
                                           attn_implementation="eager"))
    return fill(model, tensors)


def mpt(directory, config):
    """transformers knows MPT with ALiBi and without learned positions only."""
    from transformers import MptConfig, MptForCausalLM
    attention = dict(config["attn_config"])
    alibi = attention.get("alibi", True)
    keep = ("alibi_bias_max", "clip_qkv", "softmax_scale", "qk_ln")
    tensors = tensors_of(directory)
    table = tensors.pop("transformer.wpe.weight", None)
    model = MptForCausalLM(MptConfig(
        **{k: config[k] for k in ("d_model", "n_heads", "n_layers", "max_seq_len", "vocab_size", "expansion_ratio")},
        attn_config={k: v for k, v in attention.items() if k in keep}, no_bias=True,
        tie_word_embeddings="lm_head.weight" not in tensors))
    fill(model, tensors)
    if not alibi:
        build = model.transformer.build_mpt_alibi_tensor
        model.transformer.build_mpt_alibi_tensor = lambda *a, **k: build(*a, **k) * 0
    if table is not None:
        model.transformer.wte.register_forward_hook(lambda m, args, y: y + table[:y.shape[-2]])
    return model


SPECIAL = {"InternLM2ForCausalLM": internlm2, "MiniCPMForCausalLM": minicpm, "DeepseekForCausalLM": deepseek_v1,
           "RWForCausalLM": falcon, "MPTForCausalLM": mpt}


def load_model(directory):
    config = json.loads((pathlib.Path(directory) / "config.json").read_text())
    return SPECIAL.get(config["architectures"][0], plain)(directory, config)


def load(directory):
    model = load_model(directory)

    @torch.no_grad()
    def logits(ids):
        return model(torch.tensor([list(ids)]), use_cache=False).logits[0].float().numpy()

    return logits
