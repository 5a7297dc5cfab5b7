#!/usr/bin/env python3
"""Writes tests/golden/tokens.json: token ids and decoded texts of the reference tokenizers, as hashes.

    python tools/golden/make_token_goldens.py --oracles DIR --shared DIR [--train] [-o OUT.json] [NAME ...]

Cases and references: tools/oracle/token_references.py. For each text: with and without parsing special
tokens the number of ids and the XXH3-64 of the ids as 32-bit little-endian numbers, then the XXH3-64 of the
text they decode to, with special tokens and without (of the ids with special tokens where there are such).
null: the reference has no such mode. --train makes tests/data/tokenizers/*.json anew, the small tokenizers
of the variants. DIR of --oracles holds gguf_oracle.py; --shared holds models/, tokenizers/ and text/.
Needs tokenizers, transformers, sentencepiece, tiktoken, llama_cpp_py_sync and xxhash.
"""
import argparse
import importlib.metadata
import json
import pathlib
import struct
import sys
import tempfile

import xxhash

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools/oracle"))
import token_references as references

TEXTS = ("nasty.txt", "text/calibration/calibration_datav3.txt", "text/tinystories-text/corpus.en",
         "text/wikitext-2-raw/wiki.test.raw")


def train(shared):
    """The small tokenizers: 800 tokens each, learnt from a part of tinystories and the nasty text."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    folder = ROOT / "tests/data/tokenizers"
    folder.mkdir(exist_ok=True)
    text = (shared / "text/tinystories-text/tinystories_1000.txt").read_text()[:200000]
    text += (ROOT / "tests/data/nasty.txt").read_bytes().decode("utf-8", "replace")
    lines = text.split("\n")

    def save(name, tokenizer, trainer):
        tokenizer.train_from_iterator(lines, trainer)
        (folder / f"{name}.json").write_text(json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False) + "\n")

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    save("bytelevel", tokenizer, trainers.BpeTrainer(
        vocab_size=800, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False))
    for name, bytes_too in (("unigram", False), ("unigram_bytes", True)):
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.normalizer = normalizers.NFKC()
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        tokenizer.decoder = decoders.Metaspace()
        save(name, tokenizer, trainers.UnigramTrainer(vocab_size=700, unk_token="<unk>", special_tokens=["<unk>"],
                                                      show_progress=False))
        if bytes_too:
            path = folder / f"{name}.json"
            document = json.loads(path.read_text())
            document["model"]["vocab"] += [[f"<0x{byte:02X}>", -20.0] for byte in range(256)]
            document["model"]["byte_fallback"] = True
            document["decoder"] = references.sequence(
                "decoders", {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
                {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0})
            path.write_text(json.dumps(document, ensure_ascii=False) + "\n")
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    save("wordpiece", tokenizer, trainers.WordPieceTrainer(vocab_size=800, special_tokens=["[UNK]"], show_progress=False))
    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    save("wordlevel", tokenizer, trainers.WordLevelTrainer(vocab_size=800, special_tokens=["[UNK]"], show_progress=False))
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.BPEDecoder()
    save("bpe_suffix", tokenizer, trainers.BpeTrainer(vocab_size=800, special_tokens=["<unk>"], limit_alphabet=100,
                                                      end_of_word_suffix="</w>", show_progress=False))
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", continuing_subword_prefix="##"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    save("bpe_prefix", tokenizer, trainers.BpeTrainer(vocab_size=800, special_tokens=["<unk>"], limit_alphabet=100,
                                                      continuing_subword_prefix="##", show_progress=False))


def digest(data):
    return None if data is None else f"{xxhash.xxh3_64_intdigest(data):016x}"


def record(reference, data):
    row, shown = [], None
    for special in (True, False):
        ids = reference.encode(data, special)
        row.append(None if ids is None else [len(ids), digest(struct.pack(f"<{len(ids)}I", *ids))])
        shown = shown if shown is not None else ids
    return row + [digest(reference.decode(shown, skip)) for skip in (False, True)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--oracles", type=pathlib.Path, required=True)
    parser.add_argument("--shared", type=pathlib.Path, required=True)
    parser.add_argument("--train", action="store_true")
    parser.add_argument("-o", "--output", type=pathlib.Path, default=ROOT / "tests/golden/tokens.json")
    parser.add_argument("names", nargs="*", metavar="NAME")
    args = parser.parse_args()
    if args.train:
        train(args.shared)
    results = json.loads(args.output.read_text())["cases"] if args.names else {}
    texts = references.texts(args.shared)
    for name, case in references.cases().items():
        if args.names and name not in args.names:
            continue
        with tempfile.TemporaryDirectory() as scratch:
            directory = pathlib.Path(scratch)
            references.make_directory(case["files"], directory, args.shared)
            reference = references.open_reference(case["kind"], directory, args.oracles)
            small = any("patch" in source for source in case["files"].values())
            results[name] = {**case, "texts": {text: record(reference, texts[text].read_bytes())
                                               for text in (TEXTS[:1] if small else TEXTS)}}
    versions = {name: importlib.metadata.version(name) for name in
                ("tokenizers", "transformers", "sentencepiece", "tiktoken", "llama-cpp-py-sync")}
    document = {"recipe": "tools/golden/make_token_goldens.py", "versions": versions, "cases": results}
    lines = [f"  {json.dumps(name, ensure_ascii=False)}: {json.dumps(case, ensure_ascii=False)}"
             for name, case in results.items()]
    head = json.dumps({key: document[key] for key in ("recipe", "versions")}, indent=1)[:-2]
    args.output.write_text(head + ',\n "cases": {\n' + ",\n".join(lines) + "\n }\n}\n")


if __name__ == "__main__":
    main()
