#!/usr/bin/env python3
"""Whole runs against the peer: Hugging Face directory to GGUF, wall time of processes.

The peer is convert_hf_to_gguf.py followed by llama_model_quantize (through gguf_oracle.py; its own
wall time of the quantization is taken, without Python's start). Runs are interleaved; medians are shown.

    whole_runs.py --model DIR --qwodel build/release/qwodel --oracles DIR --converter FILE [--rounds 3]
"""

import argparse
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time


def seconds(*command):
    start = time.perf_counter()
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return time.perf_counter() - start, done.stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("model", "qwodel", "oracles", "converter"):
        parser.add_argument(f"--{name}", type=pathlib.Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    times = {}
    with tempfile.TemporaryDirectory() as scratch:
        f16, out = pathlib.Path(scratch) / "f16.gguf", pathlib.Path(scratch) / "out.gguf"
        for _ in range(args.rounds):
            convert, _ = seconds(sys.executable, args.converter, args.model, "--outfile", f16)
            times.setdefault("convert", []).append(convert)
            for kind in ("Q4_K_M", "Q8_0"):
                for threads in (1, 2):
                    _, text = seconds(sys.executable, args.oracles / "gguf_oracle.py", "quantize", f16,
                                      out, kind, "--threads", threads)
                    peer = float(re.search(r"wall ([\d.]+) s", text)[1])
                    times.setdefault(f"peer {kind} {threads}", []).append(peer)
                    own, _ = seconds(args.qwodel, "quantize", args.model, "--to", f"gguf:{kind}", "-o",
                                     out, "--force", "--threads", threads)
                    times.setdefault(f"own {kind} {threads}", []).append(own)
    median = {name: statistics.median(values) for name, values in times.items()}
    print(f"convert_hf_to_gguf.py: {median['convert']:.2f} s (median of {args.rounds})")
    for kind in ("Q4_K_M", "Q8_0"):
        for threads in (1, 2):
            peer, own = median[f"peer {kind} {threads}"], median[f"own {kind} {threads}"]
            print(f"{kind}, {threads} threads: peer {median['convert'] + peer:.2f} s (quantize {peer:.2f}), "
                  f"qwodel {own:.2f} s, ratio {(median['convert'] + peer) / own:.1f}")


if __name__ == "__main__":
    main()
