#!/usr/bin/env python3
"""Converts every model of a folder with llama.cpp's converter and with qwodel, and compares.

    python tools/oracle/compare_conversions.py MODELS --llama-cpp LLAMA_CPP --qwodel build/release/qwodel

MODELS holds one Hugging Face directory per model (make_tiny_models.py writes such a folder). Both
sides write F32. Tensors must be the same names with the same shapes, types and bytes; metadata the same
keys with the same types and values, except for the keys that docs/metadata_differences.md lists. The
order is not compared: qwodel writes what the converter followed by llama-quantize would write, and the
goldens of models and of whole artifacts test the order of both steps. Prints one line per model; exit
status 1 if anything else differs.
"""
import argparse
import fnmatch
import json
import logging
import os
import pathlib
import re
import subprocess
import sys
import tempfile

from tiny_families import RAW_CONFIG

os.environ.setdefault("HF_HUB_OFFLINE", "1")


def class_of(directory):
    config = json.loads((directory / "config.json").read_text())
    return (config.get("architectures") or ["?"])[0]


# What stands for a pre-tokenizer whose hash the converter does not know (a WordPiece vocabulary that is
# not one of its own). Only then tokenizer.ggml.pre is not compared.
UNKNOWN_PRE = "(unknown)"


def recognize(model):
    """get_vocab_base_pre that names what it does not recognize, for WordPiece."""
    known = model.get_vocab_base_pre

    def get_vocab_base_pre(tokenizer):
        try:
            return known(tokenizer)
        except NotImplementedError:
            if model.gguf_writer.arch != "bert":
                raise
            return UNKNOWN_PRE

    return get_vocab_base_pre


def convert(directory, output):
    import gguf
    import torch
    from conversion import get_model_class
    from conversion.base import ModelBase, ModelType, get_model_architecture

    with torch.inference_mode():
        hparams = ModelBase.load_hparams(directory, False)
        name = get_model_architecture(hparams, ModelType.TEXT)
        raw = json.loads((directory / "config.json").read_text()) if name in RAW_CONFIG else None
        model = get_model_class(name)(directory, gguf.LlamaFileType.ALL_F32, output, eager=True, hparams=raw)
        model.get_vocab_base_pre = recognize(model)
        model.write()


def documented_keys():
    """Patterns in the first column of the tables, between backticks."""
    text = (pathlib.Path(__file__).parents[2] / "docs" / "metadata_differences.md").read_text()
    return [key for line in text.splitlines() if line.startswith("| `")
            for key in re.findall(r"`([^`]+)`", line.split("|")[1])]


def tensors_of(reader):
    return [(t.name, t.tensor_type.name, [int(n) for n in t.shape], t.data.tobytes()) for t in reader.tensors]


def metadata_of(reader):
    fields = [f for f in reader.fields.values() if not f.name.startswith("GGUF.")]
    return [(f.name, [t.name for t in f.types], f.contents()) for f in fields]


def compare_tensors(want, have):
    """What differs first, or nothing."""
    want, have = {t[0]: t for t in want}, {t[0]: t for t in have}
    if want.keys() != have.keys():
        return f"missing {sorted(want.keys() - have.keys())[:3]}, extra {sorted(have.keys() - want.keys())[:3]}"
    for name, a in want.items():
        for i, what in [(1, "type"), (2, "shape"), (3, "values")]:
            if a[i] != have[name][i]:
                return f"{what} of {name}" + (f": {a[i]} / {have[name][i]}" if i < 3 else "")
    return None


def compare_metadata(want, have):
    """The keys that differ."""
    a, b = {k: v for k, *v in want}, {k: v for k, *v in have}
    if a.get("tokenizer.ggml.pre", [None, None])[1] == UNKNOWN_PRE:
        del a["tokenizer.ggml.pre"], b["tokenizer.ggml.pre"]
    return [k for k in {**a, **b} if a.get(k) != b.get(k)]


def compare_model(gguf, qwodel, directory, scratch):
    want, have = scratch / "want.gguf", scratch / "have.gguf"
    try:
        convert(directory, want)
    except Exception as error:  # the converter raises all kinds; also SystemExit is a failure
        return f"converter: {type(error).__name__}: {error}", []
    run = subprocess.run([qwodel, "quantize", directory, "--to", "gguf:F32", "-o", have, "--force"],
                         capture_output=True, text=True)
    if run.returncode != 0:
        return f"qwodel: {run.stderr.strip().splitlines()[-1:]}", []
    a, b = gguf.GGUFReader(want), gguf.GGUFReader(have)
    return compare_tensors(tensors_of(a), tensors_of(b)), compare_metadata(metadata_of(a), metadata_of(b))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", type=pathlib.Path)
    parser.add_argument("--llama-cpp", required=True)
    parser.add_argument("--qwodel", default="build/release/qwodel")
    parser.add_argument("--only", default="*", help="pattern of directory names")
    args = parser.parse_args()
    sys.path[:0] = [args.llama_cpp, args.llama_cpp + "/gguf-py"]
    import gguf

    logging.disable(logging.WARNING)
    documented = documented_keys()
    failed = 0
    print(f"{'model':24} {'class':34} {'tensors equal':14} metadata differences")
    for directory in sorted(d for d in args.models.iterdir() if (d / "config.json").is_file()):
        if not fnmatch.fnmatch(directory.name, args.only):
            continue
        with tempfile.TemporaryDirectory() as scratch:
            problem, keys = compare_model(gguf, args.qwodel, directory, pathlib.Path(scratch))
        unexpected = [k for k in keys if not any(fnmatch.fnmatchcase(k, p) for p in documented)]
        failed += problem is not None or bool(unexpected)
        notes = [k if k in unexpected else k + " (documented)" for k in keys]
        print(f"{directory.name:24} {class_of(directory):34} {'yes' if problem is None else 'NO':14} "
              f"{', '.join(notes) or '-'}{'  ' + problem if problem else ''}", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
