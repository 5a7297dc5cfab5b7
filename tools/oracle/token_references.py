"""Tokenizers to compare with, and the directories or GGUF files that Qwodel reads for them.

Used by compare_tokens.py (live) and tools/golden/make_token_goldens.py (recorded). Files of a case are
as in tools/golden/make_tokenizer_goldens.py: {"from": path under tests/data or the shared folder},
{"json": value}; {"patch": path, "members": {...}} is a tokenizer.json with members replaced.
"""
import json
import os
import pathlib
import sys

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
ROOT = pathlib.Path(__file__).resolve().parents[2]


def copy(*names, **renamed):
    files = {pathlib.PurePath(name).name: {"from": name} for name in names}
    files.update({target: {"from": source} for target, source in renamed.items()})
    return files


def named(target, source):
    return {target: {"from": source}}


def sequence(kind, *steps):
    return {"type": "Sequence", kind: list(steps)}


def split(pattern, behavior="Isolated", invert=False):
    return {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert}


def numbered(base, *tokens):
    """Added tokens with the ids they have in a vocabulary, new ones behind it."""
    vocab = json.loads((ROOT / f"tests/data/tokenizers/{base}.json").read_text())["model"]["vocab"]
    ids = vocab if isinstance(vocab, dict) else {text: i for i, (text, _) in enumerate(vocab)}
    new, result = len(ids), []
    for token in tokens:
        known = token["content"] in ids
        result.append({**token, "id": ids[token["content"]] if known else new})
        new += not known
    return result


def added(content, **flags):
    return {"content": content, "single_word": False, "lstrip": False, "rstrip": False,
            "normalized": False, "special": False, **flags}


BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
PLAIN_BYTES = {**BYTES, "use_regex": False}


def variants():
    """name: members of a small tokenizer.json to replace; what no tokenizer of the shared folder has."""
    normal = {name: {"normalizer": {"type": name}} for name in
              ("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Nmt")}
    normal["NFD StripAccents"] = {"normalizer": sequence("normalizers", {"type": "NFD"}, {"type": "StripAccents"})}
    for left, right in ((True, True), (True, False), (False, True)):
        normal[f"Strip {left} {right}"] = {"normalizer": {"type": "Strip", "strip_left": left, "strip_right": right}}
    normal["Replace"] = {"normalizer": sequence(
        "normalizers", {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "},
        {"type": "Replace", "pattern": {"String": "the"}, "content": "THE"}, {"type": "Prepend", "prepend": "> "})}
    for clean, cjk, accents, lower in ((True, True, None, True), (False, True, True, False), (True, False, False, True),
                                       (True, True, False, False)):
        normal[f"Bert {clean} {cjk} {accents} {lower}"] = {"normalizer": {
            "type": "BertNormalizer", "clean_text": clean, "handle_chinese_chars": cjk, "strip_accents": accents,
            "lowercase": lower}}
    pre = {}
    for behavior in ("Removed", "Isolated", "Contiguous", "MergedWithPrevious", "MergedWithNext"):
        pre[f"Split {behavior}"] = sequence("pretokenizers", split({"Regex": r"\s|[aeiou]"}, behavior), PLAIN_BYTES)
        pre[f"Split {behavior} inverted"] = sequence("pretokenizers", split({"Regex": r"\p{L}+"}, behavior, True),
                                                     PLAIN_BYTES)
        pre[f"Punctuation {behavior}"] = sequence("pretokenizers", {"type": "Punctuation", "behavior": behavior},
                                                  PLAIN_BYTES)
    pre["Split String"] = sequence("pretokenizers", split({"String": "a."}, "MergedWithPrevious"), PLAIN_BYTES)
    for digits in (True, False):
        pre[f"Digits {digits}"] = sequence("pretokenizers", {"type": "Digits", "individual_digits": digits}, BYTES)
    for name in ("Whitespace", "WhitespaceSplit", "BertPreTokenizer"):
        pre[name] = sequence("pretokenizers", {"type": name}, PLAIN_BYTES)
    pre["CharDelimiterSplit"] = sequence("pretokenizers", {"type": "CharDelimiterSplit", "delimiter": "e"}, PLAIN_BYTES)
    pre["FixedLength"] = sequence("pretokenizers", {"type": "FixedLength", "length": 3}, PLAIN_BYTES)
    pre["prefix space"] = {**BYTES, "add_prefix_space": True}
    pre["behind ByteLevel"] = sequence("pretokenizers", BYTES, {"type": "Digits", "individual_digits": True},
                                       split({"Regex": "[a-m]"}))
    cases = {f"bytelevel {name}": ("bytelevel", members) for name, members in normal.items()}
    cases |= {f"bytelevel {name}": ("bytelevel", {"pre_tokenizer": members}) for name, members in pre.items()}
    cases["bytelevel ByteLevel normalizer"] = ("bytelevel", {"normalizer": {"type": "ByteLevel"},
                                                             "pre_tokenizer": split({"Regex": "Ġ"}, "MergedWithNext")})
    cases["bytelevel no merges in words"] = ("bytelevel", {"model.ignore_merges": True})
    cases["bytelevel added"] = ("bytelevel", {"normalizer": {"type": "Lowercase"}, "added_tokens": numbered(
        "bytelevel", added("<s>", special=True, lstrip=True), added("</s>", special=True, rstrip=True),
        added("the", single_word=True), added("Emoji", normalized=True), added(" "), added("  "),
        added("[MASK]", special=True, lstrip=True, rstrip=True), added("<|im_start|>", normalized=True, special=True))})
    for scheme in ("always", "never", "first"):
        for split_words in (True, False):
            meta = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": split_words}
            cases[f"unigram Metaspace {scheme} {split_words}"] = ("unigram", {
                "pre_tokenizer": meta, "decoder": meta, "added_tokens": numbered(
                    "unigram", added("<unk>", special=True), added("<s>", special=True), added("the"))})
    cases["unigram bytes"] = ("unigram_bytes", {})
    cases["wordpiece"] = ("wordpiece", {})
    cases["wordpiece short words"] = ("wordpiece", {"model.max_input_chars_per_word": 5, "decoder": {
        "type": "WordPiece", "prefix": "##", "cleanup": False}})
    cases["wordlevel"] = ("wordlevel", {})
    cases["bpe suffix"] = ("bpe_suffix", {})
    cases["bpe prefix"] = ("bpe_prefix", {})
    cases["bpe unknown"] = ("bpe_suffix", {"model.fuse_unk": True})
    template = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "x", "type_id": 0}}, {"Sequence": {
        "id": "A", "type_id": 0}}, {"SpecialToken": {"id": "y", "type_id": 0}}], "pair": [
        {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"x": {"id": "x", "ids": [1, 2], "tokens": ["b", "c"]},
                           "y": {"id": "y", "ids": [3], "tokens": ["d"]}}}
    cases["post Sequence"] = ("bytelevel", {"post_processor": {"type": "Sequence", "processors": [
        {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}, template]}})
    cases["post Bert"] = ("wordpiece", {"post_processor": {"type": "BertProcessing", "sep": ["a", 5], "cls": ["b", 6]}})
    return cases


def cases():
    """name: {"kind", "files"}; kind is the package that is compared with."""
    t, m, v = "tokenizers", "models", "tokenizers/llama.cpp-vocab"
    result = {}
    for name in ("falcon", "phi-2", "phi-3", "phi-3-mini", "roberta-base", "smollm2", "t5-small"):
        result[name] = ("tokenizers", copy(f"{t}/{name}/tokenizer.json"))
    result["smollm2 newer merges"] = ("tokenizers",
                                      named("tokenizer.json", f"{t}/smollm2/tokenizer.newformat-merges.json"))
    result["gpt-neox"] = ("tokenizers", named("tokenizer.json", f"{t}/gpt-neox/20B_tokenizer.json"))
    for name in ("stories260K-hf", "babyllama-tok361-hf", "gpt2-16d-tiny"):
        result[name] = ("tokenizers", copy(f"{m}/{name}/tokenizer.json"))
    for name in ("stories260K-hf", "babyllama-tok361-hf"):
        result[f"{name} model"] = ("sentencepiece", copy(f"{m}/{name}/tokenizer.model"))
    result["llama2 model"] = ("sentencepiece", copy(f"{t}/llama2/tokenizer.model"))
    for name in ("tokenizer.model.v1", "mistral_instruct_tokenizer_240216.model.v2",
                 "mistral_instruct_tokenizer_240323.model.v3", "mistral_instruct_tokenizer_241114.model.v7"):
        result[f"mistral {name[-2:]}"] = ("sentencepiece", named("tokenizer.model", f"{t}/mistral/{name}"))
    result["llama-3.2"] = ("tiktoken", copy(f"{t}/llama-3.2/tokenizer.model"))
    result["llama-4"] = ("tiktoken", copy(f"{t}/llama-4/tokenizer.model"))
    result["gpt2"] = ("GPT2Tokenizer", copy(f"{t}/gpt2/vocab.json", f"{t}/gpt2/merges.txt"))
    qwen2 = [f"{t}/qwen2/{name}" for name in ("vocab.json", "merges.txt", "tokenizer_config.json", "config.json")]
    result["qwen2"] = ("AutoTokenizer", copy(*qwen2))
    phi4 = [f"{t}/phi-4-mini-instruct/{name}" for name in
            ("vocab.json", "merges.txt", "tokenizer_config.json", "added_tokens.json", "special_tokens_map.json")]
    result["phi-4-mini-instruct"] = ("AutoTokenizer", copy(*phi4))
    cased = {"tokenizer_config.json": {"json": {"do_lower_case": False}}}
    result["bert-base-cased"] = ("BertTokenizer", {**copy(f"{t}/bert-base-cased/vocab.txt"), **cased})
    result["bert lower case"] = ("BertTokenizer", copy(f"{t}/bert-base-cased/vocab.txt"))
    for name in ("baichuan", "bert-bge", "deepseek-coder", "deepseek-llm", "falcon", "gpt-2", "gpt-neox", "llama-spm",
                 "mpt", "phi-3", "refact", "starcoder"):
        result[f"{name}.gguf"] = ("llama.cpp", named("model.gguf", f"{v}/ggml-vocab-{name}.gguf"))
    for name, (base, members) in variants().items():
        result[name] = ("tokenizers", {"tokenizer.json": {"patch": f"tokenizers/{base}.json", "members": members}})
    return {name: {"kind": kind, "files": files} for name, (kind, files) in result.items()}


def find_file(name, shared):
    for path in (ROOT / "tests/data" / name, shared / name):
        if path.is_file():
            return path
    raise FileNotFoundError(f"{name}: neither in tests/data nor in {shared}")


def make_directory(files, directory, shared):
    for name, source in files.items():
        path = directory / name
        if "from" in source:
            path.write_bytes(find_file(source["from"], shared).read_bytes())
            continue
        value = source.get("json")
        if "patch" in source:
            value = json.loads(find_file(source["patch"], shared).read_text())
            for key, member in source["members"].items():
                if key.startswith("model."):
                    value["model"][key.removeprefix("model.")] = member
                else:
                    value[key] = member
        path.write_text(json.dumps(value, ensure_ascii=False))


class HuggingFace:
    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()

    def encode(self, data, special):
        self.tokenizer.encode_special_tokens = not special
        return self.tokenizer.encode(data.decode("utf-8", "replace")).ids

    def decode(self, ids, skip_special):
        return self.tokenizer.decode(ids, skip_special_tokens=skip_special).encode()


class SentencePiece:
    """With the begin token that Llama's tokenizer class puts in front."""

    def __init__(self, path):
        import sentencepiece
        self.model = sentencepiece.SentencePieceProcessor(model_file=str(path))

    def encode(self, data, special):
        return None if special else [self.model.bos_id()] + self.model.encode(data.decode("utf-8", "replace"))

    def decode(self, ids, skip_special):
        return self.model.decode(ids).encode() if skip_special else None


class TikToken:
    WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
    ENDING = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
    UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
    TAIL = r"|\s*[\r\n]+|\s+(?!\S)|\s+"

    def __init__(self, path):
        import tiktoken
        import tiktoken.load
        ranks = tiktoken.load.load_tiktoken_bpe(str(path))
        pattern = rf"{self.ENDING}|{self.WORDS}|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*" + self.TAIL
        if len(ranks) > 150000:
            start = r"[^\r\n\p{L}\p{N}]?"
            pattern = (rf"{start}{self.UPPER}*{self.LOWER}+{self.ENDING}?|{start}{self.UPPER}+{self.LOWER}*"
                       rf"{self.ENDING}?|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*") + self.TAIL
        self.encoding = tiktoken.Encoding("file", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})

    def encode(self, data, special):
        return None if special else self.encoding.encode_ordinary(data.decode("utf-8", "replace"))

    def decode(self, ids, skip_special):
        return self.encoding.decode(ids).encode()


class LlamaCpp:
    """Invalid UTF-8 is replaced beforehand: llama.cpp decodes some of it leniently."""

    def __init__(self, path, oracles):
        sys.path.insert(0, str(oracles))
        import gguf_oracle as oracle
        oracle.route_log(False)
        self.llama, self.ffi = oracle.llama, oracle.ffi
        params = self.llama.llama_model_default_params()
        params.n_gpu_layers, params.vocab_only = 0, True
        self.model = self.llama.llama_model_load_from_file(str(path).encode(), params)
        if self.model == self.ffi.NULL:
            raise ValueError(f"{path}: llama.cpp cannot load it")
        self.vocab = self.llama.llama_model_get_vocab(self.model)

    def encode(self, data, special):
        data = data.decode("utf-8", "replace").encode()
        ids = self.ffi.new("llama_token[]", len(data) + 8)
        count = self.llama.llama_tokenize(self.vocab, data, len(data), ids, len(data) + 8, True, special)
        return list(ids[0:count])

    def decode(self, ids, skip_special):
        tokens, size = self.ffi.new("llama_token[]", ids), 64 * len(ids) + 64
        text = self.ffi.new("char[]", size)
        count = self.llama.llama_detokenize(self.vocab, tokens, len(ids), text, size, skip_special, not skip_special)
        return bytes(self.ffi.buffer(text, count)).decode("utf-8", "replace").encode()


def open_reference(kind, directory, oracles):
    if kind == "tokenizers":
        import tokenizers
        return HuggingFace(tokenizers.Tokenizer.from_file(str(directory / "tokenizer.json")))
    if kind == "sentencepiece":
        return SentencePiece(directory / "tokenizer.model")
    if kind == "tiktoken":
        return TikToken(directory / "tokenizer.model")
    if kind == "llama.cpp":
        return LlamaCpp(directory / "model.gguf", oracles)
    import transformers
    return HuggingFace(getattr(transformers, kind).from_pretrained(directory)._tokenizer)


def model_path(case, directory):
    """What qwodel is given."""
    return directory / "model.gguf" if case["kind"] == "llama.cpp" else directory


def texts(shared):
    """name: path; those of tests/data first."""
    found = {name: ROOT / "tests/data" / name for name in ("nasty.txt", "newer_unicode.txt")}
    for path in sorted((shared / "text").rglob("*")):
        if path.is_file():
            found[str(path.relative_to(shared))] = path
    return found
