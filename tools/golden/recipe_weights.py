"""Weights that a script and the C++ tests make alike, bit by bit: a hash of name and index, as small dyadic numbers.

value(name, i): k = the top byte of splitmix64(fnv1a64(name) + i), less 128; the value is
  k / 512        for a vector whose name says bias,
  1 + k / 256    for any other vector (norms),
  k / 128        for an embedding table,
  k / 512        for any other matrix.
Scores of attention are then of the order of 1 and no part of a layer drowns in another.
tests/models/recipe_weights.h has the same recipe.
"""
import numpy as np

VERSION = 1
EMBEDDINGS = ("embed", "wte", "wpe")


def fnv1a64(name):
    value = 0xCBF29CE484222325
    for byte in name.encode():
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value


def splitmix64(x):
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def values(name, shape):
    """The tensor as float32."""
    with np.errstate(over="ignore"):
        index = np.arange(int(np.prod(shape)), dtype=np.uint64) + np.uint64(fnv1a64(name))
        k = (splitmix64(index) >> np.uint64(56)).astype(np.float32) - 128
    if len(shape) == 1:
        k = k / 512 if "bias" in name else 1 + k / 256
    else:
        k = k / 128 if any(part in name for part in EMBEDDINGS) else k / 512
    return k.astype(np.float32).reshape(shape)


VOCABULARY = 491  # of 512: some models lose rows that their tokenizer does not reach


def tokens(count):
    """Token ids without a period shorter than the sequence."""
    return [(i * i * 37 + i * 11 + 5) % VOCABULARY for i in range(count)]
