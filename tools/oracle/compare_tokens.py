#!/usr/bin/env python3
"""Compares token ids and decoded texts of qwodel with the reference tokenizers, live.

    python tools/oracle/compare_tokens.py --oracles DIR --shared DIR --qwodel build/release/qwodel [NAME ...]

Every tokenizer of token_references.py on every text under SHARED/text and on tests/data/nasty.txt; ends with
a non-zero status when anything differs. --speed instead measures one encode() of wiki.test.raw: qwodel's
process less the same process on an empty text, against the package's call, on one thread.
"""
import argparse
import itertools
import json
import logging
import os
import pathlib
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("RAYON_NUM_THREADS", "1")
import token_references as references

# What may differ, with the reason in docs/tokenizer_differences.md.
EXCEPTIONS = {"newer_unicode.txt"}


def first_difference(got, want):
    return next((i for i, (a, b) in enumerate(itertools.zip_longest(got, want)) if a != b), None)


def run(qwodel, path, *options):
    done = subprocess.run([qwodel, "tokenize", path, *options], capture_output=True)
    if done.returncode:
        raise ValueError(done.stderr.decode().strip())
    return done.stdout


def compare(args, reference, path, text, scratch):
    """Descriptions of what differs."""
    data, shown, found = text.read_bytes(), None, []
    source = text
    if path.suffix == ".gguf":
        source = scratch / "text"
        source.write_bytes(data.decode("utf-8", "replace").encode())
    for special in (True, False):
        want = reference.encode(data, special)
        if want is None:
            continue
        shown = shown if shown is not None else want
        options = ["--parse-special"] if special else []
        got = json.loads(run(args.qwodel, path, "--text", source, "--json", *options))
        if got != want:
            at = first_difference(got, want)
            found.append(f"ids at {at}: {got[at - 1:at + 4]} instead of {want[at - 1:at + 4]}")
    (scratch / "ids").write_text(" ".join(map(str, shown)))
    for skip in (False, True):
        want = reference.decode(shown, skip)
        if want is None:
            continue
        got = run(args.qwodel, path, "--decode", scratch / "ids", *(["--skip-special"] if skip else []))
        if got != want:
            at = first_difference(got, want)
            found.append(f"text at {at}: {got[at - 10:at + 20]} instead of {want[at - 10:at + 20]}")
    return found


def best_time(action, times=3):
    def once():
        start = time.perf_counter()
        action()
        return time.perf_counter() - start
    return min(once() for _ in range(times))


def measure(args, reference, path, text):
    data = text.read_bytes()
    theirs = best_time(lambda: reference.encode(data, False))
    whole = best_time(lambda: run(args.qwodel, path, "--text", text), 5)
    empty = best_time(lambda: run(args.qwodel, path, "--text", os.devnull), 5)
    ours = max(whole - empty, 1e-3)
    return (f"package {len(data) / theirs / 1e6:.2f} MB/s, qwodel {len(data) / ours / 1e6:.1f} MB/s, "
            f"ratio {theirs / ours:.1f}; qwodel's start {empty:.2f} s")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--oracles", type=pathlib.Path, required=True)
    parser.add_argument("--shared", type=pathlib.Path, required=True)
    parser.add_argument("--qwodel", default="build/release/qwodel")
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--texts", default="", help="only texts whose name contains this")
    parser.add_argument("names", nargs="*", metavar="NAME")
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    failures = 0
    for name, case in references.cases().items():
        if args.names and name not in args.names:
            continue
        with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as scratch:
            directory = pathlib.Path(folder)
            references.make_directory(case["files"], directory, args.shared)
            reference = references.open_reference(case["kind"], directory, args.oracles)
            path = references.model_path(case, directory)
            if args.speed:
                print(f"{name}: {measure(args, reference, path, args.shared / 'text/wikitext-2-raw/wiki.test.raw')}")
                continue
            different = 0
            for text, file in references.texts(args.shared).items():
                if args.texts not in text:
                    continue
                found = compare(args, reference, path, file, pathlib.Path(scratch))
                known = text in EXCEPTIONS
                for line in found:
                    print(f"{name}, {text}: {line}{' (known)' if known else ''}", flush=True)
                different += bool(found) and not known
            failures += different
            print(f"{name} ({case['kind']}): {'the same' if not different else f'{different} texts differ'}", flush=True)
    sys.exit(failures != 0)


if __name__ == "__main__":
    main()
