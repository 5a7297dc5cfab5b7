#!/usr/bin/env python3
"""GPTQ and AWQ by gptqmodel 7.6.0 or llm-compressor 0.14.0.1, on the tokens that
`qwodel quantize --calibration TEXT` takes.

    quantize_peer.py MODEL TEXT OUT [--tool gptqmodel] [--method gptq] [--samples 32] [--seq-len 512]
                     [--bits 4] [--group-size 128]

Prints wall and processor time of the whole process and its peak memory; OUT is the directory written.
gptqmodel needs torch 2.13.0 (CPU), transformers 5.23.0 and GPTQMODEL_CPU_WORKERS=2 on a machine with two
cores; llm-compressor brings its own transformers (5.17.0), so it wants another environment.
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
from transformers import AutoModelForCausalLM, AutoTokenizer


def by_gptqmodel(args, rows):
    from gptqmodel import BACKEND, GPTQModel, QuantizeConfig
    from gptqmodel.quantization import FORMAT, METHOD

    config = {"bits": args.bits, "group_size": args.group_size, "device": "cpu"}
    backend = {}
    if args.method == "awq":
        config |= {"quant_method": METHOD.AWQ, "format": FORMAT.GEMM, "sym": False}
        backend = {"backend": BACKEND.AWQ_TORCH}
    model = GPTQModel.load(args.model, QuantizeConfig(**config), dtype=getattr(torch, args.dtype))
    model.quantize([{"input_ids": row, "attention_mask": torch.ones_like(row)} for row in rows],
                   batch_size=1, **backend)
    model.save(args.out)


def by_llm_compressor(args, rows):
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from datasets import Dataset
    from llmcompressor import oneshot
    from llmcompressor.modifiers.transform.awq import AWQModifier
    from llmcompressor.modifiers.quantization import GPTQModifier, QuantizationModifier
    from llmcompressor.pipelines.cache import IntermediatesCache

    # It pins memory for an accelerator, which fails where there is none.
    IntermediatesCache._pin_intermediate = staticmethod(lambda tensor, *_, **__: tensor)
    weights = {"num_bits": args.bits, "group_size": args.group_size, "strategy": "group",
               "symmetric": args.method == "gptq", "type": "int"}
    group = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**weights))
    scheme = {"config_groups": {"group_0": group}, "ignore": ["lm_head"]}
    recipe = [GPTQModifier(**scheme)]
    if args.method == "awq":
        recipe = [AWQModifier(duo_scaling="both"), QuantizationModifier(**scheme)]
    data = Dataset.from_dict({"input_ids": [row[0].tolist() for row in rows],
                              "attention_mask": [[1] * args.seq_len for _ in rows]})
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=getattr(torch, args.dtype))
    oneshot(model=model, dataset=data, recipe=recipe, max_seq_length=args.seq_len,
            num_calibration_samples=args.samples, output_dir=args.out)


TOOLS = {"gptqmodel": by_gptqmodel, "llm-compressor": by_llm_compressor}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("model", "text", "out"):
        parser.add_argument(name, type=lambda path: str(FOLDER / path))
    parser.add_argument("--tool", choices=TOOLS, default="gptqmodel")
    parser.add_argument("--method", choices=("gptq", "awq"), default="gptq")
    parser.add_argument("--dtype", choices=("bfloat16", "float16", "float32"), default="bfloat16",
                        help="float32 is faster where the processor has no bf16; gptqmodel's AWQ "
                             "refuses it")
    for name, value in (("samples", 32), ("seq-len", 512), ("bits", 4), ("group-size", 128)):
        parser.add_argument(f"--{name}", type=int, default=value)
    args = parser.parse_args()
    torch.set_num_threads(2)
    with open(args.text, encoding="utf-8") as file:
        ids = AutoTokenizer.from_pretrained(args.model)(file.read())["input_ids"]
    rows = torch.tensor(ids[:args.samples * args.seq_len]).view(args.samples, 1, args.seq_len)
    TOOLS[args.tool](args, rows)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(f"{args.tool} {args.method}, {args.samples} x {args.seq_len} tokens: "
          f"{time.time() - START:.1f} s wall, {usage.ru_utime + usage.ru_stime:.1f} s processor, "
          f"{usage.ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
