#!/usr/bin/env python3
"""Writes tests/golden/tokenizers.json: the tokenizer keys of convert_hf_to_gguf.py.

    python tools/golden/make_tokenizer_goldens.py --llama-cpp DIR --shared DIR [-o OUT.json] [NAME ...]

Every case is a directory of tokenizer files and one of the converter's vocabulary methods, which is
called with a writer that records keys. DIR of --llama-cpp holds convert_hf_to_gguf.py with its
conversion/ and gguf-py/; --shared holds models/ and tokenizers/ (a copy of the small ones is in
tests/data). A file of a case is {"from": path under tests/data or --shared}, {"json": value} or
{"text": value}. A tokenizer.json can also be put together: {"assemble": {...}} takes `vocab` (a
vocab.json, or the tokens of a GGUF, whose control and user-defined tokens become added tokens) and
`merges` (a merges.txt, or that GGUF's) and further members.

Where the converter does not recognise the pre-tokenizer it gives up; the case then records
"pre": null and all other keys. With NAMEs only these cases are made and the others are kept.
Needs torch, transformers, sentencepiece (versions are recorded) and libxxhash.
"""
import argparse
import ctypes
import ctypes.util
import importlib.metadata
import json
import logging
import pathlib
import struct
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]

GPT2_SPLIT = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
BYTES_ONLY = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")


def split(regex):
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}


def sequence(*steps):
    return {"type": "Sequence", "pretokenizers": list(steps)}


def added(token_id, content, special=True, normalized=False):
    return {"id": token_id, "content": content, "single_word": False, "lstrip": False,
            "rstrip": False, "normalized": normalized, "special": special}


def template(*first):
    """A TemplateProcessing that puts one special token in front."""
    name, token_id = first
    token = {"SpecialToken": {"id": name, "type_id": 0}}
    a, b = {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}
    return {"type": "TemplateProcessing", "single": [token, a], "pair": [token, a, token, b],
            "special_tokens": {name: {"id": name, "ids": [token_id], "tokens": [name]}}}


def copy(*names, **renamed):
    files = {pathlib.PurePath(name).name: {"from": name} for name in names}
    files.update({target: {"from": source} for target, source in renamed.items()})
    return files


def assembled(vocab, merges, pre_tokenizer, post_processor=None, normalizer=None, tokens=(), model=None):
    return {"assemble": {"vocab": vocab, "merges": merges, "pre_tokenizer": pre_tokenizer,
                         "post_processor": post_processor, "normalizer": normalizer,
                         "added_tokens": list(tokens), "model": model or {},
                         "decoder": BYTES_ONLY}}


def cases():
    t, m = "tokenizers", "models"
    config = lambda model_type, **members: {"json": {"model_type": model_type, **members}}
    spm_ids = dict(bos_token_id=1, eos_token_id=2)
    case = {}

    def add(name, kind, vocab_size, files, **config_members):
        model_type = config_members.pop("model_type", "llama")
        files.setdefault("config.json", config(model_type, **config_members))
        case[name] = {"kind": kind, "vocab_size": vocab_size, "files": files}

    for name, size in [("stories260K-hf", 512), ("babyllama-tok361-hf", 361)]:
        rest = [f"{m}/{name}/{file}" for file in ("tokenizer_config.json", "special_tokens_map.json")]
        both = copy(f"{m}/{name}/tokenizer.model", f"{m}/{name}/tokenizer.json", *rest)
        add(name, "sentencepiece", size, dict(both), **spm_ids)
        add(f"{name} padded", "sentencepiece", size + 7, dict(both), **spm_ids)
        add(f"{name} json", "llama_hf", size, copy(f"{m}/{name}/tokenizer.json", *rest), **spm_ids)
    add("stories260K-hf more tokens", "sentencepiece", 520, {
        **copy(f"{m}/stories260K-hf/tokenizer.model"),
        "added_tokens.json": {"json": {"<|extra|>": 512, "plain \u2581 token": 513, "far": 900}},
        "tokenizer_config.json": {"json": {
            "bos_token": {"content": "<s>"}, "eos_token": "</s>", "add_bos_token": True, "add_eos_token": False,
            "added_tokens_decoder": {
                "1": {"content": "<s>", "special": True}, "2": {"content": "</s>", "special": True},
                "514": {"content": "\u2581two\u2581words", "special": False},
                "515": {"content": "<unused7>", "special": False}, "516": {"content": "<pad>"},
                "9999": {"content": "beyond", "special": True}},
            "chat_template": [{"name": "default", "template": "{{ a }}"},
                              {"name": "tool use", "template": "{{ b }}"}, {"name": "", "template": "x"}]}}},
        **spm_ids, pad_token_id=700)

    gpt2 = [f"{m}/gpt2-16d-tiny/{file}" for file in
            ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "config.json")]
    add("gpt2-16d-tiny", "gpt2", 50257, copy(*gpt2))
    add("gpt2-16d-tiny padded", "gpt2", 50304, copy(*gpt2[:3]), model_type="gpt2")
    add("gpt2 vocab and merges", "gpt2", 50257, copy(f"{t}/gpt2/vocab.json", f"{t}/gpt2/merges.txt"),
        model_type="gpt2", bos_token_id=50256, eos_token_id=50256)
    smollm = [f"{t}/smollm2/{file}" for file in
              ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "config.json")]
    add("smollm2", "gpt2", 49153, copy(*smollm))
    add("smollm2 merges as pairs", "gpt2", 49153, copy(
        *smollm[1:], **{"tokenizer.json": f"{t}/smollm2/tokenizer.newformat-merges.json"}))
    add("falcon", "gpt2", 65024, copy(f"{t}/falcon/tokenizer.json"), model_type="falcon",
        bos_token_id=11, eos_token_id=11)
    add("gpt-neox", "gpt2", 50432, copy(**{"tokenizer.json": f"{t}/gpt-neox/20B_tokenizer.json"}),
        model_type="gpt_neox", bos_token_id=0, eos_token_id=0)
    add("phi-2", "gpt2", 51200, copy(f"{t}/phi-2/tokenizer.json", f"{t}/phi-2/tokenizer_config.json"),
        model_type="phi", bos_token_id=50256, eos_token_id=50256)
    add("qwen2", "gpt2", 151936, copy(*[f"{t}/qwen2/{file}" for file in (
        "vocab.json", "merges.txt", "added_tokens.json", "tokenizer_config.json",
        "special_tokens_map.json", "config.json")]))
    add("roberta-base", "gpt2", 50265, {**copy(f"{t}/roberta-base/tokenizer.json"),
        "tokenizer_config.json": {"json": {"tokenizer_class": "RobertaTokenizer"}}},
        model_type="roberta", bos_token_id=0, eos_token_id=2, pad_token_id=1)

    llama3_specials = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>"]
    llama3 = [added(128000 + i, name) for i, name in enumerate(llama3_specials)]
    encoder, ranks = f"{t}/llama-3.2/encoder.json", f"{t}/llama-3.2/vocab.bpe"
    pre = sequence(split(LLAMA3), BYTES_ONLY)
    add("llama-3.2", "gpt2", 128256, {
        "tokenizer.json": assembled(encoder, ranks, pre, {"type": "Sequence", "processors": [
            BYTES_ONLY, template("<|begin_of_text|>", 128000)]}, None, llama3, {"ignore_merges": True}),
        "tokenizer_config.json": {"json": {"tokenizer_class": "PreTrainedTokenizerFast",
                                           "bos_token": llama3_specials[0], "eos_token": llama3_specials[1]}}})
    add("llama-3.2 without bos", "gpt2", 128256, {
        "tokenizer.json": assembled(encoder, ranks, pre, BYTES_ONLY, None, llama3, {"ignore_merges": True}),
        "tokenizer_config.json": {"json": {"tokenizer_class": "PreTrainedTokenizerFast",
                                           "eos_token": llama3_specials[1]}}})

    gguf = lambda name: f"{t}/llama.cpp-vocab/ggml-vocab-{name}.gguf"
    digits = {"type": "Digits", "individual_digits": True}
    fast = {"json": {"tokenizer_class": "PreTrainedTokenizerFast"}}
    coder = sequence(split("[\r\n]"), split(r"\s?\p{L}+"), split(r"\s?\p{P}+"),
                     split("[一-龥ࠀ-一가-퟿]+"), digits, BYTES_ONLY)
    begin = template("<｜begin▁of▁sentence｜>", 32013)
    for name, steps, size, post in [
            ("starcoder", sequence(digits, GPT2_SPLIT), 49152, None),
            ("refact", sequence(digits, GPT2_SPLIT), 49216, None),
            ("deepseek-coder", coder, 32256, begin), ("mpt", GPT2_SPLIT, 50432, None),
            ("falcon", sequence({"type": "Punctuation", "behavior": "Contiguous"}, GPT2_SPLIT,
                                {"type": "Digits", "individual_digits": False}, split("[0-9][0-9][0-9]")),
             65024, None)]:
        normalizer = {"type": "NFC"} if name == "mpt" else None
        add(f"{name} assembled", "gpt2", size, {
            "tokenizer.json": assembled(gguf(name), gguf(name), steps, post, normalizer),
            "tokenizer_config.json": fast}, model_type="gpt2")

    for name in ("llama2",):
        whole = [f"{t}/{name}/{file}" for file in ("tokenizer_config.json", "special_tokens_map.json")]
        add(name, "sentencepiece", 32000, copy(f"{t}/{name}/tokenizer.model", f"{t}/{name}/tokenizer.json", *whole),
            **spm_ids)
        add(f"{name} json", "llama_hf", 32000, copy(f"{t}/{name}/tokenizer.json", *whole), **spm_ids)
    phi3 = [f"{t}/phi-3/{file}" for file in ("tokenizer.json", "tokenizer_config.json")]
    add("phi-3", "phi3", 32064, copy(f"{t}/llama2/tokenizer.model", *phi3), model_type="phi3",
        bos_token_id=1, eos_token_id=32000, pad_token_id=32000)
    add("phi-3 json", "llama_hf", 32064, copy(*phi3), **spm_ids)
    for version, file in [("v1", "tokenizer.model.v1"), ("v2", "mistral_instruct_tokenizer_240216.model.v2"),
                          ("v3", "mistral_instruct_tokenizer_240323.model.v3"),
                          ("v7", "mistral_instruct_tokenizer_241114.model.v7")]:
        add(f"mistral {version}", "sentencepiece", 0, copy(**{"tokenizer.model": f"{t}/mistral/{file}"}), **spm_ids)
    add("t5-small", "xlm_roberta", 32128, copy(f"{t}/t5-small/tokenizer.json"), model_type="t5",
        eos_token_id=1, pad_token_id=0)
    add("bert-base-cased", "bert", 28996, {**copy(f"{t}/bert-base-cased/vocab.txt"),
        "tokenizer_config.json": {"json": {"do_lower_case": False, "tokenizer_class": "BertTokenizer"}}},
        model_type="bert", pad_token_id=0)

    tiny = f"{m}/stories260K-hf/tokenizer.model"
    for name in ("gemma", "gemma-3-chat", "gpt-oss", "nvidia-mistral", "phi-4-base", "phi-4-mini", "qwen2.5",
                 "qwen3", "smollm3"):
        names = ["tokenizer_config.json"] + (["chat_template.jinja"] if name in ("gpt-oss", "smollm3") else [])
        add(f"{name} config", "sentencepiece", 512,
            copy(tiny, *[f"{t}/configs-only/{name}/{file}" for file in names]))
    add("chat templates", "sentencepiece", 512, {**copy(tiny), "tokenizer_config.json": {"json": {"x": 1}},
        "chat_template.jinja": {"text": "{{ first }}\n"},
        "additional_chat_templates/rag-2.jinja": {"text": "{{ rag }}"}})
    add("chat template json", "sentencepiece", 512, {**copy(tiny), "tokenizer_config.json": {"json": {"x": 1}},
        "chat_template.json": {"json": {"chat_template": "{{ from json }}"}}})
    return case


class Recorder:
    """Stands for the GGUF writer: keeps (key, type, value) in order."""

    def __init__(self, gguf):
        self.gguf, self.entries = gguf, {}

    def __getattr__(self, name):
        if name.startswith("add_"):
            return getattr(self.gguf.GGUFWriter, name).__get__(self)
        raise AttributeError(name)

    arch = "ARCH"

    def put(self, kind, key, value):
        self.entries[key] = (kind, value)

    def add_string(self, key, value):
        if value:
            self.put("string", key, value)

    def add_array(self, key, value):
        if len(value) > 0:
            self.put("array", key, value)

    def add_bool(self, key, value):
        self.put("bool", key, value)

    def add_uint32(self, key, value):
        self.put("u32", key, value)

    def remove_key(self, key):
        self.entries.pop(key, None)


class Xxh3:
    def __init__(self):
        self.function = ctypes.CDLL(ctypes.util.find_library("xxhash")).XXH3_64bits
        self.function.restype = ctypes.c_uint64
        self.function.argtypes = [ctypes.c_char_p, ctypes.c_size_t]

    def __call__(self, data):
        return f"{self.function(data, len(data)):016x}"


def recorded(entries, xxh3):
    """[key, type, value] with long values as hashes: strings with u64 lengths before them, numbers as on disk."""
    rows = []
    for key, (kind, value) in entries.items():
        if kind == "array":
            first = value[0]
            if isinstance(value, bytes):
                data, kind = bytes(value), "u8[]"
            elif isinstance(first, (str, bytes)):
                texts = [v.encode("utf-8") if isinstance(v, str) else v for v in value]
                data, kind = b"".join(struct.pack("<Q", len(v)) + v for v in texts), "string[]"
            elif isinstance(first, float):
                data, kind = struct.pack(f"<{len(value)}f", *value), "f32[]"
            else:
                data, kind = struct.pack(f"<{len(value)}i", *map(int, value)), "i32[]"
            rows.append([key, kind, len(value), xxh3(data)])
        elif kind == "string" and len(value) > 40:
            rows.append([key, kind, len(value.encode()), xxh3(value.encode())])
        else:
            rows.append([key, kind, value])
    return rows


def find_source(name, shared):
    for path in (ROOT / "tests/data" / name, shared / name):
        if path.is_file():
            return path
    raise SystemExit(f"{name}: neither in tests/data nor in {shared}")


def assemble(recipe, shared, gguf):
    def open_gguf(name, key):
        field = gguf.GGUFReader(find_source(name, shared)).get_field(key)
        return [bytes(field.parts[i]).decode() for i in field.data]

    def vocab(name):
        if name.endswith(".gguf"):
            return {token: i for i, token in enumerate(open_gguf(name, "tokenizer.ggml.tokens"))}
        return json.loads(find_source(name, shared).read_text())

    def merges(name):
        if name.endswith(".gguf"):
            return open_gguf(name, "tokenizer.ggml.merges")
        lines = find_source(name, shared).read_text().split("\n")
        return [line for line in lines if line and not line.startswith("#version")]

    recipe = dict(recipe)
    if recipe["vocab"].endswith(".gguf") and not recipe["added_tokens"]:
        reader = gguf.GGUFReader(find_source(recipe["vocab"], shared))
        field = reader.get_field("tokenizer.ggml.token_type")
        types = [int(field.parts[i][0]) for i in field.data]
        recipe["added_tokens"] = [added(i, token, types[i] == 3) for token, i in vocab(recipe["vocab"]).items()
                                  if types[i] in (3, 4)]
    model = {"type": "BPE", **recipe.pop("model"), "vocab": vocab(recipe.pop("vocab")),
             "merges": merges(recipe.pop("merges"))}
    return {"version": "1.0", **recipe, "model": model}


def make_directory(files, directory, shared, gguf):
    for name, source in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if "from" in source:
            path.write_bytes(find_source(source["from"], shared).read_bytes())
        elif "assemble" in source:
            path.write_text(json.dumps(assemble(source["assemble"], shared, gguf), ensure_ascii=False))
        else:
            path.write_text(source["text"] if "text" in source else json.dumps(source["json"]))


def run(name, case, shared, gguf, xxh3):
    from conversion.base import TextModel
    from conversion.bert import BertModel
    from conversion.phi import Phi3MiniModel
    methods = {"sentencepiece": (TextModel, TextModel._set_vocab_sentencepiece),
               "llama_hf": (TextModel, TextModel._set_vocab_llama_hf),
               "gpt2": (TextModel, TextModel._set_vocab_gpt2), "phi3": (Phi3MiniModel, Phi3MiniModel.set_vocab),
               "bert": (BertModel, BertModel.set_vocab), "xlm_roberta": (BertModel, BertModel._xlmroberta_set_vocab)}
    base, method = methods[case["kind"]]
    known = []

    class Model(base):
        model_arch = gguf.MODEL_ARCH.LLAMA

        def __init__(self):
            pass

        def get_vocab_base_pre(self, tokenizer):
            try:
                known.append(super().get_vocab_base_pre(tokenizer))
            except NotImplementedError:
                known.append(None)
            return known[-1] or ""

    with tempfile.TemporaryDirectory() as scratch:
        directory = pathlib.Path(scratch) / "model"
        directory.mkdir()
        make_directory(case["files"], directory, shared, gguf)
        model = Model()
        model.dir_model, model.gguf_writer = directory, Recorder(gguf)
        model.hparams = json.loads((directory / "config.json").read_text())
        if case["vocab_size"]:
            model.hparams["vocab_size"] = case["vocab_size"]
        method(model)
        result = dict(case)
        if known:
            result["pre"] = known[-1]
        result["keys"] = recorded(model.gguf_writer.entries, xxh3)
        return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llama-cpp", type=pathlib.Path, required=True)
    parser.add_argument("--shared", type=pathlib.Path, required=True)
    parser.add_argument("-o", "--output", type=pathlib.Path, default=ROOT / "tests/golden/tokenizers.json")
    parser.add_argument("names", nargs="*", metavar="NAME")
    arguments = parser.parse_args()
    sys.path[:0] = [str(arguments.llama_cpp), str(arguments.llama_cpp / "gguf-py")]
    logging.disable(logging.WARNING)
    import gguf

    versions = {name: importlib.metadata.version(name) for name in ("transformers", "tokenizers", "sentencepiece")}
    versions["llama.cpp"] = "as in llama-cpp-python 0.3.36, October 2026"
    results = json.loads(arguments.output.read_text())["cases"] if arguments.names else {}
    xxh3 = Xxh3()
    for name, case in cases().items():
        if not arguments.names or name in arguments.names:
            try:
                results[name] = run(name, case, arguments.shared, gguf, xxh3)
            except Exception as error:  # the converter refuses: there is nothing to compare with
                results.pop(name, None)
                print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)
    document = {"recipe": "tools/golden/make_tokenizer_goldens.py", "versions": versions, "cases": results}
    text = json.dumps(document, indent=1, ensure_ascii=False)
    arguments.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
