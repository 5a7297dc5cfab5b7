#!/usr/bin/env python3
"""Makes tests/golden/evaluation.json: perplexity, KL divergence and importance of stories260K.

usage: make_evaluation_goldens.py QWODEL GGUF_ORACLE OUTPUT [REPOSITORY]

QWODEL is the program (it makes the GGUF files, whose bytes are compared with llama.cpp's elsewhere),
GGUF_ORACLE a script with llama.cpp's `ppl` (b11739). Everything else is transformers in float64:
the quantized model is the checkpoint with its weights replaced by the decoded ones of the GGUF.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import gguf
import numpy as np
import torch
import transformers

CTX = 128
NAMES = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
         "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
         "ffn_down": "mlp.down_proj"}


def chunks_of(tokenizer, text):
    ids = tokenizer(text)["input_ids"]
    count = len(ids) // CTX
    chunks = torch.tensor(ids[:count * CTX]).reshape(count, CTX)
    chunks[:, 0] = tokenizer.bos_token_id
    return chunks


def log_probs(model, chunks):
    with torch.no_grad():
        logits = model(chunks).logits[:, CTX // 2:-1]
    return torch.log_softmax(logits, -1).reshape(-1, logits.shape[-1]).numpy()


def unpermute(weight, heads):
    rows, cols = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, cols).swapaxes(1, 2).reshape(rows, cols)


def with_weights_of(model, path):
    state = model.state_dict()
    config = model.config
    for tensor in gguf.GGUFReader(path).tensors:
        match = re.fullmatch(r"blk\.(\d+)\.(\w+)\.weight", tensor.name)
        if match and match[2] in NAMES:
            name = f"model.layers.{match[1]}.{NAMES[match[2]]}.weight"
        elif tensor.name in ("token_embd.weight", "output.weight"):
            name = {"token_embd.weight": "model.embed_tokens.weight",
                    "output.weight": "lm_head.weight"}[tensor.name]
        else:
            continue
        weight = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float64)
        if ".q_proj" in name:
            weight = unpermute(weight, config.num_attention_heads)
        if ".k_proj" in name:
            weight = unpermute(weight, config.num_key_value_heads)
        state[name].copy_(torch.from_numpy(weight).reshape(state[name].shape))
    return model


def importance_of(model, chunks):
    """Mean squares of the inputs of each kind of linear of layer 2, from hooks."""
    sums = {}
    hooks = []
    for short, name in NAMES.items():
        module = model.get_submodule(f"model.layers.2.{name}")
        hooks.append(module.register_forward_pre_hook(
            lambda _, inputs, short=short: sums.__setitem__(
                f"blk.2.{short}.weight", (inputs[0] ** 2).mean(dim=(0, 1)).tolist())))
    with torch.no_grad():
        model(chunks)
    for hook in hooks:
        hook.remove()
    return sums


def main():
    program, oracle, output = sys.argv[1:4]
    repository = Path(sys.argv[4] if len(sys.argv) > 4 else Path(__file__).parents[2])
    directory = repository / "models/stories260K"
    text = repository / "tests/data/alice.txt"
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    load = lambda: transformers.AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch.float64, attn_implementation="eager")
    model = load()
    chunks = chunks_of(tokenizer, text.read_text().removesuffix("\n"))
    targets = chunks[:, CTX // 2 + 1:].reshape(-1).numpy()
    base = log_probs(model, chunks)
    nll = -base[np.arange(len(targets)), targets]
    golden = {"torch": torch.__version__, "transformers": transformers.__version__,
              "text": "tests/data/alice.txt", "context": CTX, "chunks": len(chunks),
              "tokens": len(targets), "perplexity": float(np.exp(nll.mean())),
              "perplexity_error": float(np.exp(nll.mean()) * nll.std() / np.sqrt(len(nll) - 1)),
              "importance": importance_of(model, chunks), "quantized": {}}
    with tempfile.TemporaryDirectory() as folder:
        for target in ("F32", "Q8_0", "Q4_0"):
            path = f"{folder}/{target}.gguf"
            subprocess.run([program, "quantize", directory, "--to", f"gguf:{target}", "-o", path],
                           check=True, capture_output=True)
            if target == "F32":
                said = subprocess.run([sys.executable, oracle, "ppl", path, text, "--ctx", str(CTX),
                                       "--exact"], check=True, capture_output=True, text=True)
                golden["perplexity_llama_cpp"] = float(said.stdout.split()[2])
                continue
            quantized = log_probs(with_weights_of(load(), path), chunks)
            kld = (np.exp(base) * (base - quantized)).sum(axis=1)
            golden["quantized"][target] = {
                "perplexity": float(np.exp(-quantized[np.arange(len(targets)), targets].mean())),
                "mean": float(kld.mean()), "median": float(np.median(kld)),
                "p99": float(np.percentile(kld, 99)), "max": float(kld.max()),
                "same_top": float((base.argmax(1) == quantized.argmax(1)).mean())}
    Path(output).write_text(json.dumps(golden, indent=1) + "\n")


main()
