#!/usr/bin/env python3
"""Records what other programs decode from quantized, torch and GGUF files.

Writes tests/golden/sources/CASE/: a small checkpoint, `expected.safetensors` (the decoded weights, F32)
and `expected_names.txt` (their order). Every expectation comes from a program we did not write:

  gptq-*, fp8-*     dequant_model() of llama.cpp's conversion/base.py (what convert_hf_to_gguf.py runs)
  gptq-3bit-*       dequantize_weight() of GPTQModel (llama.cpp has no 3 bits)
  awq-*             dequantize_gemm() of AutoAWQ, with scales in float32
  ct-*              compressed-tensors' own decompressors, with scales in float32
  ct-old-*          dequant_model(), which reads the layout from before compressed-tensors 0.16
  torch-*           tensors written by torch.save itself
  gguf-*            gguf-py's quantize and dequantize

Recipe (versions of the recorded files: see tests/golden/sources/VERSIONS):
  pip install torch numpy safetensors loguru pydantic transformers
  pip install --no-deps compressed-tensors==0.20.0
  pip download --no-deps --no-binary :all: gptqmodel==7.6.0 autoawq==0.2.9 llama-cpp-python==0.3.36
  (unpack the three)
  make_source_goldens.py --llama-cpp llama_cpp_python-0.3.36/vendor/llama.cpp \\
      --gptqmodel gptqmodel-7.6.0 --autoawq autoawq-0.2.9 --out tests/golden/sources
"""

import argparse
import ast
import collections
import io
import json
import os
import pathlib
import pickle
import sys
import types
import zipfile

import numpy as np
import torch
from safetensors.torch import save_file

OUT, IN = 32, 32  # small, and multiples of every packing


def words(*shape):
    return torch.randint(-(2**31), 2**31, shape, dtype=torch.int64).to(torch.int32)


def scales(*shape, dtype=torch.float16):
    return (torch.rand(shape) * 0.02 + 0.001).to(dtype)


class Writer:
    def __init__(self, root):
        self.root = root

    def case(self, name, quantization, stored, expected, names=None):
        folder = self.root / name
        folder.mkdir(parents=True, exist_ok=True)
        config = {"model_type": "llama"}
        if quantization is not None:
            config["quantization_config"] = quantization
        (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
        if stored is not None:
            save_file({k: v.contiguous() for k, v in stored.items()}, folder / "model.safetensors")
        expected = {k: v.detach().to(torch.float32).clone(memory_format=torch.contiguous_format)
                    for k, v in expected.items()}
        save_file(expected, folder / "expected.safetensors")
        (folder / "expected_names.txt").write_text("".join(n + "\n" for n in names or expected))
        return folder


def converter_decode(base, quantization, stored):
    """dequant_model() on a stand-in that has what the method reads."""
    model = types.SimpleNamespace(
        hparams={"quantization_config": quantization}, lazy=False, _is_nvfp4=False, _fp8_as_q8=False,
        _fp8_dequantized=set(), model_tensors={k: (lambda v=v: v) for k, v in sorted(stored.items())})
    base.ModelBase.dequant_model(model)
    return {k: v() for k, v in model.model_tensors.items()}


def gptq_parts(bits, group, version, order="trivial", base="model.layers.0.mlp.up_proj"):
    groups = 1 if group == -1 else IN // group
    columns = torch.arange(IN) // (IN if group == -1 else group)
    if order == "shuffled":
        columns = columns[torch.randperm(IN)]
    zeros = torch.randint(0, 2**bits - version, (groups, OUT))
    qzeros = torch.zeros(groups, OUT * bits // 32, dtype=torch.int64)
    for i in range(OUT):  # a stream of bits along each row
        for b in range(bits):
            at = i * bits + b
            qzeros[:, at // 32] |= (zeros[:, i] >> b & 1) << (at % 32)
    qzeros = torch.where(qzeros >= 2**31, qzeros - 2**32, qzeros).to(torch.int32)
    return {f"{base}.qweight": words(IN * bits // 32, OUT), f"{base}.qzeros": qzeros,
            f"{base}.scales": scales(groups, OUT), f"{base}.g_idx": columns.to(torch.int32),
            "model.norm.weight": torch.rand(IN), "lm_head.weight": torch.rand(4, IN).to(torch.float16)}


def gptq_cases(out, base):
    for bits, group, version, order in [(2, 8, 1, "trivial"), (4, 16, 1, "trivial"), (8, 16, 1, "trivial"),
                                        (4, 8, 1, "shuffled"), (4, 16, 2, "trivial"), (4, -1, 1, "trivial"),
                                        (8, 8, 2, "shuffled")]:
        quantization = {"quant_method": "gptq", "bits": bits, "group_size": group, "sym": False,
                        "desc_act": order != "trivial", "checkpoint_format": "gptq" if version == 1 else "gptq_v2"}
        stored = gptq_parts(bits, group, 1 if version == 1 else 0, order)
        expected = converter_decode(base, quantization, stored)
        out.case(f"gptq-{bits}bit-g{group}-v{version}-{order}", quantization, stored, expected)


def gptqmodel_functions(root):
    """dequantize_weight() and what it calls, cut out of the package's source (its import wants CUDA tools)."""
    source = (root / "gptqmodel/nn_modules/qlinear/__init__.py").read_text()
    wanted = {"dequantize_weight", "_dequantize_from_codes", "_init_wf_unsqueeze_buffers",
              "_torch_right_shift", "_torch_left_shift"}
    functions = [node for node in ast.walk(ast.parse(source))
                 if isinstance(node, ast.FunctionDef) and node.name in wanted]
    for function in functions:
        function.decorator_list = []
    module = ast.Module(body=functions, type_ignores=[])
    namespace = {"t": torch, "torch": torch}
    exec(compile(ast.fix_missing_locations(module), "gptqmodel", "exec"), namespace)
    return namespace


def gptq_3bit_cases(out, functions):
    for group, order in [(16, "trivial"), (8, "shuffled")]:
        stored = gptq_parts(3, group, 0, order)
        base = "model.layers.0.mlp.up_proj"

        class Layer:
            bits, maxq, pack_factor, pack_dtype_bits, planar = 3, 7, 32, 32, False
            dequant_dtype, in_features, enable_wf_unsqueeze = torch.int8, IN, True
            qweight, qzeros = stored[base + ".qweight"], stored[base + ".qzeros"]
            scales, g_idx = stored[base + ".scales"].float(), stored[base + ".g_idx"]
            _buffers = {}

            def _wf_device(self):
                return "cpu"

            def register_buffer(self, name, value, persistent=False):
                setattr(self, name, value)

        for name in ("dequantize_weight", "_dequantize_from_codes", "_init_wf_unsqueeze_buffers"):
            setattr(Layer, name, functions[name])
        expected = {k: v for k, v in sorted(stored.items()) if not k.startswith(base)}
        expected[base + ".weight"] = Layer().dequantize_weight().T
        quantization = {"quant_method": "gptq", "bits": 3, "group_size": group, "checkpoint_format": "gptq_v2",
                        "desc_act": order != "trivial"}
        out.case(f"gptq-3bit-g{group}-v2-{order}", quantization, stored, expected)


def awq_cases(out, root):
    namespace = {}
    exec((root / "awq/utils/packing_utils.py").read_text(), namespace)
    for group in (16, 32):
        base = "model.layers.0.self_attn.q_proj"
        stored = {f"{base}.qweight": words(IN, OUT // 8), f"{base}.qzeros": words(IN // group, OUT // 8),
                  f"{base}.scales": scales(IN // group, OUT), f"{base}.bias": torch.rand(OUT).half(),
                  "model.norm.weight": torch.rand(IN)}
        decoded = namespace["dequantize_gemm"](stored[f"{base}.qweight"], stored[f"{base}.qzeros"],
                                               stored[f"{base}.scales"].float(), 4, group)
        quantization = {"quant_method": "awq", "bits": 4, "group_size": group, "zero_point": True, "version": "gemm"}
        expected = {f"{base}.bias": stored[f"{base}.bias"], "model.norm.weight": stored["model.norm.weight"],
                    f"{base}.weight": decoded.T}
        out.case(f"awq-g{group}", quantization, stored, expected)


def ct_scheme(**weights):
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    return QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**weights))


def ct_config(kind, weights):
    return {"quant_method": "compressed-tensors", "format": kind, "ignore": ["lm_head"],
            "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}}}


def ct_pack_cases(out):
    from compressed_tensors.compressors.pack_quantized import PackedQuantizationCompressor
    base = "model.layers.0.mlp.up_proj"
    for bits, group, symmetric in [(2, 16, True), (3, 16, True), (4, 16, True), (5, 8, True), (6, 16, True),
                                   (7, 16, True), (8, 16, True), (3, 8, False), (4, 16, False), (8, None, False),
                                   (4, None, True), (5, None, False)]:
        weights = {"num_bits": bits, "type": "int", "symmetric": symmetric,
                   "strategy": "channel" if group is None else "group", "group_size": group}
        groups = 1 if group is None else IN // group
        local = {"weight": torch.randn(OUT, IN) * 0.02, "weight_scale": scales(OUT, groups, dtype=torch.bfloat16)}
        if not symmetric:
            low = -(2 ** (bits - 1))
            local["weight_zero_point"] = torch.randint(low, -low, (OUT, groups)).to(torch.int8)
        scheme = ct_scheme(**weights)
        packed = PackedQuantizationCompressor.compress(local, scheme)
        decode = dict(packed, weight_scale=packed["weight_scale"].float())
        decoded = PackedQuantizationCompressor.decompress(decode, scheme)["weight"]
        stored = {f"{base}.{k}": v for k, v in packed.items() if v is not None}
        stored["model.norm.weight"] = torch.rand(IN)
        expected = {"model.norm.weight": stored["model.norm.weight"], f"{base}.weight": decoded}
        name = f"ct-pack-{bits}bit-g{group or 'channel'}-{'sym' if symmetric else 'asym'}"
        out.case(name, ct_config("pack-quantized", weights), stored, expected)


def ct_old_cases(out, base):
    name = "model.layers.0.mlp.up_proj"
    for bits, symmetric in [(3, True), (6, False)]:
        per_word = 32 // bits
        weights = {"num_bits": bits, "type": "int", "symmetric": symmetric, "strategy": "group", "group_size": 16}
        stored = {f"{name}.weight_packed": words(OUT, -(-IN // per_word)) & (2 ** (bits * per_word) - 1),
                  f"{name}.weight_scale": scales(OUT, IN // 16, dtype=torch.bfloat16),
                  f"{name}.weight_shape": torch.tensor([OUT, IN])}
        if not symmetric:
            stored[f"{name}.weight_zero_point"] = words(-(-OUT // per_word), IN // 16)
        quantization = ct_config("pack-quantized", weights)
        out.case(f"ct-old-{bits}bit-{'sym' if symmetric else 'asym'}", quantization, stored,
                 converter_decode(base, quantization, stored))


def ct_unpacked_cases(out):
    from compressed_tensors.compressors.naive_quantized import NaiveQuantizationCompressor
    base = "model.layers.0.mlp.up_proj"
    for kind, weights, shape in [
        ("int-quantized", {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel"}, (OUT, 1)),
        ("int-quantized", {"num_bits": 8, "type": "int", "symmetric": False, "strategy": "group", "group_size": 8},
         (OUT, IN // 8)),
        ("naive-quantized", {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "tensor"}, (1,)),
        ("float-quantized", {"num_bits": 8, "type": "float", "symmetric": True, "strategy": "tensor"}, (1,)),
        ("float-quantized", {"num_bits": 8, "type": "float", "symmetric": True, "strategy": "channel"}, (OUT, 1)),
        ("float-quantized", {"num_bits": 8, "type": "float", "symmetric": True, "strategy": "block",
                             "block_structure": [16, 8]}, (OUT // 16, IN // 8)),
    ]:
        scheme = ct_scheme(**weights)
        local = {"weight": torch.randn(OUT, IN) * 0.02, "weight_scale": scales(*shape, dtype=torch.float32)}
        if not weights["symmetric"]:
            local["weight_zero_point"] = torch.randint(-128, 128, shape).to(torch.int8)
        stored = NaiveQuantizationCompressor.compress(local, scheme)
        decoded = NaiveQuantizationCompressor.decompress(stored, scheme)["weight"]
        parts = {f"{base}.{k}": v for k, v in stored.items() if v is not None}
        parts[f"{base}.input_scale"] = torch.ones(1)
        out.case(f"ct-{kind}-{weights['strategy']}", ct_config(kind, weights), parts, {f"{base}.weight": decoded})


def fp8_cases(out, base):
    name = "model.layers.0.self_attn.q_proj"
    rows, cols = 20, 40  # blocks of 16 do not divide them
    for kind, block, scale_name, shape, dtype in [
        ("blocks", [16, 16], ".weight_scale_inv", (2, 3), torch.float8_e4m3fn),
        ("blocks-e5m2", [16, 16], ".weight_scale_inv", (2, 3), torch.float8_e5m2),
        ("tensor", None, ".weight_scale_inv", (), torch.float8_e4m3fn),
        ("mistral", None, ".qscale_weight", (1,), torch.float8_e4m3fn),
    ]:
        quantization = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": block}
        stored = {f"{name}.weight": torch.randn(rows, cols).to(dtype),
                  f"{name}{scale_name}": torch.rand(shape) * 0.01 + 0.001,
                  "model.embed_tokens.weight": torch.randn(3, 8).to(torch.bfloat16)}
        if kind == "mistral":
            stored[f"{name}.qscale_act"] = torch.ones(1)
        out.case(f"fp8-{kind}", quantization, stored, converter_decode(base, quantization, stored))
    quantization = {"quant_method": "fp8", "weight_block_size": [16, 16]}
    stored = {f"{name}.weight": torch.randn(3, rows, cols).to(torch.float8_e4m3fn),  # experts
              f"{name}.weight_scale_inv": torch.rand(3, 2, 3)}
    out.case("fp8-experts", quantization, stored, converter_decode(base, quantization, stored))


class Runs:
    """Pickles as a call of a harmless function; a reader that executes would create the file."""

    def __reduce__(self):
        return (os.mkdir, ("/tmp/qwodel_pickle_was_executed",))


def torch_cases(out):
    base = torch.randn(6, 10)
    shared = torch.arange(12, dtype=torch.float32)
    tensors = collections.OrderedDict(
        f32=torch.randn(3, 4), f16=torch.randn(5).half(), bf16=torch.randn(2, 3, 2).bfloat16(),
        f64=torch.randn(3).double(), i64=torch.tensor([-5, 7]), i32=torch.tensor([[1], [-2]], dtype=torch.int32),
        i16=torch.tensor([-300], dtype=torch.int16), i8=torch.tensor([-3], dtype=torch.int8),
        u8=torch.tensor([200], dtype=torch.uint8), boolean=torch.tensor([True, False]),
        scalar=torch.tensor(2.5), empty=torch.empty(0, 7), e4m3=torch.randn(9).to(torch.float8_e4m3fn),
        e5m2=torch.randn(9).to(torch.float8_e5m2), u16=torch.tensor([65535], dtype=torch.uint16),
        transposed=base.t(), permuted=torch.randn(2, 3, 4).permute(2, 0, 1), sliced=base[1:4, 2:9:3],
        offset=base[2], shared_a=shared[:8].view(2, 4), shared_b=shared[4:], expanded=torch.ones(1, 1).expand(1, 4),
        parameter=torch.nn.Parameter(torch.randn(2, 2)), ones_dim=torch.randn(4, 1, 3)[:, :, :])
    folder = out.case("torch-types", None, None, tensors)
    torch.save(tensors, folder / "pytorch_model.bin")

    torch.manual_seed(1)
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2))
    folder = out.case("torch-state-dict", None, None, module.state_dict())
    torch.save(module.state_dict(), folder / "pytorch_model.bin")
    folder = out.case("torch-nested", None, None, module.state_dict())
    torch.save({"epoch": 3, "lr": 0.5, "state_dict": module.state_dict(), "note": "x"}, folder / "pytorch_model.bin")
    folder = out.case("torch-protocol4", None, None, module.state_dict())
    torch.save(dict(module.state_dict()), folder / "pytorch_model.bin", pickle_protocol=4)

    first, second = {"a.weight": torch.ones(2)}, {"b.weight": torch.zeros(3)}
    folder = out.case("torch-sharded", None, None, {**first, **second})
    torch.save(first, folder / "pytorch_model-00001-of-00002.bin")
    torch.save(second, folder / "pytorch_model-00002-of-00002.bin")
    index = {"metadata": {}, "weight_map": {"a.weight": "pytorch_model-00001-of-00002.bin",
                                            "b.weight": "pytorch_model-00002-of-00002.bin"}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))

    bad = out.root / "torch-bad"
    bad.mkdir(exist_ok=True)
    torch.save({"a": Runs()}, bad / "code.bin")
    torch.save({"a": torch.ones(2)}, bad / "legacy.bin", _use_new_zipfile_serialization=False)
    torch.save(module, bad / "module.bin")
    torch.save({"a": 1}, bad / "number.bin")
    torch.save([torch.ones(1)], bad / "list.bin")
    torch.save({"a": torch.ones(3).to_sparse()}, bad / "sparse.bin")
    torch.save({"a": torch.complex(torch.ones(2), torch.ones(2))}, bad / "complex.bin")
    torch.save({"a": torch.ones(1).expand(1000, 1000)}, bad / "expanded.bin")
    good = io.BytesIO()
    torch.save({"a": torch.ones(2)}, good)
    with zipfile.ZipFile(good) as source:
        entries = [(i, source.read(i)) for i in source.infolist()]
    with zipfile.ZipFile(bad / "compressed.bin", "w", zipfile.ZIP_DEFLATED) as archive:
        for entry, data in entries:
            archive.writestr(entry.filename, data)
        archive.writestr("archive/data/1", b"\0" * 10_000_000)
    with zipfile.ZipFile(bad / "big_endian.bin", "w") as archive:
        for entry, data in entries:
            archive.writestr(entry.filename, b"big" if entry.filename.endswith("byteorder") else data)
    with zipfile.ZipFile(bad / "no_storage.bin", "w") as archive:
        for entry, data in entries:
            if not entry.filename.endswith("data/0"):
                archive.writestr(entry.filename, data)
    with zipfile.ZipFile(bad / "short_storage.bin", "w") as archive:
        for entry, data in entries:
            archive.writestr(entry.filename, data[:4] if entry.filename.endswith("data/0") else data)


def gguf_case(out, gguf):
    folder = out.root / "gguf-blocks"
    folder.mkdir(exist_ok=True)
    types_ = gguf.GGMLQuantizationType
    writer = gguf.GGUFWriter(folder / "model.gguf", "llama")
    writer.add_uint32("llama.block_count", 1)
    writer.add_array("tokenizer.ggml.tokens", ["a", "b"])
    rng = np.random.default_rng(7)
    expected = {}
    for name, kind, shape in [("blk.0.q8_0", types_.Q8_0, (3, 64)),
                              ("blk.0.tq2_0", types_.TQ2_0, (2, 512)), ("blk.0.bf16", types_.BF16, (2, 5)),
                              ("blk.0.f32", types_.F32, (2, 2, 3)), ("blk.0.f16", types_.F16, (7,))]:
        data = gguf.quants.quantize(rng.standard_normal(shape, dtype=np.float32), kind)
        expected[name] = torch.from_numpy(gguf.quants.dequantize(data, kind).reshape(shape).copy())
        writer.add_tensor(name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    save_file({k: v.float().contiguous() for k, v in expected.items()}, folder / "expected.safetensors")
    (folder / "expected_names.txt").write_text("".join(n + "\n" for n in expected))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option in ("--llama-cpp", "--gptqmodel", "--autoawq", "--out"):
        parser.add_argument(option, type=pathlib.Path, required=True)
    args = parser.parse_args()
    sys.path[:0] = [str(args.llama_cpp), str(args.llama_cpp / "gguf-py")]
    import compressed_tensors
    import gguf
    import safetensors
    from conversion import base

    torch.manual_seed(0)
    args.out.mkdir(parents=True, exist_ok=True)
    out = Writer(args.out)
    gptq_cases(out, base)
    gptq_3bit_cases(out, gptqmodel_functions(args.gptqmodel))
    awq_cases(out, args.autoawq)
    ct_pack_cases(out)
    ct_old_cases(out, base)
    ct_unpacked_cases(out)
    fp8_cases(out, base)
    torch_cases(out)
    gguf_case(out, gguf)
    versions = {"torch": torch.__version__, "numpy": np.__version__, "safetensors": safetensors.__version__,
                "compressed-tensors": compressed_tensors.__version__, "gptqmodel": args.gptqmodel.name,
                "autoawq": args.autoawq.name, "llama.cpp": args.llama_cpp.parent.parent.name,
                "pickle": pickle.format_version}
    (args.out / "VERSIONS").write_text("".join(f"{k} {v}\n" for k, v in versions.items()))


if __name__ == "__main__":
    main()
