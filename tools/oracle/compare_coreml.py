#!/usr/bin/env python3
"""Has Core ML packages of qwodel read by Apple's coremltools and run by an interpreter of their programs.

    python tools/oracle/compare_coreml.py ORACLES MODELS... [--tokens FILE] [--count 200]
        [--targets float16,"int8_symmetric --minimum-target ios16"] [--qwodel build/release/qwodel] [--unrounded]

ORACLES is the folder of coreml_oracle.py; MODELS are Hugging Face directories. Every model is quantized into every target
(a format of the coreml backend, followed by options of quantize), then

    check    coremltools rebuilds every operation through its registry: errors and warnings
    compare  the program runs over the tokens (random ones without --tokens) in half precision, or in single precision
             with --unrounded, against transformers in single precision: KL divergence, agreement of the likeliest token

One line per package. Status 1 when coremltools complains, or when a float16 package has a mean divergence of 1e-3 or agrees
on less than 99 % of the tokens.
"""
import argparse
import json
import pathlib
import shlex
import subprocess
import sys
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
LARGEST_DIVERGENCE = 1e-3
LEAST_AGREEMENT = 0.99


def tokens_of(arguments, model, oracle):
    if arguments.tokens:
        return oracle.read_tokens(arguments.tokens, arguments.count)
    config = json.loads((pathlib.Path(model) / "config.json").read_text())
    vocab = config.get("text_config", config)["vocab_size"]
    return np.random.default_rng(1).integers(3, vocab, arguments.count).astype(np.int64)


def judge(oracle, package, reference, tokens, arguments):
    findings = oracle.check_package(package)
    complaints = [row for row in findings.rows if row[0] != "note"]
    logits = oracle.package_logits(oracle.Package(package), tokens, None, not arguments.unrounded)
    figures = oracle.compare_logits(reference, logits, tokens)
    return complaints, figures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("oracles")
    parser.add_argument("models", nargs="+")
    parser.add_argument("--tokens")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--targets", default="float16")
    parser.add_argument("--qwodel", default=str(ROOT / "build/release/qwodel"))
    parser.add_argument("--unrounded", action="store_true")
    arguments = parser.parse_args()
    sys.path.insert(0, arguments.oracles)
    import coreml_oracle as oracle

    failed = False
    for model in arguments.models:
        tokens = tokens_of(arguments, model, oracle)
        reference = oracle.reference_logits(model, tokens)
        for target in arguments.targets.split(","):
            form, *options = shlex.split(target)
            with tempfile.TemporaryDirectory() as folder:
                package = pathlib.Path(folder) / "model.mlpackage"
                subprocess.run([arguments.qwodel, "quantize", model, "--to", f"coreml:{form}", "-o", package, *options],
                               check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                complaints, figures = judge(oracle, package, reference, tokens, arguments)
            bad = bool(complaints) or not figures["finite"]
            if form == "float16":
                bad |= figures["kld_mean"] >= LARGEST_DIVERGENCE or figures["top1_agreement"] < LEAST_AGREEMENT
            failed |= bad
            print(f"{'FAIL' if bad else 'ok':4} {pathlib.Path(model).name:24} {target:40} {len(complaints)} complaints, "
                  f"KLD {figures['kld_mean']:.2e} (max {figures['kld_max']:.2e}), same top {figures['top1_agreement']:.4f}, "
                  f"perplexity {figures['ppl_package']:.3f} against {figures['ppl_reference']:.3f}", flush=True)
            for level, rule, message in complaints:
                print(f"     {level} {rule}: {message}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
