#!/usr/bin/env python3
"""Write tests/golden/gptq.json: what gptqmodel's GPTQ makes of a piece of a real layer.

  make_gptq_goldens.py MODEL_DIR TEXT [--layers OUT_DIR]

MODEL_DIR is SmolLM2-135M with rows padded to 768, TEXT a calibration text. The piece is 48 rows and 128
columns of a query projection with the inputs of 192 tokens; both are rounded to half precision first. --layers also writes whole layers (W.npy, X.npy of some projections)
for comparisons that are too large for a test. Needs gptqmodel, transformers and torch.
"""
import argparse
import base64
import json
import os
import pathlib

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")

import numpy as np
import torch
from gptqmodel import QuantizeConfig
from gptqmodel.quantization.gptq import GPTQ
from importlib.metadata import version
from transformers import AutoModelForCausalLM, AutoTokenizer

LAYER = 3
LAYERS = ("self_attn.q_proj", "mlp.down_proj")
ROWS, FIRST, COLUMNS, TOKENS, GROUP = 48, 320, 128, 192, 32
DAMP = 0.01
OUT = pathlib.Path(__file__).resolve().parents[2] / "tests/golden/gptq.json"


def inputs_of(model, names, ids):
    found = {}
    hooks = [model.get_submodule(name).register_forward_pre_hook(
        lambda _, args, name=name: found.setdefault(name, []).append(args[0].flatten(0, -2))) for name in names]
    with torch.no_grad():
        for chunk in ids:
            model(chunk[None], use_cache=False)
    for hook in hooks:
        hook.remove()
    return {name: torch.cat(rows) for name, rows in found.items()}


def quantize(w, x, bits, sym):
    """Groups fit on the original weights, columns by falling second moment."""
    layer = torch.nn.Linear(w.shape[1], w.shape[0], bias=False)
    layer.weight.data = w.clone()
    config = QuantizeConfig(bits=bits, group_size=GROUP, sym=sym, desc_act=True, act_group_aware=False,
                            static_groups=True, damp_percent=DAMP, device="cpu")
    job = GPTQ(layer, config)
    job.quantizer.configure(perchannel=True)
    job.add_batch(x[None], None)
    q, scale, zero, g_idx, _, loss, damp, _ = job.quantize()
    assert damp == DAMP, damp
    q, g_idx = q.float(), g_idx.long()
    assert torch.equal(g_idx, torch.arange(w.shape[1]) // GROUP), g_idx
    codes = torch.round(q / scale[:, g_idx] + zero[:, g_idx])
    return {"bits": bits, "symmetric": sym, "codes": encode(codes.byte().numpy()),
            "scales": encode(scale.float().numpy()), "zeros": encode(zero.byte().numpy()),
            "output_error": float(((x.double() @ (w - q).double().T) ** 2).sum())}


def encode(array):
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def write_golden(weights, inputs):
    columns = slice(FIRST, FIRST + COLUMNS)
    w = weights[:ROWS, columns].half()
    x = inputs[:TOKENS, columns].half()
    assert not (x == 0).all(0).any(), "gptqmodel's damping counts dead columns, ours does not"
    cases = [quantize(w.float(), x.float(), bits, sym) for bits, sym in ((4, True), (4, False), (3, True))]
    OUT.write_text(json.dumps({"made_by": f"gptqmodel {version('gptqmodel')}", "rows": ROWS, "columns": COLUMNS,
                               "tokens": TOKENS, "group_size": GROUP, "damp": DAMP,
                               "weights": encode(w.numpy()), "inputs": encode(x.numpy()), "cases": cases}) + "\n")
    print(OUT, OUT.stat().st_size, "bytes;", [case["output_error"] for case in cases])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("text")
    parser.add_argument("--layers")
    args = parser.parse_args()
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    with open(args.text, encoding="utf-8") as f:
        ids = torch.tensor(tokenizer(f.read(400000))["input_ids"][:8 * 512]).reshape(8, 512)
    names = [f"model.layers.{LAYER}.{name}" for name in LAYERS]
    inputs = inputs_of(model, names, ids)
    for name in names if args.layers else ():
        path = pathlib.Path(args.layers) / name.split(".")[-1]
        path.mkdir(parents=True, exist_ok=True)
        np.save(path / "W.npy", model.get_submodule(name).weight.detach().numpy())
        np.save(path / "X.npy", inputs[name].numpy())
    write_golden(model.get_submodule(names[0]).weight.detach(), inputs[names[0]])


if __name__ == "__main__":
    main()
