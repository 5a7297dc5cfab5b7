"""Write tests/golden/coreml_compression.json: what coremltools' weight compression gives for known weights.

    python make_coreml_goldens.py

Needs coremltools 9.0, numpy, libxxhash, and scikit-learn 1.5.1, which coremltools' k-means falls back to for slabs of less
than 10,000 values. The weights are halves: two sets made by a generator, defined here and in tests/codecs/coreml_inputs.h, and a piece of
a model, tests/golden/smollm2_rows.f16 (rows 0 ... 31 of model.layers.10.mlp.up_proj of SmolLM2-135M, Apache-2.0).
Linear modes: hashes of codes, scales and offsets, which ours must equal. Palettes: squared errors, which ours must not pass.
"""

import ctypes
import ctypes.util
import json
import logging
from importlib.metadata import version
from pathlib import Path

import numpy as np
from splitmix import SplitMix

logging.disable(logging.WARNING)

import coremltools as ct  # noqa: E402
import coremltools.optimize.coreml as cto  # noqa: E402
from coremltools.converters.mil.frontend.milproto import load as milproto  # noqa: E402
from coremltools.converters.mil.mil import Builder as mb  # noqa: E402
from coremltools.converters.mil.mil import types  # noqa: E402

GOLDEN = Path(__file__).resolve().parents[2] / "tests" / "golden"
ROWS, COLS = 64, 256


def bell_weights(seed):
    rng = SplitMix(seed)
    return np.array([rng.bell() * 2.0**-21 for _ in range(ROWS * COLS)]).reshape(ROWS, COLS)


def odd_weights():
    """Rows of every size: all zero, nothing but positive, one outlier, subnormal, large."""
    weights = bell_weights(2)
    weights[0] = 0
    weights[1] = np.abs(weights[1])
    weights[2] = -np.abs(weights[2])
    weights[3, 7] = 3
    weights[4] *= 2.0**-18
    weights[5] *= 2.0**-22
    weights[6] *= 4096
    weights[7, 32:64] = 0
    weights[8, 1:] = 0
    return weights


INPUTS = {
    "bell": bell_weights(1).astype(np.float16),
    "odd": odd_weights().astype(np.float16),
    "smollm2": np.fromfile(GOLDEN / "smollm2_rows.f16", np.float16).reshape(32, 576),
}


def compressed_op(weight, compress):
    """The constexpr operations that coremltools puts in the place of a linear's weight, by type."""

    @mb.program(input_specs=[mb.TensorSpec((1, weight.shape[1]), types.fp16)], opset_version=ct.target.iOS18)
    def program(x):
        return mb.linear(x=x, weight=mb.const(val=weight, name="w"))

    model = ct.convert(program, minimum_deployment_target=ct.target.iOS18, compute_precision=ct.precision.FLOAT32,
                       skip_model_load=True)
    model = compress(model)
    program = milproto.load(model.get_spec(), model.get_spec().specificationVersion, file_weights_dir=model.weights_dir)
    found = {o.op_type: o for o in program.functions["main"].operations if o.op_type.startswith("constexpr_")}
    assert found, "left uncompressed"
    return found


XXH3 = ctypes.CDLL(ctypes.util.find_library("xxhash")).XXH3_64bits
XXH3.restype, XXH3.argtypes = ctypes.c_uint64, [ctypes.c_char_p, ctypes.c_size_t]


def digest(values):
    data = np.ascontiguousarray(values).tobytes()
    return f"{XXH3(data, len(data)):016x}"


def linear_row(name, weight, mode, dtype, granularity, block):
    config = cto.OpLinearQuantizerConfig(mode=mode, dtype=dtype, granularity=granularity, block_size=block, weight_threshold=0)
    op = compressed_op(weight, lambda m: cto.linear_quantize_weights(m, cto.OptimizationConfig(global_config=config)))
    op = op["constexpr_blockwise_shift_scale"]
    offset = op.offset.val if op.offset is not None else None
    return {
        "input": name, "mode": mode, "dtype": dtype, "granularity": granularity, "block": block,
        "codes": digest(op.data.val.astype(np.uint8)),
        "scales": digest(op.scale.val.astype(np.float16)),
        "offsets": digest(offset.astype(np.uint8)) if offset is not None else None,
    }


def palette_row(name, weight, bits, group, scaled):
    settings = {} if group == 0 else {"granularity": "per_grouped_channel", "group_size": group}
    config = cto.OpPalettizerConfig(nbits=bits, enable_per_channel_scale=scaled, weight_threshold=0, **settings)
    ops = compressed_op(weight.copy(), lambda m: cto.palettize_weights(m, cto.OptimizationConfig(global_config=config)))
    op = ops["constexpr_lut_to_dense"]
    if "constexpr_blockwise_shift_scale" in ops:
        scale = ops["constexpr_blockwise_shift_scale"]
        lut = type(scale).decompress(scale.data.val, scale.scale.val, None)
        row_of = (np.arange(weight.shape[0]) * lut.shape[0] // weight.shape[0])[:, None]
        dense = lut[row_of, np.arange(weight.shape[1])[None, :] % lut.shape[1], op.indices.val, 0]
    else:
        dense = type(op).decompress(op.indices.val, op.lut.val, None)
    return {"input": name, "bits": bits, "group_rows": group, "scaled": scaled,
            "error": float(((dense.astype(np.float64) - weight.astype(np.float64))**2).sum())}


def main():
    linear, palettes = [], []
    for name, weight in INPUTS.items():
        for mode in ("linear_symmetric", "linear"):
            for dtype in ("int8", "uint8", "int4", "uint4"):
                for granularity, block in (("per_tensor", 0), ("per_channel", 0), ("per_block", 32), ("per_block", 64)):
                    linear.append(linear_row(name, weight, mode, dtype, granularity, block))
        if name == "odd":
            continue
        for bits in (1, 2, 3, 4, 6, 8):
            for group in (0, 16, 32):
                palettes.append(palette_row(name, weight, bits, group, False))
            palettes.append(palette_row(name, weight, bits, 0, True))
    made = {"made_by": {p: version(p) for p in ("coremltools", "numpy", "scikit-learn")},
            "inputs": {name: digest(weight) for name, weight in INPUTS.items()},
            "linear": linear, "palettes": palettes}
    rows = json.dumps(made).replace('{"input"', '\n{"input"')
    (GOLDEN / "coreml_compression.json").write_text(rows + "\n")


if __name__ == "__main__":
    main()
