#!/usr/bin/env python3
"""Speed of transformers' forward pass on what bench/forward measures.

  forward_peer.py DIR [float32|bfloat16] [THREADS]

8 x 512 random tokens in batches of 4, all logits, two passes; prints the second, in wall and
processor time.
"""
import resource
import sys
import time

import torch
from transformers import AutoModelForCausalLM


def processor_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main():
    dtype = sys.argv[2] if len(sys.argv) > 2 else "bfloat16"
    torch.set_num_threads(int(sys.argv[3]) if len(sys.argv) > 3 else 2)
    model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=getattr(torch, dtype)).eval()
    ids = torch.randint(0, model.config.vocab_size, (8, 512))
    for _ in range(2):
        wall, processor = time.time(), processor_seconds()
        with torch.no_grad():
            for i in range(0, 8, 4):
                model(ids[i:i + 4], use_cache=False)
        wall, processor = time.time() - wall, processor_seconds() - processor
    print(f"{sys.argv[1]} {dtype}: {wall:.2f} s wall, {processor:.2f} s processor, "
          f"{4096 / wall:.1f} tokens/s, {4096 / processor:.1f} per core")


if __name__ == "__main__":
    main()
