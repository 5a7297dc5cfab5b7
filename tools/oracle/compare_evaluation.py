#!/usr/bin/env python3
"""Compares perplexity, divergence and importance of Qwodel and llama.cpp on one model.

usage: compare_evaluation.py QWODEL GGUF_ORACLE MODEL TEXT [--ctx N] [--chunks N] [TYPE ...]

MODEL is a Hugging Face directory. 16-bit perplexities must agree to 0.3 %, importance to 1e-3 (with
f32 products and llama.cpp's f32 attention); for quantized types the difference is shown, because
llama.cpp also rounds activations to 8 bits.
"""

import argparse
import json
import subprocess
import sys
import tempfile

import gguf
import numpy as np


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("qwodel", "oracle", "model", "text"):
        parser.add_argument(name)
    parser.add_argument("--ctx", default="512")
    parser.add_argument("--chunks", default="4")
    parser.add_argument("types", nargs="*", default=["F16", "Q8_0", "Q4_K_M", "Q2_K"])
    a = parser.parse_intermixed_args()
    sizes = ["--ctx", a.ctx, "--chunks", a.chunks]

    def run(*command):
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def oracle(*command):
        return run(sys.executable, a.oracle, *command, *sizes)

    failed = []
    with tempfile.TemporaryDirectory() as folder:
        for kind in a.types:
            path = f"{folder}/{kind}.gguf"
            run(a.qwodel, "quantize", a.model, "--to", f"gguf:{kind}", "-o", path)
            ours = json.loads(run(a.qwodel, "eval", path, "--text", a.text, "--json",
                                  "--compute", "f32", *sizes))["perplexity"]
            theirs = float(oracle("ppl", path, a.text).split()[2])
            print(f"{kind}: perplexity {ours:.4f}, llama.cpp {theirs:.4f}, {ours / theirs - 1:+.3%}")
            if kind in ("F32", "F16", "BF16") and abs(ours / theirs - 1) > 3e-3:
                failed.append(kind)
        full = f"{folder}/F32.gguf"
        run(a.qwodel, "quantize", a.model, "--to", "gguf:F32", "-o", full, "--force")
        run(a.qwodel, "imatrix", full, "--text", a.text, "--compute", "f32",
            "-o", f"{folder}/ours.gguf", *sizes)
        oracle("imatrix", full, a.text, f"{folder}/theirs.gguf", "--exact")
        ours, theirs = ({tensor.name: np.array(tensor.data, np.float64)
                         for tensor in gguf.GGUFReader(f"{folder}/{name}.gguf").tensors}
                        for name in ("ours", "theirs"))
        if list(ours) != list(theirs):
            failed.append("names of the importance matrix")
        worst = max(float(np.max(np.abs(ours[name] / np.where(theirs[name] == 0, 1, theirs[name])
                                        - 1)[theirs[name] != 0], initial=0)) for name in theirs)
        print(f"importance: {len(theirs) // 2} weights, largest relative difference {worst:.1e}")
        if worst > 1e-3:
            failed.append("importance")
    sys.exit("failed: " + ", ".join(failed) if failed else 0)


main()
