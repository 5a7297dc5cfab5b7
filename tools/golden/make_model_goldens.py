#!/usr/bin/env python3
"""Writes tests/golden/models/CASE/: what llama.cpp's converter makes of a checkpoint's tensors and config.

    python tools/golden/make_model_goldens.py --llama-cpp LLAMA_CPP [-o tests/golden/models] [--only PATTERN]

Per case of tools/oracle/make_tiny_models.py: config.json, and golden.json with
  checkpoint  [name, shape] of every tensor. Value i of the tensor at place k of the list (row-major) is
              (i + 7 k) mod 251, as f32: the same in this script and in the test.
  tensors     [GGUF name, shape outermost first, kept F32 in an F16 file, XXH3-64 of the f32 data]
  metadata    [key, type, value] in file order, without general.* (but for architecture, file_type,
              quantization_version) and without what a tokenizer adds
The converter's classes run as convert_hf_to_gguf.py runs them, with f32 and f16, except that
set_vocab does nothing. Needs libxxhash, transformers, gguf-py of the llama.cpp tree.
"""
import argparse
import ctypes
import ctypes.util
import fnmatch
import json
import logging
import os
import pathlib
import struct
import sys
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "oracle"))
import make_tiny_models as tiny  # noqa: E402

KEPT_GENERAL = ("general.architecture", "general.file_type", "general.quantization_version")


def xxh3_64(data):
    library = ctypes.CDLL(ctypes.util.find_library("xxhash") or "libxxhash.so.0")
    library.XXH3_64bits.restype = ctypes.c_uint64
    library.XXH3_64bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    return f"{library.XXH3_64bits(data, len(data)):016x}"


def write_checkpoint(directory, config, shapes, extra):
    """Returns the tensor names in the order the converter reads them."""
    import numpy as np
    from safetensors.numpy import save_file

    names = sorted(shapes)
    tensors = {}
    for k, name in enumerate(names):
        count = int(np.prod(shapes[name])) if shapes[name] else 1
        values = (np.arange(count, dtype=np.int64) + 7 * k) % 251
        tensors[name] = values.astype(np.float32).reshape(shapes[name])
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    (directory / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    for name, text in extra.items():
        (directory / name).write_text(text)
    return names


def convert(directory, output, ftype):
    import gguf
    import torch
    from conversion import get_model_class
    from conversion.base import ModelBase, ModelType, get_model_architecture

    with torch.inference_mode():
        hparams = ModelBase.load_hparams(directory, False)
        name = get_model_architecture(hparams, ModelType.TEXT)
        raw = json.loads((directory / "config.json").read_text()) if name in tiny.tiny_families.RAW_CONFIG else None
        model = get_model_class(name)(directory, getattr(gguf.LlamaFileType, ftype), output, eager=True, hparams=raw)
        model.set_vocab = lambda: None
        model.write()
    return gguf.GGUFReader(output)


def value_of(field):
    value = field.contents()
    if field.types[0].name == "FLOAT32":
        return struct.pack("<f", value).hex()  # exact
    return value


def golden_of(case, directory):
    config, shapes, _ = tiny.describe(case)
    extra = {}
    if "gemma3" in case:  # rows of the embedding beyond the vocabulary are cut
        vocab = {f"t{i}": i for i in range(500)}
        extra["tokenizer.json"] = json.dumps({"model": {"vocab": vocab}, "added_tokens": [{"id": 500}]}) + "\n"
    with tempfile.TemporaryDirectory() as scratch:
        source = pathlib.Path(scratch) / case
        source.mkdir()
        names = write_checkpoint(source, config, shapes, extra)
        f32 = convert(source, pathlib.Path(scratch) / "f32.gguf", "ALL_F32")
        f16 = convert(source, pathlib.Path(scratch) / "f16.gguf", "MOSTLY_F16")
    kept = [t.tensor_type.name == "F32" for t in f16.tensors]
    tensors = [[t.name, [int(n) for n in reversed(t.shape)], k, xxh3_64(t.data.tobytes())]
               for t, k in zip(f32.tensors, kept)]
    metadata = [[f.name, "/".join(t.name for t in f.types), value_of(f)] for f in f32.fields.values()
                if not f.name.startswith("GGUF.")
                and (not f.name.startswith("general.") or f.name in KEPT_GENERAL)]
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    for name, text in extra.items():
        (directory / name).write_text(text)
    return {"checkpoint": [[n, list(shapes[n])] for n in names], "tensors": tensors, "metadata": metadata}


def write_json(path, golden):
    """One list entry per line."""
    parts = []
    for key, rows in golden.items():
        lines = ",\n  ".join(json.dumps(row) for row in rows)
        parts.append(f'"{key}": [\n  {lines}]')
    path.write_text("{" + ",\n".join(parts) + "}\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--llama-cpp", required=True)
    parser.add_argument("-o", "--output", type=pathlib.Path,
                        default=pathlib.Path(__file__).parents[2] / "tests" / "golden" / "models")
    parser.add_argument("--only", default="*")
    args = parser.parse_args()
    sys.path[:0] = [args.llama_cpp, args.llama_cpp + "/gguf-py"]
    logging.disable(logging.WARNING)
    failed = 0
    for case in tiny.case_names():
        if not fnmatch.fnmatch(case, args.only):
            continue
        try:
            write_json_path = args.output / case
            write_json(write_json_path / "golden.json", golden_of(case, write_json_path))
            print(case, flush=True)
        except Exception as error:  # the converter raises all kinds
            failed += 1
            print(f"{case}: {type(error).__name__}: {error}", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
