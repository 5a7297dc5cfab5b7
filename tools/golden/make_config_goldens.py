#!/usr/bin/env python3
"""Writes tests/golden/model_configs.json: ARCH.* metadata and rotary tensors of published models' configurations.

    python tools/golden/make_config_goldens.py --llama-cpp LLAMA_CPP [-o OUT.json]

The configurations are those of well-known checkpoints, of old and new transformers versions, without
keys that no converter reads. llama.cpp's converter class is made for a directory that holds only
config.json; generate_extra_tensors() and set_gguf_parameters() run, and the keys they set are recorded
in order as [key, type, value] (floats as the bytes of the f32), the tensors as [name, bytes of the f32s].
"""
import argparse
import json
import logging
import os
import pathlib
import struct
import sys
import tempfile

from family_configs import FAMILY_CONFIGS

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "oracle"))
from tiny_families import RAW_CONFIG  # noqa: E402


def llama(**settings):
    return dict(architectures=["LlamaForCausalLM"], model_type="llama", hidden_act="silu") | settings


LLAMA3_SCALING = dict(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=8192,
                      rope_type="llama3")


def ramp(count, last):
    return [1.0 + (last - 1.0) * i / (count - 1) for i in range(count)]


CONFIGS = {
    "llama-2-7b": llama(hidden_size=4096, intermediate_size=11008, max_position_embeddings=4096,
                        num_attention_heads=32, num_hidden_layers=32, num_key_value_heads=32, pretraining_tp=1,
                        rms_norm_eps=1e-05, rope_scaling=None, tie_word_embeddings=False, torch_dtype="float16",
                        vocab_size=32000),
    "llama-7b-first": llama(hidden_size=4096, intermediate_size=11008, max_sequence_length=2048,
                            num_attention_heads=32, num_hidden_layers=32, rms_norm_eps=1e-06, vocab_size=32000),
    "llama-3-8b": llama(hidden_size=4096, intermediate_size=14336, max_position_embeddings=8192,
                        num_attention_heads=32, num_hidden_layers=32, num_key_value_heads=8, rms_norm_eps=1e-05,
                        rope_scaling=None, rope_theta=500000.0, vocab_size=128256),
    "llama-3.1-8b": llama(hidden_size=4096, intermediate_size=14336, max_position_embeddings=131072,
                          num_attention_heads=32, num_hidden_layers=32, num_key_value_heads=8, rms_norm_eps=1e-05,
                          rope_scaling=LLAMA3_SCALING, rope_theta=500000.0, vocab_size=128256),
    "llama-3.2-1b": llama(hidden_size=2048, head_dim=64, intermediate_size=8192, max_position_embeddings=131072,
                          num_attention_heads=32, num_hidden_layers=16, num_key_value_heads=8, rms_norm_eps=1e-05,
                          rope_scaling=LLAMA3_SCALING | dict(factor=32.0), rope_theta=500000.0, vocab_size=128256,
                          tie_word_embeddings=True),
    "llama-3.2-1b-new-style": llama(hidden_size=2048, head_dim=64, intermediate_size=8192,
                                    max_position_embeddings=131072, num_attention_heads=32, num_hidden_layers=16,
                                    num_key_value_heads=8, rms_norm_eps=1e-05, dtype="bfloat16",
                                    rope_parameters=LLAMA3_SCALING | dict(factor=32.0, rope_theta=500000.0),
                                    vocab_size=128256),
    "codellama-7b": llama(hidden_size=4096, intermediate_size=11008, max_position_embeddings=16384,
                          num_attention_heads=32, num_hidden_layers=32, num_key_value_heads=32, rms_norm_eps=1e-05,
                          rope_theta=1000000, vocab_size=32016),
    "tinyllama-1.1b": llama(hidden_size=2048, intermediate_size=5632, max_position_embeddings=2048,
                            num_attention_heads=32, num_hidden_layers=22, num_key_value_heads=4, rms_norm_eps=1e-05,
                            vocab_size=32000),
    "yi-1.5-6b": llama(hidden_size=4096, intermediate_size=11008, max_position_embeddings=4096,
                       num_attention_heads=32, num_hidden_layers=32, num_key_value_heads=4, pad_token_id=0,
                       rms_norm_eps=1e-06, rope_theta=5000000.0, vocab_size=64000),
    "deepseek-coder-6.7b": llama(hidden_size=4096, intermediate_size=11008, max_position_embeddings=16384,
                                 num_attention_heads=32, num_hidden_layers=32, num_key_value_heads=32,
                                 rms_norm_eps=1e-06, rope_scaling=dict(factor=4.0, type="linear"), rope_theta=100000,
                                 vocab_size=32256),
    "smollm2-135m": llama(hidden_size=576, intermediate_size=1536, is_llama_config=True, max_position_embeddings=8192,
                          num_attention_heads=9, num_hidden_layers=30, num_key_value_heads=3, rms_norm_eps=1e-05,
                          rope_interleaved=False, rope_scaling=None, rope_theta=100000, tie_word_embeddings=True,
                          vocab_size=49152),
    "smollm3-3b": dict(architectures=["SmolLM3ForCausalLM"], model_type="smollm3", hidden_size=2048,
                       intermediate_size=11008, max_position_embeddings=65536, max_window_layers=28,
                       num_attention_heads=16, num_hidden_layers=36, num_key_value_heads=4, rms_norm_eps=1e-06,
                       no_rope_layer_interval=4, rope_scaling=None, rope_theta=5000000.0, sliding_window=None,
                       use_sliding_window=False, vocab_size=128256),
    "mistral-7b-v0.1": dict(architectures=["MistralForCausalLM"], model_type="mistral", hidden_size=4096,
                            intermediate_size=14336, max_position_embeddings=32768, num_attention_heads=32,
                            num_hidden_layers=32, num_key_value_heads=8, rms_norm_eps=1e-05, rope_theta=10000.0,
                            sliding_window=4096, vocab_size=32000),
    "mistral-nemo-12b": dict(architectures=["MistralForCausalLM"], model_type="mistral", head_dim=128,
                             hidden_size=5120, intermediate_size=14336, max_position_embeddings=1024000,
                             num_attention_heads=32, num_hidden_layers=40, num_key_value_heads=8, rms_norm_eps=1e-05,
                             rope_theta=1000000.0, sliding_window=None, vocab_size=131072),
    "mixtral-8x7b": dict(architectures=["MixtralForCausalLM"], model_type="mixtral", hidden_size=4096,
                         intermediate_size=14336, max_position_embeddings=32768, num_attention_heads=32,
                         num_experts_per_tok=2, num_hidden_layers=32, num_key_value_heads=8, num_local_experts=8,
                         rms_norm_eps=1e-05, rope_theta=1000000.0, sliding_window=None, vocab_size=32000),
    "qwen2.5-0.5b": dict(architectures=["Qwen2ForCausalLM"], model_type="qwen2", hidden_size=896,
                         intermediate_size=4864, max_position_embeddings=32768, max_window_layers=21,
                         num_attention_heads=14, num_hidden_layers=24, num_key_value_heads=2, rms_norm_eps=1e-06,
                         rope_theta=1000000.0, sliding_window=32768, use_sliding_window=False, vocab_size=151936),
    "qwen2.5-7b-yarn": dict(architectures=["Qwen2ForCausalLM"], model_type="qwen2", hidden_size=3584,
                            intermediate_size=18944, max_position_embeddings=32768, max_window_layers=28,
                            num_attention_heads=28, num_hidden_layers=28, num_key_value_heads=4, rms_norm_eps=1e-06,
                            rope_theta=1000000.0, vocab_size=152064,
                            rope_scaling=dict(factor=4.0, original_max_position_embeddings=32768, type="yarn")),
    "qwen1.5-moe-a2.7b": dict(architectures=["Qwen2MoeForCausalLM"], model_type="qwen2_moe", hidden_size=2048,
                              intermediate_size=5632, max_position_embeddings=8192, max_window_layers=21,
                              num_attention_heads=16, num_hidden_layers=24, num_key_value_heads=16,
                              rms_norm_eps=1e-06, rope_theta=1000000.0, decoder_sparse_step=1,
                              moe_intermediate_size=1408, shared_expert_intermediate_size=5632,
                              num_experts_per_tok=4, num_experts=60, norm_topk_prob=False, vocab_size=151936),
    "qwen3-0.6b": dict(architectures=["Qwen3ForCausalLM"], model_type="qwen3", head_dim=128, hidden_size=1024,
                       intermediate_size=3072, max_position_embeddings=40960, max_window_layers=28,
                       num_attention_heads=16, num_hidden_layers=28, num_key_value_heads=8, rms_norm_eps=1e-06,
                       rope_scaling=None, rope_theta=1000000, sliding_window=None, vocab_size=151936),
    "qwen3-30b-a3b": dict(architectures=["Qwen3MoeForCausalLM"], model_type="qwen3_moe", decoder_sparse_step=1,
                          head_dim=128, hidden_size=2048, intermediate_size=6144, max_position_embeddings=40960,
                          max_window_layers=48, mlp_only_layers=[], moe_intermediate_size=768, norm_topk_prob=True,
                          num_attention_heads=32, num_experts=128, num_experts_per_tok=8, num_hidden_layers=48,
                          num_key_value_heads=4, rms_norm_eps=1e-06, rope_scaling=None, rope_theta=1000000.0,
                          vocab_size=151936),
    "gemma-2b": dict(architectures=["GemmaForCausalLM"], model_type="gemma", head_dim=256, hidden_size=2048,
                     intermediate_size=16384, max_position_embeddings=8192, num_attention_heads=8,
                     num_hidden_layers=18, num_key_value_heads=1, rms_norm_eps=1e-06, rope_scaling=None,
                     rope_theta=10000.0, vocab_size=256000),
    "gemma-2-2b": dict(architectures=["Gemma2ForCausalLM"], model_type="gemma2", attn_logit_softcapping=50.0,
                       cache_implementation="hybrid", final_logit_softcapping=30.0, head_dim=256, hidden_size=2304,
                       intermediate_size=9216, max_position_embeddings=8192, num_attention_heads=8,
                       num_hidden_layers=26, num_key_value_heads=4, query_pre_attn_scalar=256, rms_norm_eps=1e-06,
                       rope_theta=10000.0, sliding_window=4096, vocab_size=256000),
    "gemma-3-1b": dict(architectures=["Gemma3ForCausalLM"], model_type="gemma3_text", attn_logit_softcapping=None,
                       final_logit_softcapping=None, head_dim=256, hidden_size=1152, intermediate_size=6912,
                       max_position_embeddings=32768, num_attention_heads=4, num_hidden_layers=26,
                       num_key_value_heads=1, query_pre_attn_scalar=256, rms_norm_eps=1e-06,
                       rope_local_base_freq=10000, rope_scaling=None, rope_theta=1000000, sliding_window=512,
                       sliding_window_pattern=6, vocab_size=262144),
    "gemma-3-4b": dict(architectures=["Gemma3ForConditionalGeneration"], model_type="gemma3", boi_token_index=255999,
                       mm_tokens_per_image=256,
                       text_config=dict(hidden_size=2560, intermediate_size=10240, model_type="gemma3_text",
                                        num_hidden_layers=34, rope_scaling=dict(factor=8.0, rope_type="linear"),
                                        sliding_window=1024),
                       vision_config=dict(hidden_size=1152, image_size=896, intermediate_size=4304,
                                          model_type="siglip_vision_model", num_attention_heads=16,
                                          num_hidden_layers=27, patch_size=14)),
    "phi-2": dict(architectures=["PhiForCausalLM"], model_type="phi", hidden_size=2560, intermediate_size=10240,
                  layer_norm_eps=1e-05, max_position_embeddings=2048, num_attention_heads=32, num_hidden_layers=32,
                  num_key_value_heads=32, partial_rotary_factor=0.4, qk_layernorm=False, rope_scaling=None,
                  rope_theta=10000.0, vocab_size=51200),
    "phi-3-mini-4k": dict(architectures=["Phi3ForCausalLM"], model_type="phi3", hidden_size=3072,
                          intermediate_size=8192, max_position_embeddings=4096, num_attention_heads=32,
                          num_hidden_layers=32, num_key_value_heads=32, original_max_position_embeddings=4096,
                          rms_norm_eps=1e-05, rope_scaling=None, rope_theta=10000.0, sliding_window=2047,
                          vocab_size=32064),
    "phi-3-mini-128k-su": dict(architectures=["Phi3ForCausalLM"], model_type="phi3", hidden_size=3072,
                               intermediate_size=8192, max_position_embeddings=131072, num_attention_heads=32,
                               num_hidden_layers=32, num_key_value_heads=32, original_max_position_embeddings=4096,
                               rms_norm_eps=1e-05, rope_theta=10000.0, sliding_window=262144, vocab_size=32064,
                               rope_scaling=dict(long_factor=ramp(48, 64.8), short_factor=ramp(48, 2.8), type="su")),
    "phi-3.5-mini": dict(architectures=["Phi3ForCausalLM"], model_type="phi3", hidden_size=3072,
                         intermediate_size=8192, max_position_embeddings=131072, num_attention_heads=32,
                         num_hidden_layers=32, num_key_value_heads=32, original_max_position_embeddings=4096,
                         rms_norm_eps=1e-05, rope_theta=10000.0, sliding_window=262144, vocab_size=32064,
                         rope_scaling=dict(long_factor=ramp(48, 64.3), short_factor=ramp(48, 2.7), type="longrope")),
    "phi-4": dict(architectures=["Phi3ForCausalLM"], model_type="phi3", hidden_size=5120, intermediate_size=17920,
                  max_position_embeddings=16384, num_attention_heads=40, num_hidden_layers=40,
                  num_key_value_heads=10, original_max_position_embeddings=16384, rms_norm_eps=1e-05,
                  rope_scaling=None, rope_theta=250000, sliding_window=None, vocab_size=100352),
    "phi-4-mini": dict(architectures=["Phi3ForCausalLM"], model_type="phi3", hidden_size=3072,
                       intermediate_size=8192, max_position_embeddings=131072, num_attention_heads=24,
                       num_hidden_layers=32, num_key_value_heads=8, original_max_position_embeddings=4096,
                       partial_rotary_factor=0.75, rms_norm_eps=1e-05, rope_theta=10000.0, sliding_window=262144,
                       rope_scaling=dict(long_factor=ramp(48, 47.8), short_factor=[1.0] * 48, type="longrope"),
                       tie_word_embeddings=True, vocab_size=200064),
    "gpt2": dict(architectures=["GPT2LMHeadModel"], model_type="gpt2", activation_function="gelu_new",
                 layer_norm_epsilon=1e-05, n_ctx=1024, n_embd=768, n_head=12, n_layer=12, n_positions=1024,
                 vocab_size=50257),
    "starcoder2-3b": dict(architectures=["Starcoder2ForCausalLM"], model_type="starcoder2", hidden_size=3072,
                          intermediate_size=12288, max_position_embeddings=16384, mlp_type="default",
                          norm_epsilon=1e-05, norm_type="layer_norm", num_attention_heads=24, num_hidden_layers=30,
                          num_key_value_heads=2, rope_theta=999999.4420358813, sliding_window=4096, use_bias=True,
                          vocab_size=49152),
    "stablelm-2-1.6b": dict(architectures=["StableLmForCausalLM"], model_type="stablelm", hidden_size=2048,
                            intermediate_size=5632, layer_norm_eps=1e-05, max_position_embeddings=4096,
                            num_attention_heads=32, num_hidden_layers=24, num_key_value_heads=32,
                            partial_rotary_factor=0.25, rope_theta=10000, use_qkv_bias=True, vocab_size=100352),
    "granite-3.3-2b": dict(architectures=["GraniteForCausalLM"], model_type="granite", attention_multiplier=0.015625,
                           embedding_multiplier=12.0, hidden_size=2048, intermediate_size=8192, logits_scaling=8.0,
                           max_position_embeddings=131072, num_attention_heads=32, num_hidden_layers=40,
                           num_key_value_heads=8, residual_multiplier=0.22, rms_norm_eps=1e-05, rope_scaling=None,
                           rope_theta=10000000.0, vocab_size=49159),
    "granite-3.1-3b-a800m": dict(architectures=["GraniteMoeForCausalLM"], model_type="granitemoe",
                                 attention_multiplier=0.015625, embedding_multiplier=12.0, hidden_size=1536,
                                 intermediate_size=512, logits_scaling=6.0, max_position_embeddings=131072,
                                 num_attention_heads=24, num_experts_per_tok=8, num_hidden_layers=32,
                                 num_key_value_heads=8, num_local_experts=40, residual_multiplier=0.22,
                                 rms_norm_eps=1e-06, rope_scaling=None, rope_theta=10000000.0, vocab_size=49155),
    "olmo-1.7-7b": dict(architectures=["OlmoForCausalLM"], model_type="olmo", clip_qkv=8.0, hidden_size=4096,
                        intermediate_size=11008, max_position_embeddings=4096, num_attention_heads=32,
                        num_hidden_layers=32, num_key_value_heads=32, rope_scaling=None, rope_theta=10000.0,
                        vocab_size=50304),
    "olmo-2-1b": dict(architectures=["Olmo2ForCausalLM"], model_type="olmo2", hidden_size=2048,
                      intermediate_size=8192, max_position_embeddings=4096, num_attention_heads=16,
                      num_hidden_layers=16, num_key_value_heads=16, rms_norm_eps=1e-06, rope_scaling=None,
                      rope_theta=500000, vocab_size=100352),
    "command-r-v01": dict(architectures=["CohereForCausalLM"], model_type="cohere", hidden_size=8192,
                          intermediate_size=22528, layer_norm_eps=1e-05, logit_scale=0.0625,
                          max_position_embeddings=8192, model_max_length=131072, num_attention_heads=64,
                          num_hidden_layers=40, num_key_value_heads=64, rope_theta=8000000.0, use_qk_norm=False,
                          vocab_size=256000),
    "aya-23-8b": dict(architectures=["CohereForCausalLM"], model_type="cohere", hidden_size=4096,
                      intermediate_size=14336, layer_norm_eps=1e-05, logit_scale=0.0625,
                      max_position_embeddings=8192, num_attention_heads=32, num_hidden_layers=32,
                      num_key_value_heads=8, rope_theta=10000, vocab_size=256000),
}


def type_of(entry):
    import gguf

    item = f"/{gguf.GGUFValueType.get_type(entry.value[0]).name}" if entry.type.name == "ARRAY" else ""
    return entry.type.name + item


def value_of(entry):
    if entry.type.name == "FLOAT32":
        return struct.pack("<f", entry.value).hex()
    return entry.value


def golden_of(config):
    import gguf
    import torch
    from conversion import get_model_class
    from conversion.base import ModelBase, ModelType, get_model_architecture

    with tempfile.TemporaryDirectory() as scratch, torch.inference_mode():
        directory = pathlib.Path(scratch)
        (directory / "config.json").write_text(json.dumps(config))
        name = get_model_architecture(ModelBase.load_hparams(directory, False), ModelType.TEXT)
        model = get_model_class(name)(directory, gguf.LlamaFileType.ALL_F32, directory / "out.gguf", eager=True,
                                      hparams=dict(config) if name in RAW_CONFIG else None)
        tensors = [[name, data.float().numpy().tobytes().hex()] for name, data in model.generate_extra_tensors()]
        model.set_gguf_parameters()
    metadata = [[key, type_of(entry), value_of(entry)] for key, entry in model.gguf_writer.kv_data[0].items()]
    return {"config": config, "metadata": metadata, "tensors": tensors}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--llama-cpp", required=True)
    parser.add_argument("-o", "--output", type=pathlib.Path,
                        default=pathlib.Path(__file__).parents[2] / "tests" / "golden" / "model_configs.json")
    args = parser.parse_args()
    sys.path[:0] = [args.llama_cpp, args.llama_cpp + "/gguf-py"]
    logging.disable(logging.WARNING)
    lines = []
    for name, config in (CONFIGS | FAMILY_CONFIGS).items():
        golden = {key: json.dumps(value) for key, value in golden_of(config).items()}
        lines.append(json.dumps(name) + ": {" + ",\n ".join(f'"{k}": {v}' for k, v in golden.items()) + "}")
    args.output.write_text("{" + ",\n".join(lines) + "}\n")


if __name__ == "__main__":
    main()
