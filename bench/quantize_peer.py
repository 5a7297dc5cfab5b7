#!/usr/bin/env python3
"""GPTQ and AWQ by gptqmodel 7.6.0, on the tokens that `qwodel quantize --calibration TEXT` takes.

    quantize_peer.py MODEL TEXT OUT [--method gptq] [--samples 32] [--seq-len 512] [--bits 4] [--group-size 128]

Prints wall and processor time of the whole process and its peak memory; OUT is the directory written.
Needs torch 2.13.0 (CPU), transformers 5.23.0 and GPTQMODEL_CPU_WORKERS=2 on a machine with two cores.
"""
import argparse
import os
import pathlib
import resource
import tempfile
import time

START = time.time()
FOLDER = pathlib.Path.cwd()
os.chdir(tempfile.mkdtemp())  # gptqmodel leaves its logs in the current folder
os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")

import torch
from gptqmodel import BACKEND, GPTQModel, QuantizeConfig
from gptqmodel.quantization import FORMAT, METHOD
from transformers import AutoTokenizer


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("model", "text", "out"):
        parser.add_argument(name, type=lambda path: str(FOLDER / path))
    parser.add_argument("--method", choices=("gptq", "awq"), default="gptq")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16",
                        help="float32 is faster where the processor has no bf16")
    for name, value in (("samples", 32), ("seq-len", 512), ("bits", 4), ("group-size", 128)):
        parser.add_argument(f"--{name}", type=int, default=value)
    args = parser.parse_args()
    torch.set_num_threads(2)
    config = {"bits": args.bits, "group_size": args.group_size, "device": "cpu"}
    backend = {}
    if args.method == "awq":
        config |= {"quant_method": METHOD.AWQ, "format": FORMAT.GEMM, "sym": False}
        backend = {"backend": BACKEND.AWQ_TORCH}
    with open(args.text, encoding="utf-8") as file:
        ids = AutoTokenizer.from_pretrained(args.model)(file.read())["input_ids"]
    rows = torch.tensor(ids[:args.samples * args.seq_len]).view(args.samples, 1, args.seq_len)
    model = GPTQModel.load(args.model, QuantizeConfig(**config), dtype=getattr(torch, args.dtype))
    model.quantize([{"input_ids": row, "attention_mask": torch.ones_like(row)} for row in rows],
                   batch_size=1, **backend)
    model.save(args.out)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(f"{args.method}, {args.samples} x {args.seq_len} tokens: {time.time() - START:.1f} s wall, "
          f"{usage.ru_utime + usage.ru_stime:.1f} s processor, {usage.ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
