"""Write tests/golden/codecs.json: what llama.cpp encodes and decodes for known inputs.

    python make_codec_goldens.py FOLDER_OF_libllama.py [TYPE ...]

The folder holds `libllama.py`, which loads the prebuilt llama.cpp of the package llama_cpp_py_sync.
Needs that package, numpy, and libxxhash. With TYPEs only these are recomputed, and the other rows of
the existing file are kept. Inputs are integers times powers of two from a 64-bit generator; they are
defined here and in tests/codecs/codec_inputs.h, and the file holds a hash of each so that a
difference between the two shows as such.
"""

import ctypes
import ctypes.util
import json
import math
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
from splitmix import SplitMix

ROWS, COLS = 4, 1024
TARGET = Path(__file__).resolve().parents[2] / "tests" / "golden" / "codecs.json"

WEIGHTS = ("positive", "sparse", "rare")

TYPES = ("F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ2_XXS IQ2_XS IQ2_S IQ3_XXS "
         "IQ3_S IQ1_S IQ1_M IQ4_NL IQ4_XS TQ1_0 TQ2_0 MXFP4 NVFP4 Q1_0 Q2_0").split()
NEEDS_IMPORTANCE = {"IQ2_XXS", "IQ2_XS", "IQ1_S"}
# The reference stops the process on some of the grid types where scales overflow half or weights vanish.
ROBUST_TYPES = {name for name in TYPES if not name.startswith(("IQ1", "IQ2", "IQ3", "NVFP4", "MXFP4"))}


def gaussian(rng, row, col):
    return math.ldexp(rng.bell(), -21)


def heavy_tail(rng, row, col):
    scale = rng.doublings(6)
    return math.ldexp(rng.bell(), scale - 22)


def lattice(rng, row, col):
    return math.ldexp(rng.below(4 + 5 * row) - 2 - 2 * row, -5)


def positive(rng, row, col):
    return math.ldexp(abs(rng.bell()) + row * 20000, -20)


def tiny(rng, row, col):
    return math.ldexp(rng.bell(), (-52, -66, -90, -155)[row])


def huge(rng, row, col):
    return math.ldexp(rng.bell(), (4, 30, 90, 109)[row])


def uneven(rng, row, col):
    """Groups of 8, 16, 32, 64 values with scales of their own, some of them zero (of either sign)."""
    group = col // (8 << row)
    halvings = SplitMix(1000 * row + group).below(20)
    value = rng.bell()
    if halvings >= 16:
        return -0.0 if value < 0 and halvings >= 18 else 0.0
    return math.ldexp(value, -21 - halvings)


def special(rng, row, col):
    """A zero row, lone outliers, a positive and a negative constant with steps of 128 values."""
    if row == 0:
        return 0.0
    if row == 1:
        outlier = rng.below(40) == 0
        return math.ldexp(rng.bell(), -19) if outlier else 0.0
    level = 1 + col // 128
    return math.ldexp(level if row == 2 else -level, -6)


def ties(rng, row, col):
    """Plus and minus the same maximum in every block, halves between: rounding and order show."""
    return math.ldexp((rng.below(2) * 2 - 1) * rng.below(17), -4 - row)


def bits(rng, row, col):
    """Any sign, exponent and mantissa of bfloat16 below 2^14: sizes 40 decades apart in one block."""
    sign = rng.below(2) * 2 - 1
    mantissa = 128 + rng.below(128)
    return math.ldexp(sign * mantissa, rng.below(140) - 133)


def zeros(rng, row, col):
    """Zeros of both signs, in two rows with lone values of one sign."""
    zero = -0.0 if rng.below(2) == 1 else 0.0
    return math.ldexp(1 if row == 2 else -1, -5) if row >= 2 and col % 100 == 99 else zero


INPUTS = {function.__name__: function for function in
          (gaussian, heavy_tail, lattice, positive, tiny, huge, uneven, special, ties, bits, zeros)}


def make_rows(name):
    rng = SplitMix(1 + list(INPUTS).index(name))
    values = [INPUTS[name](rng, row, col) for row in range(ROWS) for col in range(COLS)]
    return np.array(values, np.float64).astype(np.float32).reshape(ROWS, COLS)


def make_importance(name):
    """Positive weights of a wide range; `sparse` has zeros, also whole groups of 16 and 256 of them;
    `rare` has one weight in forty."""
    rng = SplitMix(77)
    weights = []
    for col in range(COLS):
        scale = rng.doublings(10)
        weight = math.ldexp(1 + rng.below(65535), scale - 16)
        drop = rng.below(3) == 0
        if name == "sparse" and (drop or col // 16 % 5 == 3 or col // 256 == 2):
            weight = 0.0
        if name == "rare" and (rng.below(40) != 0 or col < 256):
            weight = 0.0
        weights.append(weight)
    return np.array(weights, np.float64).astype(np.float32)


class Xxh3:
    def __init__(self):
        self.function = ctypes.CDLL(ctypes.util.find_library("xxhash")).XXH3_64bits
        self.function.restype = ctypes.c_uint64
        self.function.argtypes = [ctypes.c_void_p, ctypes.c_size_t]

    def __call__(self, array):
        array = np.ascontiguousarray(array)
        return f"{self.function(array.ctypes.data, array.nbytes):016x}"


class Reference:
    def __init__(self, folder):
        sys.path.insert(0, folder)
        from libllama import load
        self.ffi, _, self.ggml = load()
        relements = self.ffi.typeof("enum ggml_type").relements
        self.ids = {name[len("GGML_TYPE_"):]: value for name, value in relements.items()}

    def encode(self, type_name, rows, importance):
        traits = self.ggml.ggml_get_type_traits(self.ids[type_name])
        out = np.zeros(rows.size // traits.blck_size * traits.type_size, np.uint8)
        weights = self.ffi.NULL if importance is None else self.ffi.from_buffer("float *", importance)
        self.ggml.ggml_quantize_chunk(self.ids[type_name], self.ffi.from_buffer("float *", rows),
                                      self.ffi.from_buffer("char *", out), 0, *rows.shape, weights)
        return out

    def decode(self, type_name, data, count):
        if type_name == "F32":
            return data.view(np.float32)
        traits = self.ggml.ggml_get_type_traits(self.ids[type_name])
        out = np.empty(count, np.float32)
        traits.to_float(self.ffi.from_buffer("char *", data), self.ffi.from_buffer("float *", out), count)
        return out


def rows_of_type(reference, type_name, inputs, weights, xxh3):
    result = {}
    for input_name, rows in inputs.items():
        for weight_name, importance in weights.items():
            if "huge" == input_name or "rare" == weight_name:
                if type_name not in ROBUST_TYPES:
                    continue
            if importance is None and type_name in NEEDS_IMPORTANCE:
                continue
            print(type_name, input_name, weight_name, file=sys.stderr)
            data = reference.encode(type_name, rows, importance)
            decoded = reference.decode(type_name, data, rows.size)
            result[f"{input_name}/{weight_name}"] = f"{xxh3(data)} {xxh3(decoded)}"
    return result


def main():
    reference, xxh3 = Reference(sys.argv[1]), Xxh3()
    inputs = {name: make_rows(name) for name in INPUTS}
    weights = {"none": None} | {name: make_importance(name) for name in WEIGHTS}
    chosen = sys.argv[2:] or TYPES
    types = {}
    if TARGET.exists():
        types = json.loads(TARGET.read_text())["types"]
    for type_name in chosen:
        types[type_name] = rows_of_type(reference, type_name, inputs, weights, xxh3)
    document = {
        "reference": f"llama.cpp b11739 (llama_cpp_py_sync {version('llama_cpp_py_sync')}), "
                     "ggml_quantize_chunk and to_float",
        "recipe": "tools/golden/make_codec_goldens.py FOLDER_OF_libllama.py",
        "meaning": "type: input/importance: XXH3-64 of the encoded bytes, of the decoded floats",
        "rows": ROWS,
        "cols": COLS,
        "inputs": {name: xxh3(rows) for name, rows in inputs.items()},
        "importance": {name: xxh3(row) for name, row in weights.items() if row is not None},
        "types": {name: types[name] for name in TYPES if name in types},
    }
    TARGET.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
