#!/usr/bin/env python3
"""Has AWQ, GPTQ and compressed-tensors directories of qwodel read by the code of their ecosystem.

    python tools/oracle/compare_checkpoints.py ORACLES [MODELS...] [--tiny PATTERN,... --tokenizers DIR]
        [--targets awq:g32,ct:W8A16] [--qwodel build/release/qwodel] [--method rtn]

ORACLES is the folder of hf_oracle.py and awq_gptq_oracle.py; MODELS are model directories. With --tiny, small random
models are made of the families of make_tiny_models.py that match, with sizes that groups of 32 divide, and tokenizers
from DIR. Every model is quantized into every target, then

    unpack   gptqmodel's or compressed-tensors' decoder of the packed words: must equal, value by value, what
             qwodel decodes ("equal", else the largest normalized error)
    logits   transformers loads the directory as a user would, against the same model with the unpacked weights in
             single precision: norm of the difference over norm of the logits (4-bit kernels round as bf16 does)
    ours     the same for `qwodel logits` of the directory

A target may be followed by options of quantize: "ct:W4A16-g32 --tensor-type down_proj=W8A16". One line per directory.
Status 1 when unpacked weights differ, when logits differ by 2 % (ours: 0.02 %), or when transformers refuses a
directory but loads the plain model; what is known of transformers' own limits (LIMITS below) is listed and counts as
no failure. Cases that cannot pass (LEFT_OUT below) are named and not run.
"""
import argparse
import fnmatch
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

import make_tiny_models
import tiny_families

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGETS = "awq:g32,gptq:4bit-g32,gptq:8bit-g32,ct:W4A16-g32,ct:W4A16_ASYM-g32,ct:W8A16"
KERNEL_BOUND = 0.02
OUR_BOUND = 2e-4
LENGTH = 40
# Of the families whose smallest model has a width that 32 does not divide.
SIZES = {"moe_intermediate_size": 64, "shared_expert_intermediate_size": 96, "shared_intermediate_size": 96}
# Two with latent attention and experts, beside those of make_tiny_models.py.
LATENT = dict(moe_intermediate_size=64, n_routed_experts=4, num_experts_per_tok=2, n_shared_experts=1,
              first_k_dense_replace=1, n_group=1, topk_group=1, kv_lora_rank=32, q_lora_rank=64, qk_rope_head_dim=16,
              qk_nope_head_dim=32, v_head_dim=32, num_key_value_heads=4)
MORE_CASES = {
    "latent_v2": ("DeepseekV2ForCausalLM", "deepseek_v2", LATENT, {}, "gpt2"),
    "latent_v3": ("DeepseekV3ForCausalLM", "deepseek_v3", LATENT, {}, "gpt2"),
}


# Classes that transformers 5.23 cannot run quantized, whoever made the file, by backend or format.
ACTIVATION_SCALES = "transformers puts scales of activations into this class's AWQ models"
READS_WEIGHT = "transformers' class reads the weight of a linear past its kernel"
CONV1D = "transformers replaces torch.nn.Linear only, and initializes Conv1D's weights; gptqmodel loads it"
LIMITS = {
    "awq": {"gpt2": CONV1D, **dict.fromkeys(("starcoder2", "gptneox", "bloom", "mpt"), ACTIVATION_SCALES),
            "falcon": ACTIVATION_SCALES, "gpt_bigcode": READS_WEIGHT},
    "gptq": {"gpt2": CONV1D, "falcon": "optimum does not replace FalconLinear", "gpt_bigcode": READS_WEIGHT},
    "ct": {"gpt2": CONV1D, "falcon": READS_WEIGHT, "gpt_bigcode": READS_WEIGHT},
    "ct:W4A16_ASYM": dict.fromkeys(("mixtral", "qwen2_moe", "qwen3_moe", "granite_moe", "latent"),
                                   "transformers hands experts' zero points to no decoder"),
}


# Cases of make_tiny_models.py that are left out, and why.
EXPERTS_IN_ONE = "experts in one tensor of three axes, which no format of these holds (status 3)"
NARROW = "in_features of 24 and 80, which 32 does not divide (status 3); the latent_* cases have others"
NO_HEAD_SIZE = "config.json leaves out head_dim, and the class's default contradicts the tensors"
NO_EXPERT_COUNT = "config.json leaves out num_experts_per_tok, and transformers cannot run its default (none; 8 of 3)"
ENCODER = "an encoder: logits are compared here, and qwodel has none of it (status 3)"
LEFT_OUT = {
    "granite_moe*": EXPERTS_IN_ONE, "deepseek": NARROW, "deepseek_v2_lite": NARROW, "deepseek_v3": NARROW,
    **dict.fromkeys(("qwen3_sparse", "qwen3_moe_sparse", "gemma_sparse", "gemma2_sparse", "gemma3_sparse"),
                    NO_HEAD_SIZE),
    "deepseek_v2_lite_sparse": NO_EXPERT_COUNT, "deepseek_v3_sparse": NO_EXPERT_COUNT,
    "mpt_clipped": "transformers' MPT has no learned positions",
    "*bert*": ENCODER,
}


class Failed(Exception):
    pass


def run(*command, good=(0,)):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode not in good:
        lines = done.stderr.strip().splitlines()
        raise Failed(f"status {done.returncode}: {lines[-1][:200] if lines else ''}")
    return done.stdout


def make_tiny(patterns, directory, tokenizers):
    """Random models of the families."""
    make_tiny_models.CASES.update(MORE_CASES)
    for case in make_tiny_models.case_names():
        if not any(fnmatch.fnmatch(case, pattern) for pattern in patterns.split(",")):
            continue
        why = next((why for left_out, why in LEFT_OUT.items() if fnmatch.fnmatch(case, left_out)), None)
        if why:
            print(f"left out {case}: {why}", flush=True)
            continue
        path = directory / case
        if case in make_tiny_models.CASES:
            name, kind, settings, edits, vocabulary = make_tiny_models.CASES[case]
            settings = settings | {key: size for key, size in SIZES.items() if key in settings}
            make_tiny_models.CASES[case] = (name, kind, settings, edits, vocabulary)
            make_tiny_models.build(case, path, make_tiny_models.VOCABULARY_SIZES[vocabulary])
        else:
            vocabulary = tiny_families.describe(case)[2]
            config, shapes, _ = tiny_families.describe(case, make_tiny_models.VOCABULARY_SIZES[vocabulary])
            make_tiny_models.write_random(path, config, shapes, "f32")
        make_tiny_models.add_tokenizer(path, vocabulary, tokenizers)
        yield path


def unpack(oracle, path):
    """Name -> single precision values of every quantized linear, 8-bit floats among them."""
    config = oracle.read_config(path)
    if config["quant_method"] != "compressed-tensors":
        return oracle.unpack(path)
    modules = oracle.split_modules(oracle.read_tensors(path), "weight_scale")
    return {f"{name}.weight": oracle.unpack_compressed(config, parts, name).detach().float().contiguous()
            for name, parts in modules.items()}


def plain_copy(artifact, weights, directory):
    """The artifact's model with the weights that the ecosystem unpacked, not quantized."""
    from safetensors.torch import load_file, save_file

    packed = {name.removesuffix(".weight") for name in weights}
    tensors = dict(weights)
    for path in artifact.glob("*.safetensors"):
        for name, tensor in load_file(path).items():
            module, _, last = name.rpartition(".")
            if module not in packed or last == "bias":
                tensors[name] = tensor.float() if tensor.is_floating_point() else tensor
    config = json.loads((artifact / "config.json").read_text())
    config.pop("quantization_config")
    for key in ("dtype", "torch_dtype"):
        if key in config:
            config[key] = "float32"
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps(config))
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})


def store_as_conv1d(plain, names):
    """GPT-2's class multiplies from the left: its own linears are stored as [in, out]."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(plain / "model.safetensors")
    tensors |= {name: tensors[name].t().contiguous() for name in names}
    save_file(tensors, plain / "model.safetensors", metadata={"format": "pt"})


def compare_weights(qwodel, plain, artifact, names):
    """"equal", or the largest error of a linear as qwodel and the ecosystem decode it."""
    differences = json.loads(run(qwodel, "diff", plain, artifact, "--json", good=(0, 1)))["differences"]
    worst = 0.0
    for row in differences:
        if row["name"] in names or row.get("nmse") is None:
            worst = max(worst, row.get("nmse") if row.get("nmse") is not None else np.inf)
    return "equal" if worst == 0 else f"{worst:.1e}"


def model_logits(oracle, path, ids):
    import torch

    model = oracle.load_model(str(path))
    with torch.no_grad():
        logits = model(torch.tensor([ids]), use_cache=False).logits[0].float().numpy()
    kinds = sorted({type(m).__name__ for m in model.modules() if "Linear" in type(m).__name__})
    return logits, ",".join(kinds)


def share(logits, reference):
    if logits.shape != reference.shape or not np.isfinite(logits).all():
        return np.inf
    return float(np.linalg.norm(logits - reference) / max(np.linalg.norm(reference), 1e-6))


def our_logits(qwodel, artifact, ids, scratch):
    (scratch / "ids.txt").write_text(" ".join(map(str, ids)))
    run(qwodel, "logits", artifact, "--tokens", scratch / "ids.txt", "-o", scratch / "out.npy", "--compute", "f32")
    return np.load(scratch / "out.npy")


def check(args, model, target, scratch):
    """(good, columns of the table)"""
    import awq_gptq_oracle
    import hf_oracle

    artifact = scratch / "artifact"
    run(args.qwodel, "quantize", model, "--to", *target.split(), "--method", args.method, "-o", artifact, "--threads", 1)
    weights = unpack(awq_gptq_oracle, str(artifact))
    plain = scratch / "plain"
    plain_copy(artifact, weights, plain)
    unpacked = compare_weights(args.qwodel, plain, artifact, weights)
    columns = [f"{len(weights)} linears", unpacked]
    config = json.loads((plain / "config.json").read_text())
    vocabulary = config.get("vocab_size") or config["text_config"]["vocab_size"]
    if config["model_type"] == "gpt2":
        store_as_conv1d(plain, weights)
    ids = np.random.default_rng(1).integers(3, vocabulary, LENGTH).tolist()
    try:
        reference, _ = model_logits(hf_oracle, plain, ids)
    except Exception as error:  # transformers does not know the class
        return unpacked == "equal", columns + [f"plain model refused: {error!r}"[:120]]
    good = unpacked == "equal"
    limits = LIMITS[target.split(":")[0]] | LIMITS.get(target.split("-")[0], {})
    known = next((why for name, why in limits.items() if model.name.startswith(name)), None)
    try:
        logits, kinds = model_logits(hf_oracle, artifact, ids)
        difference = share(logits, reference)
        loads = difference < KERNEL_BOUND
        columns.append(f"{difference:.1e} ({kinds})")
    except (Exception, SystemExit) as error:
        loads = False
        columns.append(f"refused: {error!r}"[:300].replace("\n", " "))
    if not loads and known:
        columns[-1] = f"known: {known}"
    good &= loads or known is not None
    try:
        ours = share(our_logits(args.qwodel, artifact, ids, scratch), reference)
        good &= ours < OUR_BOUND
        columns.append(f"{ours:.1e}")
    except Failed as error:
        good = False
        columns.append(str(error))
    return good, columns


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("oracles", type=pathlib.Path)
    parser.add_argument("models", type=pathlib.Path, nargs="*")
    parser.add_argument("--tiny", help="patterns of the small random models to make")
    parser.add_argument("--tokenizers", type=pathlib.Path)
    parser.add_argument("--targets", default=TARGETS)
    parser.add_argument("--method", default="rtn")
    parser.add_argument("--qwodel", type=pathlib.Path, default=ROOT / "build/release/qwodel")
    args = parser.parse_intermixed_args()
    sys.path.insert(0, str(args.oracles))

    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        models = list(args.models)
        if args.tiny:
            models += make_tiny(args.tiny, pathlib.Path(folder), args.tokenizers)
        for model in models:
            for target in args.targets.split(","):
                with tempfile.TemporaryDirectory() as scratch:
                    try:
                        good, columns = check(args, model, target, pathlib.Path(scratch))
                    except (Failed, SystemExit, ValueError) as error:
                        good, columns = False, [str(error)]
                failed += not good
                print("  ".join([f"{'ok' if good else 'FAILED':6}", f"{model.name:20}", f"{target:16}", *columns]),
                      flush=True)
    print(f"{failed} failed" if failed else "all good")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
