#!/usr/bin/env python3
"""Writes tests/golden/hidden/MODEL.json: last hidden states of transformers in single precision for tiny encoders.

    python tools/golden/make_hidden_goldens.py [-o tests/golden/hidden]

Models are those of tests/golden/models; weights and tokens those of recipe_weights.py. A file holds, per sequence,
its length and at some positions every COLUMN_STEP-th column.
"""
import argparse
import json
import pathlib
import tempfile

import recipe_weights
from make_logit_goldens import LENGTHS, MODELS, ROOT, write_model

ENCODERS = {"bert": "BertModel", "bert_old_names": "BertModel", "roberta": "RobertaModel",
            "distilbert": "DistilBertModel"}
COLUMN_STEP = 3


def golden(name):
    import torch
    import transformers

    config = json.loads((MODELS / name / "config.json").read_text())
    shapes = dict(json.loads((MODELS / name / "golden.json").read_text())["checkpoint"])
    with tempfile.TemporaryDirectory() as scratch:
        write_model(pathlib.Path(scratch), config, shapes)
        model = getattr(transformers, ENCODERS[name]).from_pretrained(
            scratch, dtype=torch.float32, attn_implementation="eager").eval()
        results = {}
        for length in LENGTHS:
            with torch.no_grad():
                ids = torch.tensor([recipe_weights.tokens(length)])
                more = {}
                if name == "roberta":  # which would take the padding id, when a token has it, for padding
                    more["position_ids"] = torch.arange(length)[None] + config["pad_token_id"] + 1
                results[length] = model(ids, attention_mask=torch.ones_like(ids), **more).last_hidden_state[0]
    sequences = [{"length": length, "positions": LENGTHS[length],
                  "hidden": [[float(f"{x:.8g}") for x in y[p, ::COLUMN_STEP].tolist()] for p in LENGTHS[length]]}
                 for length, y in results.items()]
    low = min(float(y.min()) for y in results.values())
    high = max(float(y.max()) for y in results.values())
    return {"made_by": f"transformers {transformers.__version__}", "recipe": recipe_weights.VERSION,
            "column_step": COLUMN_STEP, "range": high - low, "sequences": sequences}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("-o", "--output", type=pathlib.Path, default=ROOT / "tests" / "golden" / "hidden")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    for name in ENCODERS:
        (args.output / f"{name}.json").write_text(json.dumps(golden(name)) + "\n")


if __name__ == "__main__":
    main()
