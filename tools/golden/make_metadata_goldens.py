#!/usr/bin/env python3
"""Writes tests/golden/general_metadata.json: what gguf-py derives for general.*.

    python tools/golden/make_metadata_goldens.py --gguf-py LLAMA_CPP/gguf-py [-o OUT.json]

Every case is a directory name with files (README.md, config.json, generation_config.json) and a
parameter count. The files are written to a temporary directory, gguf.Metadata.load reads them, the
missing name and size label are filled in as convert_hf_to_gguf.py does, and set_gguf_meta_model
passes the keys to a writer that keeps them. The case records the entries in order and the file name
that gguf.naming_convention builds. A case that makes gguf-py fail is an error here: what Qwodel does
then is tested without a golden.
"""
import argparse
import importlib.metadata
import json
import pathlib
import sys
import tempfile


def card(yaml):
    return "---\n" + yaml.strip("\n") + "\n---\n\n# Model\n\ntext\n"


def names():
    """Directory names, each with a parameter count that agrees and one that does not."""
    table = [
        ("SmolLM2-135M-Instruct", 134515008),
        ("SmolLM2-135M-Instruct", 0),
        ("stories260K-hf", 292800),
        ("Llama-2-7b-chat-hf", 6738415616),
        ("Meta-Llama-3.1-8B-Instruct", 8030261248),
        ("Mixtral-8x7B-Instruct-v0.1", 46702792704),
        ("Mistral-7B-v0.1", 7241732096),
        ("Qwen2.5-0.5B-Instruct", 494032768),
        ("Qwen1.5-MoE-A2.7B-Chat", 14315784192),
        ("Qwen3-30B-A3B-Instruct-2507", 30532122624),
        ("bloom-7b1", 7069016064),
        ("bloomz-560m", 559214592),
        ("Phi-3-mini-128k-instruct", 3821079552),
        ("Phi-3-medium-4k-instruct", 13960238080),
        ("Phi-3.5-MoE-instruct", 41873153344),
        ("gemma-2-2b-it", 2614341888),
        ("c4ai-command-r-v01", 34980831232),
        ("DeepSeek-V2-Lite-Chat", 15706484224),
        ("DeepSeek-R1-Distill-Qwen-1.5B", 1777088000),
        ("Nous-Hermes-2-Mixtral-8x7B-DPO", 46702792704),
        ("gpt2-xl", 1557611200),
        ("gpt2-medium-7B", 6738415616),
        ("t5-xxl", 11000000000),
        ("falcon-rw-1b", 1311625216),
        ("starcoder2-3b", 3030371328),
        ("internlm2-chat-1_8b", 1889110016),
        ("MiniCPM-2B-sft-bf16", 2724880896),
        ("mpt-7b-8k-instruct", 6649286656),
        ("bert-base-uncased", 109482240),
        ("all-MiniLM-L6-v2", 22713216),
        ("model-q4_k_m", 1000),
        ("model-iq2_x_x-v2", 1000),
        ("model-FP16", 1000),
        ("model-bf32-chat", 1000),
        ("model-q4_", 1000),
        ("Model-iter3-v2.1.0-chat", 123456),
        ("v2-Model", 123456),
        ("7B", 7000000000),
        ("chat", 7000000000),
        ("model-v3", 123456),
        ("A-7B-7b-7B", 7000000000),
        ("A-7B-70B", 7000000000),
        ("A-1000t", 7000000000),
        ("A-0.5B1", 500000000),
        ("A-Vision-LORA", 7000000000),
        ("--a---b--", 7000000000),
        ("-", 10),
        ("a b-7B", 7000000000),
        ("UPPER_lower-mixedCase-lower2word3", 5),
        ("été-ΑΒγ-я7я-instruct", 5),
        ("o'neil-d_e.f", 5),
        ("1.5-x", 5),
        ("x\u00a0y-\u2003z", 5),
        ("models--org--name", 5),
        ("k-small-large", 5),
        ("k-small-2B-mini", 2000000000),
        ("k-3T", 3000000000000),
    ]
    return [dict(directory=name, total=total) for name, total in table]


def counts():
    """Size labels at the edges of their scales, and of models with experts."""
    totals = [1, 9, 94, 95, 499, 500, 501, 999, 1000, 1499, 1500, 2500, 9499, 9500, 9501, 99999, 999499, 999500,
              10**6, 10**6 + 1, 1500000, 2500000, 94999999, 10**9, 10**9 + 1, 1234567890, 9949999999, 9950000001,
              10**12, 10**12 + 1, 671026419200]
    cases = [dict(directory="plain", total=total) for total in totals]
    for shared, expert, experts in [(1605639168, 5637144576, 8), (1000, 10, 2), (5 * 10**9, 5 * 10**8, 60), (0, 1500, 128)]:
        cases.append(dict(directory="moe", total=shared + expert * experts, shared=shared, expert=expert,
                          expert_count=experts))
    return cases


def configs():
    ids = ["meta-llama/Llama-2-7b-hf", "/home/user/models/x", "./local", "../local-7B", "gpt2", "", "org/", "/name",
           "a model of mine", ".hidden/x-1B", "Org-Name/my-model-3b-v1.2", None, "a/b/c"]
    cases = [dict(directory="fallback-7B-dir", total=6738415616, config={"_name_or_path": i}) for i in ids]
    cases.append(dict(directory="fallback-7B-dir", total=6738415616, config={"model_type": "llama"}))
    cases.append(dict(directory="dir-1B", total=10**9, config={"_name_or_path": "x/y-1B"}, name="Given Name"))
    return cases


def cards():
    yamls = [
        "license: apache-2.0\nlanguage:\n- en\n- no\ntags:\n- a\n- b\npipeline_tag: text-generation",
        "license: [mit, apache-2.0]\nlicense_name: my license\nlicense_link: https://example.org/LICENSE",
        "language: en",
        "language: no",
        "language: 'no'\nlanguages: [de, fr]",
        "language: []\ntags: []",
        "name: My Model\nauthor: Me\nversion: v1.5\norganization: Org\ndescription: |\n  two\n  lines\nfinetune: Chat\n"
        "basename: Base\nsize_label: 3B\nurl: https://u\ndoi: 10.1/2\nuuid: 0-0\nrepo_url: https://r",
        "model_name: My Model\nmodel_author: Me\nmodel_version: 'v2'\nmodel_organization: Org\nmodel_description: d\n"
        "model_finetune: Chat\nmodel_basename: Base\nmodel_size_label: 3B\nmodel_url: u\nmodel_doi: d\nmodel_uuid: u\n"
        "model_repo_url: r",
        "model_creator: TheMaker\nmodel_type: llama\nquantized_by: someone",
        "name: A\nmodel_name: B",
        "name:\nmodel_name: B",
        "name: ''\nmodel_name: B",
        "name: A\nname: B",
        "base_model: meta-llama/Llama-2-7b-hf",
        "base_model: [mistralai/Mistral-7B-v0.1, gpt2, 'a sentence of words', 5, null, true, 2024-01-01]",
        "base_model: https://huggingface.co/Qwen/Qwen2.5-7B-Instruct",
        "base_model:\n- http://huggingface.co/a/b-v2\n- https://huggingface.co/a/b/tree/main\n- ssh://huggingface.co/a/b\n"
        "- https://example.org/huggingface.co\n- https://huggingface.co/a",
        "base_models:\n- name: N\n  author: A\n  version: '1'\n  organization: O\n  description: D\n  url: U\n  doi: X\n"
        "  uuid: Y\n  repo_url: R\n  other: Z\n- {repo_url: R}\n- {}",
        "base_model_sources: [a/b]",
        "base_model: null\nbase_models: a/b",
        "base_model: {name: x}",
        "base_model: []",
        "datasets: [HuggingFaceFW/fineweb-edu, local, https://huggingface.co/datasets/x]",
        "dataset: org/my-data-v3",
        "dataset_sources:\n- name: N\n  repo_url: R",
        "datasets: 7",
        "tags: one\npipeline_tag: [two, three]",
        "tags: 5\nlanguage: 7",
        "tags: ['yes', 'no']",
        "tags:\n\t- a\n\t- b",
        "tags: [&x alias, *x]",
        "name: \"quoted: \\u00e9 \\\"x\\\"\"\nauthor: 'it''s'",
        "name: >\n  folded\n  text\n\n  more",
        "# comment\nname: A # comment\nauthor: B#no",
        "just a string",
        "- a\n- list",
        "",
        "name: false",
        "name: 00\nauthor: 0.\ndescription: -0x0\nurl: 0_0\nlicense_name: 0e+5",
        "name: []\nmodel_name: A\nsize_label: {}\nauthor: {}\nmodel_creator: B",
        "license: other\nlicense_name:\nextra_gated_prompt: >-\n  You agree\nmodel-index:\n- name: x\n  results:\n"
        "  - task: {type: text}\n    metrics:\n    - {type: acc, value: 1.5}",
        "name: A\n...\n",
        "? complex\n: value\nname: A",
        "!!str name: !!str 5",
        "version: 1.0.0\nauthor: 1_a\norganization: 0x1g\nfinetune: 1e5\nbasename: 08x",
        "version: '1.0'\nauthor: \"12\"",
    ]
    cases = [dict(directory="fallback-7B-dir", total=6738415616, readme=card(y)) for y in yamls]
    texts = [
        "",
        "# no front matter\n",
        " ---\nname: A\n---\n",
        "--- \nname: A\n---\n",
        "\ufeff---\nname: A\n---\n",
        "---\nname: A\n",
        "---\r\nname: A\r\ntags:\r\n- no\r\n---\r\ntext",
        "---\rname: A\r---\r",
        "---\nname: A\u2028author: B\n---\n",
        "---\n---\nname: A\n",
        "\n---\nname: A\n---\n",
        "---",
    ]
    cases += [dict(directory="fallback-7B-dir", total=6738415616, readme=t) for t in texts]
    both = card("base_model: a/b-7B\nname: From Card")
    cases.append(dict(directory="dir-7B", total=7 * 10**9, readme=both, config={"_name_or_path": "o/Path-7B-Chat"}))
    cases.append(dict(directory="dir-7B", total=7 * 10**9, readme=both, name="Override"))
    return cases


def generations():
    settings = [
        {"temperature": 0.6, "top_p": 0.9, "top_k": 50, "do_sample": True},
        {"repetition_penalty": 1.1, "min_p": 0.05},
        {"penalty_repeat": 1.2, "repetition_penalty": 1.1, "penalty_last_n": 64},
        {"sequence": "k;p;t", "mirostat": 2, "mirostat_tau": 5.0, "mirostat_eta": 0.1},
        {"xtc_probability": 0.5, "xtc_threshold": 0.1, "top_k": None, "temperature": 1},
        {},
        [],
        "{ damaged",
    ]
    return [dict(directory="gen", total=1000, generation=s if isinstance(s, str) else json.dumps(s)) for s in settings]


def entries_of(writer):
    entries = []
    for key, value in writer.kv_data[0].items():
        kind = value.type.name.lower()
        entries.append([key, kind, value.value])
    return entries


def run_case(gguf, case):
    with tempfile.TemporaryDirectory() as root:
        directory = pathlib.Path(root) / case["directory"]
        directory.mkdir()
        for key, name in [("readme", "README.md"), ("generation", "generation_config.json")]:
            if key in case:
                (directory / name).write_bytes(case[key].encode("utf-8"))
        if "config" in case:
            (directory / "config.json").write_text(json.dumps(case["config"]))
        total = case["total"]
        meta = gguf.Metadata.load(None, directory, case.get("name"), total)
    if meta.name is None:
        meta.name = directory.name
    if meta.size_label is None and total > 0:
        meta.size_label = gguf.size_label(total, case.get("shared", total), case.get("expert", 0),
                                          case.get("expert_count", 0))
    writer = gguf.GGUFWriter(path=None, arch="llama")  # keeps the keys; nothing is written
    writer.add_type(gguf.GGUFType.MODEL)
    meta.set_gguf_meta_model(writer)
    for entry in writer.kv_data[0].values():
        if entry.type == gguf.GGUFValueType.ARRAY:
            assert all(isinstance(item, str) for item in entry.value), entry.value
        if entry.type == gguf.GGUFValueType.STRING:
            assert isinstance(entry.value, str), entry.value
    name = gguf.naming_convention(meta.name, meta.basename, meta.finetune, meta.version, meta.size_label, "q4_k_m")
    return dict(case, entries=entries_of(writer), artifact_name=name)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--gguf-py", required=True, help="the gguf-py folder of llama.cpp's source")
    parser.add_argument("-o", "--output", default="tests/golden/general_metadata.json")
    args = parser.parse_args()
    sys.path.insert(0, args.gguf_py)
    import gguf

    toml = (pathlib.Path(args.gguf_py) / "pyproject.toml").read_text()
    version = next(line.split('"')[1] for line in toml.splitlines() if line.startswith("version"))
    cases = [run_case(gguf, c) for c in names() + counts() + configs() + cards() + generations()]
    document = {
        "source": f"gguf-py {version} of the llama.cpp in llama-cpp-python 0.3.36, "
                  f"PyYAML {importlib.metadata.version('pyyaml')}",
        "recipe": "python tools/golden/make_metadata_goldens.py --gguf-py LLAMA_CPP/gguf-py",
        "cases": cases,
    }
    lines = ",\n".join(json.dumps(c, ensure_ascii=True) for c in cases)
    head = json.dumps({k: v for k, v in document.items() if k != "cases"}, indent=1)[:-2]
    pathlib.Path(args.output).write_text(head + ',\n "cases": [\n' + lines + "\n]}\n")
    print(f"{len(cases)} cases")


if __name__ == "__main__":
    main()
