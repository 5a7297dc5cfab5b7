#!/usr/bin/env python3
"""Records what llama.cpp writes for whole models: tests/golden/artifacts.json.

For every model and file type: convert_hf_to_gguf.py with its defaults, then llama_model_quantize of
the wheel llama_cpp_py_sync through the oracle's script, with and without an importance matrix.
A golden is the XXH3-64 of the whole file without importance, and of the tensors (name, type, shape,
data) with it, because quantize.imatrix.file holds a path.

    make_artifact_goldens.py --oracles DIR --converter convert_hf_to_gguf.py --shared DIR

Needs the packages of the oracle's README and xxhash.
"""

import argparse
import importlib.metadata
import json
import pathlib
import subprocess
import sys
import tempfile

import xxhash

ROOT = pathlib.Path(__file__).resolve().parents[2]
TYPES = """F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q2_K_S Q3_K_S Q3_K_M Q3_K_L Q4_K_S Q4_K_M Q5_K_S
Q5_K_M Q6_K IQ1_S IQ1_M IQ2_XXS IQ2_XS IQ2_S IQ2_M IQ3_XXS IQ3_XS IQ3_S IQ3_M IQ4_NL IQ4_XS TQ1_0 TQ2_0
MXFP4_MOE Q1_0 Q2_0""".split()
# Types the converter writes itself, without a rounding before.
DIRECT = {"F32": "f32", "F16": "f16", "BF16": "bf16"}


def tensors_digest(path):
    """XXH3-64 over "name type shape\\n" and the data of every tensor, in file order."""
    from gguf import GGUFReader
    digest = xxhash.xxh3_64()
    for tensor in GGUFReader(path).tensors:
        shape = ",".join(str(int(n)) for n in reversed(tensor.shape))
        digest.update(f"{tensor.name} {int(tensor.tensor_type)} {shape}\n".encode())
        digest.update(tensor.data.tobytes())
    return digest.hexdigest()


def file_digest(path):
    return xxhash.xxh3_64(pathlib.Path(path).read_bytes()).hexdigest()


def run(*command):
    return subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True)


def goldens_of(model, imatrix, args, scratch):
    result = {}
    converted = {}
    for name in TYPES:
        outtype = DIRECT.get(name, "auto")
        if outtype not in converted:
            converted[outtype] = scratch / f"{outtype}.gguf"
            done = run(args.converter, model, "--outtype", outtype, "--outfile", converted[outtype])
            if done.returncode:
                sys.exit(done.stderr)
        for with_imatrix in (False, True):
            out = scratch / "out.gguf"
            command = [args.oracles / "gguf_oracle.py", "quantize", converted[outtype], out, name]
            if with_imatrix and not imatrix:
                continue
            if with_imatrix:
                command += ["--imatrix", imatrix]
            done = run(*command)
            key = name + ("+imatrix" if with_imatrix else "")
            if done.returncode:
                result[key] = "refused"
            else:
                result[key] = tensors_digest(out) if with_imatrix else file_digest(out)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--oracles", type=pathlib.Path, required=True)
    parser.add_argument("--converter", type=pathlib.Path, required=True)
    parser.add_argument("--shared", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "tests/golden/artifacts.json")
    args = parser.parse_args()
    data = ROOT / "tests/data"
    models = {
        "stories260K": (ROOT / "models/stories260K", data / "stories260K-imatrix.gguf"),
        "babyllama-tok361-hf": (args.shared / "models/babyllama-tok361-hf", None),
        "gpt2-16d-tiny": (args.shared / "models/gpt2-16d-tiny", None),
    }
    document = {"recipe": __doc__.splitlines()[0],
                "llama_cpp_py_sync": importlib.metadata.version("llama_cpp_py_sync"),
                "converter": "convert_hf_to_gguf.py of llama-cpp-python 0.3.36",
                "models": {}}
    for name, (model, imatrix) in models.items():
        with tempfile.TemporaryDirectory() as scratch:
            document["models"][name] = goldens_of(model, imatrix, args, pathlib.Path(scratch))
    args.out.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
