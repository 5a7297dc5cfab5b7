#!/usr/bin/env python3
"""Compares `qwodel logits` with transformers in single precision, model by model, and with a GGUF of the model.

    python tools/oracle/compare_logits.py MODELS... [--qwodel build/release/qwodel] [--only PATTERN] [--keep-weights]

MODELS are model directories, or directories of them such as make_tiny_models.py writes. Their config.json and
tokenizer files are used as they are, but for the changes of make_logit_goldens.py (a window shorter than the
sequences); their weights are replaced by those of tools/golden/recipe_weights.py, which are large enough for every
operation to show, unless --keep-weights. Two sequences run, of 24 and 72 tokens (--lengths). Printed are the largest
differences as a share of the logits' range: to transformers, and of `quantize --to gguf:F32` to the model itself.
Models that transformers cannot load, or that have no graph, are listed as such; encoders are left out. Status 1 when a difference is 2e-4
or more; a GGUF that cannot hold what the class's config.json says (LOST below) counts as no failure.
"""
import argparse
import fnmatch
import json
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools" / "golden"))

import numpy as np

import recipe_weights
from make_logit_goldens import CASES

BOUND = 2e-4
# What these models' config.json says and GGUF has no key for.
LOST = {"mistral", "mistral_old", "mixtral", "qwen2", "qwen3", "starcoder2", "qwen3_moe", "gemma2", "gemma3",
        "gemma3_old", "gemma3_vision", "minicpm_longrope"}
ENCODERS = {"bert", "roberta", "distilbert"}  # predict no tokens; compare_coreml.py compares what they give


def model_directories(paths, pattern):
    for path in paths:
        found = [path] if (path / "config.json").is_file() else sorted(p.parent for p in path.glob("*/config.json"))
        for directory in found:
            kind = json.loads((directory / "config.json").read_text()).get("model_type")
            if kind not in ENCODERS and fnmatch.fnmatch(directory.name, pattern):
                yield directory


def copy_model(source, target, keep_weights):
    """The model with other weights, made to show its traits."""
    from safetensors import safe_open
    from safetensors.numpy import save_file

    config = json.loads((source / "config.json").read_text())
    for path in source.iterdir():
        if keep_weights or (path.name != "config.json" and path.suffix not in (".safetensors", ".bin")):
            (target / path.name).symlink_to(path.resolve())
    if keep_weights:
        return config
    model, edits, _ = CASES.get(source.name, (None, {}, {}))
    config |= edits if model == source.name and "n_routed_experts" not in edits else {}
    (target / "config.json").write_text(json.dumps(config))
    shapes = {}
    for path in source.glob("*.safetensors"):
        with safe_open(path, "np") as file:
            shapes |= {name: file.get_slice(name).get_shape() for name in file.keys()}
    tied = config.get("tie_word_embeddings", False)
    save_file({name: recipe_weights.values(name, shape) for name, shape in shapes.items()
               if not (tied and name == "lm_head.weight")},
              target / "model.safetensors", metadata={"format": "pt"})
    return config


class Failed(Exception):
    pass


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        raise Failed(done.stderr.strip().splitlines()[-1][:160])


def logits(qwodel, model, ids, scratch):
    (scratch / "ids.txt").write_text(" ".join(map(str, ids)))
    run(qwodel, "logits", model, "--tokens", scratch / "ids.txt", "-o", scratch / "out.npy", "--compute", "f32")
    return np.load(scratch / "out.npy")


def difference(want, have):
    width = min(want.shape[1], have.shape[1])  # rows of padding that a converter drops
    want, have = want[:, :width], have[:, :width]
    error = float(np.abs(want - have).max() / (want.max() - want.min()))
    return error if np.isfinite(have).all() else float("inf")


def compare(source, args, scratch):
    """(to transformers, of the GGUF to the model), largest of all lengths."""
    import reference_models

    copy = scratch / source.name
    copy.mkdir()
    config = copy_model(source, copy, args.keep_weights)
    vocabulary = (config.get("text_config") or config)["vocab_size"]
    tokens = {n: [token % vocabulary for token in recipe_weights.tokens(n)] for n in args.lengths}
    try:
        reference = reference_models.load(copy)
        expected = {n: reference(tokens[n]) for n in args.lengths}
    except Exception as error:  # transformers raises all kinds
        raise Failed(f"transformers: {type(error).__name__}: {str(error).splitlines()[0][:100]}") from error
    ours = {n: logits(args.qwodel, copy, tokens[n], scratch) for n in args.lengths}
    gguf = scratch / "model.gguf"
    run(args.qwodel, "quantize", copy, "--to", "gguf:F32", "-o", gguf, "--force")
    files = {n: logits(args.qwodel, gguf, tokens[n], scratch) for n in args.lengths}
    return (max(difference(expected[n], ours[n]) for n in args.lengths),
            max(difference(ours[n], files[n]) for n in args.lengths))


def main():
    import torch
    import transformers

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", type=pathlib.Path, nargs="+")
    parser.add_argument("--qwodel", default="build/release/qwodel", type=pathlib.Path)
    parser.add_argument("--only", default="*", help="pattern of directory names")
    parser.add_argument("--keep-weights", action="store_true")
    parser.add_argument("--lengths", type=int, nargs="+", default=[24, 72])
    args = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    failed = 0
    print(f"{'model':26} {'transformers':>12} {'GGUF':>9}")
    for directory in model_directories(args.models, args.only):
        with tempfile.TemporaryDirectory() as scratch:
            try:
                errors = compare(directory, args, pathlib.Path(scratch))
            except Failed as problem:
                known = str(problem).startswith("transformers: ") or "no graph to run" in str(problem)
                failed += not known
                print(f"{directory.name:26} {problem}{'' if known else '  FAILED'}", flush=True)
                continue
        lost = directory.name in LOST
        bad = errors[0] >= BOUND or (errors[1] >= BOUND and not lost)
        failed += bad
        note = "  FAILED" if bad else "  (GGUF has no key)" if errors[1] >= BOUND else ""
        print(f"{directory.name:26} {errors[0]:12.1e} {errors[1]:9.1e}{note}", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
