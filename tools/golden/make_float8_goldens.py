#!/usr/bin/env python3
"""Writes tests/golden/float8.json: what torch makes of every half when it rounds to 8-bit floats.

    python tools/golden/make_float8_goldens.py

All 65536 halves but NaNs, as single precision numbers in the order of their bits, limited to +-448 (as
compressed-tensors limits them) and converted to torch.float8_e4m3fn; stored is the XXH3-64 of the bytes.
"""
import json
import pathlib

import torch
import xxhash

halves = torch.arange(65536, dtype=torch.int32).to(torch.int16).view(torch.float16).float()
values = halves[~halves.isnan()].clamp(-448, 448)
codes = values.to(torch.float8_e4m3fn).view(torch.uint8)
golden = {"made_with": f"torch {torch.__version__}", "count": len(codes),
          "xxh3_64": f"{xxhash.xxh3_64_intdigest(codes.numpy().tobytes()):016x}"}
path = pathlib.Path(__file__).resolve().parents[2] / "tests/golden/float8.json"
path.write_text(json.dumps(golden, indent=2) + "\n")
