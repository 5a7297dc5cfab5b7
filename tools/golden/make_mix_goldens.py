#!/usr/bin/env python3
"""Records which type llama-quantize gives every tensor: tests/golden/type_mixes.json.

Small GGUF models of several shapes (grouped queries, eight experts, Falcon, 80 layers, fused QKV, tied
and untied, rows that fit no K-quant) with random F32 weights are quantized by the oracle
to every file type, with and without an importance matrix, and the tensor types are read back. Runs of
the same type are folded: "12:14" is twelve tensors of type 14, in file order.

    make_mix_goldens.py --oracles DIR

Needs the packages of the oracle's README.
"""

import argparse
import importlib.metadata
import itertools
import json
import pathlib
import struct
import subprocess
import sys
import tempfile

import numpy as np
from gguf import GGUFReader, GGUFWriter

ROOT = pathlib.Path(__file__).resolve().parents[2]
TYPES = """Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q2_K_S Q3_K_S Q3_K_M Q3_K_L Q4_K_S Q4_K_M Q5_K_S Q5_K_M Q6_K IQ1_S
IQ1_M IQ2_XXS IQ2_XS IQ2_S IQ2_M IQ3_XXS IQ3_XS IQ3_S IQ3_M IQ4_NL IQ4_XS TQ1_0 TQ2_0 MXFP4_MOE""".split()
MODELS = {
    "llama": dict(arch="llama", layers=11, heads=4, kv_heads=4),
    "llama_grouped_tied": dict(arch="llama", layers=16, heads=8, kv_heads=2, tied=True),
    "llama_8_experts": dict(arch="llama", layers=9, heads=4, kv_heads=2, experts=8),
    "llama_4_experts": dict(arch="llama", layers=8, heads=4, kv_heads=2, experts=4),
    "llama_80_layers": dict(arch="llama", layers=80, heads=4, kv_heads=2),
    "falcon": dict(arch="falcon", layers=17, heads=4, kv_heads=1, fused=True),
    "gpt2_narrow": dict(arch="gpt2", layers=10, heads=2, kv_heads=2, fused=True, cols=96),
}


def tensors_of(m):
    cols, width, vocab = m.get("cols", 256), 256, 32
    yield "token_embd.weight", (vocab, cols)
    yield "output_norm.weight", (cols,)
    if not m.get("tied"):
        yield "output.weight", (vocab, cols)
    for layer in range(m["layers"]):
        p = f"blk.{layer}."
        yield p + "attn_norm.weight", (cols,)
        if m.get("fused"):
            yield p + "attn_qkv.weight", (4, cols)
        else:
            for name in ("attn_q", "attn_k", "attn_v"):
                yield p + name + ".weight", (4, cols)
        yield p + "attn_output.weight", (4, cols)
        if m.get("experts"):
            yield p + "ffn_gate_inp.weight", (m["experts"], cols)
            for name in ("ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"):
                yield p + name + ".weight", (m["experts"], 2, width)
        else:
            if not m.get("fused"):
                yield p + "ffn_gate.weight", (4, cols)
            yield p + "ffn_up.weight", (4, cols)
            yield p + "ffn_down.weight", (4, width)


def write_model(path, m):
    arch, rng = m["arch"], np.random.default_rng(1)
    writer = GGUFWriter(path, arch)
    writer.add_block_count(m["layers"])
    writer.add_context_length(128)
    writer.add_embedding_length(m.get("cols", 256))
    writer.add_feed_forward_length(256)
    writer.add_head_count(m["heads"])
    writer.add_head_count_kv(m["kv_heads"])
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_layer_norm_eps(1e-5)
    writer.add_rope_freq_base(1e4)
    writer.add_vocab_size(32)
    if m.get("experts"):
        writer.add_expert_count(m["experts"])
        writer.add_expert_used_count(2)
    writer.add_tokenizer_model("none")
    for name, shape in tensors_of(m):
        writer.add_tensor(name, rng.standard_normal(shape, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_imatrix(path, m):
    entries = []
    for name, shape in tensors_of(m):
        if len(shape) < 2 or name in ("token_embd.weight", "output.weight"):
            continue
        size = shape[-1] * (shape[0] if len(shape) == 3 else 1)
        entries.append(struct.pack("<i", len(name)) + name.encode() + struct.pack("<ii", 1, size) +
                       np.ones(size, np.float32).tobytes())
    path.write_bytes(struct.pack("<i", len(entries)) + b"".join(entries))


def folded(types):
    return " ".join(f"{len(list(run))}:{kind}" for kind, run in itertools.groupby(types))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--oracles", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "tests/golden/type_mixes.json")
    args = parser.parse_args()
    document = {"recipe": __doc__.splitlines()[0],
                "llama_cpp_py_sync": importlib.metadata.version("llama_cpp_py_sync"), "models": {}}
    for name, m in MODELS.items():
        with tempfile.TemporaryDirectory() as scratch:
            scratch = pathlib.Path(scratch)
            write_model(scratch / "in.gguf", m)
            write_imatrix(scratch / "imatrix.dat", m)
            row = {"architecture": m["arch"], "layers": m["layers"], "heads": m["heads"],
                   "kv_heads": m["kv_heads"], "experts": m.get("experts", 0),
                   "tensors": [[n, list(s)] for n, s in tensors_of(m)], "types": {}}
            for kind in TYPES:
                for extra in ([], ["--imatrix", str(scratch / "imatrix.dat")]):
                    out = scratch / "out.gguf"
                    done = subprocess.run([sys.executable, str(args.oracles / "gguf_oracle.py"),
                                           "quantize", str(scratch / "in.gguf"), str(out), kind, *extra],
                                          capture_output=True, text=True)
                    key = kind + ("+imatrix" if extra else "")
                    row["types"][key] = "refused" if done.returncode else folded(
                        int(t.tensor_type) for t in GGUFReader(out).tensors)
            document["models"][name] = row
    args.out.write_text(json.dumps(document) + "\n")


if __name__ == "__main__":
    main()
