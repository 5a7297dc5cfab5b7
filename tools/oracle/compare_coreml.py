#!/usr/bin/env python3
"""Has Core ML packages of qwodel read by Apple's coremltools and run by an interpreter of their programs.

    python tools/oracle/compare_coreml.py ORACLES MODELS... [--only check,logits,decode,lengths,values] [--formats A,B]
        [--text FILE] [--count 200] [--qwodel build/release/qwodel]

ORACLES is the folder of coreml_oracle.py; MODELS are Hugging Face directories. For each model:

    check    every form of package (stateful, stateless, for older systems) in every format of weights: coremltools rebuilds
             each operation through its registry. What a system has no form for must be refused with exit code 3
    logits   float16 packages of every form run over tokens in half precision, against transformers in single precision;
             an encoder also with padding, which must change nothing, and pooled
    decode   a stateful package, all but 64 tokens at once and then one by one, against a stateless one: the same
    lengths  several lengths of a call, a fixed one, the last token's logits only, against a stateless package of any length
    values   coremltools writes each package without compression; ours must read the same halves from both

Tokens are those of --text, or random ones; at most as many as the model has positions. One line per package; status 1 when one of them fails.
"""
import argparse
import functools
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
STEPS = ("check", "logits", "decode", "lengths", "values")
FORMATS = ("float16 int8_linear int8_symmetric int4 int6 int4_block32 palette1 palette2 palette3 palette4 palette6 palette8 "
           "palette1_g8 palette2_g8 palette3_g8 palette6_g16").split()
ONLY_IOS18 = ("int4", "int4_block32", "palette3")
STATELESS = ["--form", "stateless"]
DECODER_FORMS = {"stateful": [], "stateless": STATELESS, "ios17": ["--minimum-target", "ios17"],
                 "ios16": ["--minimum-target", "ios16"]}
ENCODER_FORMS = {"ios18": [], "ios17": ["--minimum-target", "ios17"], "ios16": ["--minimum-target", "ios16"]}
DECODED = 64                # tokens one by one
LARGEST_DIVERGENCE = 1e-3   # of half precision from single precision, in nats
LEAST_AGREEMENT = 0.99
LARGEST_ENCODER_ERROR = 1e-4  # squared, of the squared values
SAME = 1e-4                 # of the largest logit: sums in another order
NOT_SUPPORTED = 3


class Model:
    """A model, its tokens, and packages made of it."""

    def __init__(self, path, arguments, folder):
        self.path, self.arguments, self.folder = pathlib.Path(path), arguments, pathlib.Path(folder)
        config = json.loads((self.path / "config.json").read_text())
        text = config.get("text_config", config)
        self.vocab = text["vocab_size"]
        self.count = min(arguments.count, text.get("max_position_embeddings", arguments.count))
        self.is_encoder = any(word in config["architectures"][0] for word in ("Bert", "Roberta"))
        self.forms = ENCODER_FORMS if self.is_encoder else DECODER_FORMS

    def run(self, *words):
        return subprocess.run([self.arguments.qwodel, *map(str, words)], capture_output=True, text=True)

    @functools.cached_property
    def tokens(self):
        if not self.arguments.text:
            return np.random.default_rng(1).integers(3, self.vocab, self.count).astype(np.int64)
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as start:
            start.write(pathlib.Path(self.arguments.text).read_text()[:16 * self.count])
            start.flush()
            done = self.run("tokenize", self.path, "--text", start.name, "--json")
        return np.array(json.loads(done.stdout)[:self.count], np.int64)

    @functools.cached_property
    def reference(self):
        import torch
        from transformers import AutoModel, AutoModelForCausalLM
        kind = AutoModel if self.is_encoder else AutoModelForCausalLM
        with torch.no_grad():
            model = kind.from_pretrained(self.path, dtype=torch.float32).eval()
            result = model(torch.from_numpy(self.tokens)[None])
        return (result.last_hidden_state if self.is_encoder else result.logits)[0].numpy()

    def package(self, name, weights, options):
        """(path, run): quantizes into this format of weights."""
        path = self.folder / f"{name}.mlpackage"
        done = self.run("quantize", self.path, "--to", f"coreml:{weights}", "-o", path, "--force", *options)
        return path, done

    @functools.lru_cache(maxsize=None)
    def made(self, *options, weights="float16"):
        path, done = self.package("-".join(["made", weights, *options]).replace("--", ""), weights, options)
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        return path


def say(ok, model, what, detail):
    print(f"{'ok' if ok else 'FAIL':4} {model.path.name:18} {what:34} {detail}", flush=True)
    return ok


def is_refused(form, weights):
    return form in ("ios16", "ios17") and (weights.startswith(ONLY_IOS18) or "_g" in weights)


def check(oracle, model):
    good = True
    for form, options in model.forms.items():
        for weights in model.arguments.formats or FORMATS:
            path, done = model.package("check", weights, options)
            if is_refused(form, weights):
                good &= done.returncode == NOT_SUPPORTED or say(False, model, f"check {form} {weights}",
                                                                f"exit code {done.returncode}, expected {NOT_SUPPORTED}")
                continue
            if done.returncode != 0:
                good &= say(False, model, f"check {form} {weights}", done.stderr.strip())
                continue
            complaints = [row for row in oracle.check_package(path).rows if row[0] != "note"]
            good &= say(not complaints, model, f"check {form} {weights}", f"{len(complaints)} complaints")
            for level, rule, message in complaints[:5]:
                print(f"     {level} {rule}: {message}")
    return good


def run_encoder(oracle, package, tokens, padding=0, rounding=True):
    mask = np.ones((1, len(tokens)), np.int32)
    mask[0, len(tokens) - padding:] = 0
    machine = oracle.Interpreter(oracle.Package(package), None, rounding)
    (out,) = machine.run(inputIds=tokens[None].astype(np.int32), attentionMask=mask).values()
    return out[0]


def compare_encoder(oracle, model, form, options):
    got = run_encoder(oracle, model.made(*options), model.tokens)
    error = float(((got - model.reference) ** 2).sum() / (model.reference ** 2).sum())
    good = say(error < LARGEST_ENCODER_ERROR, model, f"logits {form}", f"normalized squared error {error:.2e}")
    pad = len(model.tokens) // 3
    short = run_encoder(oracle, model.made(*options), model.tokens[:-pad], rounding=False)
    padded = run_encoder(oracle, model.made(*options), model.tokens, pad, rounding=False)[:-pad]
    good &= same(model, f"padding {form}", padded, short)
    for pooling, expected in (("mean", short.mean(0)), ("cls", short[0])):
        path = model.made(*options, "--pooling", pooling)
        complaints = [row for row in oracle.check_package(path).rows if row[0] != "note"]
        good &= not complaints or say(False, model, f"pooling {form}", str(complaints[0]))
        got = run_encoder(oracle, path, model.tokens, pad, rounding=False)
        good &= same(model, f"pooling {pooling} {form}", got[None], expected[None])
    return good


def logits(oracle, model):
    good = True
    for form, options in model.forms.items():
        if model.is_encoder:
            good &= compare_encoder(oracle, model, form, options)
            continue
        got = oracle.package_logits(oracle.Package(model.made(*options)), model.tokens)
        figures = oracle.compare_logits(model.reference, got, model.tokens)
        ok = (figures["finite"] and figures["kld_mean"] < LARGEST_DIVERGENCE
              and figures["top1_agreement"] >= LEAST_AGREEMENT)
        good &= say(ok, model, f"logits {form}",
                    f"{figures['positions']} tokens, KLD {figures['kld_mean']:.2e} (max {figures['kld_max']:.2e}), same top "
                    f"{figures['top1_agreement']:.4f}, perplexity {figures['ppl_package']:.3f} | {figures['ppl_reference']:.3f}")
    return good


def same(model, what, got, expected):
    apart = float(np.abs(got - expected).max() / np.abs(expected).max())
    return say(got.shape == expected.shape and apart < SAME, model, what, f"{len(got)} rows, apart by {apart:.1e} of the largest")


def exact_logits(oracle, package, tokens, prefill=None):
    return oracle.package_logits(oracle.Package(package), tokens, rounding=False, prefill=prefill)


def decode(oracle, model):
    if model.is_encoder:
        return True
    expected = exact_logits(oracle, model.made(*STATELESS), model.tokens)
    got = exact_logits(oracle, model.made(), model.tokens, max(len(model.tokens) - DECODED, 1))
    return same(model, f"decode {min(DECODED, len(model.tokens) - 1)} steps", got, expected)


def lengths(oracle, model):
    good = True
    run = run_encoder if model.is_encoder else lambda o, p, t, **_: exact_logits(o, p, t)
    base = [] if model.is_encoder else STATELESS
    several = model.made(*base, "--sequence-length", "16,32,64")
    fixed = model.made(*base, "--sequence-length", "32")
    for path, count in ((several, 16), (several, 32), (several, 64), (fixed, 32)):
        complaints = [row for row in oracle.check_package(path).rows if row[0] != "note"]
        good &= not complaints or say(False, model, "lengths", str(complaints[0]))
        expected = run(oracle, model.made(*base), model.tokens[:count], rounding=False)
        good &= same(model, f"lengths {path.stem.split('-')[-1]}: {count}",
                     run(oracle, path, model.tokens[:count], rounding=False), expected)
    if model.is_encoder:
        return good
    for form, options in DECODER_FORMS.items():
        path = model.made(*options, "--last-logits-only")
        complaints = [row for row in oracle.check_package(path).rows if row[0] != "note"]
        good &= not complaints or say(False, model, f"last {form}", str(complaints[0]))
        got = exact_logits(oracle, path, model.tokens, prefill=len(model.tokens))
        good &= same(model, f"last logits only, {form}", got, exact_logits(oracle, model.made(*STATELESS), model.tokens)[-1:])
    return good


def values(oracle, model):
    import coremltools
    good = True
    for form, options in model.forms.items():
        for weights in model.arguments.formats or FORMATS:
            if is_refused(form, weights):
                continue
            path, _ = model.package("values", weights, options)
            dense = model.folder / "dense.mlpackage"
            package = coremltools.models.MLModel(str(path), skip_model_load=True)
            coremltools.optimize.coreml.decompress_weights(package).save(str(dense))
            report = json.loads(model.run("diff", path, dense, "--json").stdout)
            worst = max((row["nmse"] if row["nmse"] is not None else 1.0 for row in report["differences"]), default=0.0)
            good &= say(worst == 0, model, f"values {form} {weights}", f"{report['tensors']} weights, apart by {worst:.1e}")
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("oracles")
    parser.add_argument("models", nargs="+")
    parser.add_argument("--only", type=lambda text: text.split(","), default=STEPS)
    parser.add_argument("--formats", type=lambda text: text.split(","))
    parser.add_argument("--text")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--qwodel", default=str(ROOT / "build/release/qwodel"))
    arguments = parser.parse_args()
    sys.path.insert(0, arguments.oracles)
    import coreml_oracle as oracle

    good = True
    for path in arguments.models:
        with tempfile.TemporaryDirectory() as folder:
            model = Model(path, arguments, folder)
            for step in arguments.only:
                good &= globals()[step](oracle, model)
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
