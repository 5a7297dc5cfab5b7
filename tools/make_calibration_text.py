#!/usr/bin/env python3
"""Makes data/calibration.txt from books in the public domain, this project's sources and own text.

usage: make_calibration_text.py BOOKS_DIR [REPOSITORY]

BOOKS_DIR holds plain texts of Project Gutenberg, named as in BOOKS; excerpts begin after its header.
"""

import sys
from pathlib import Path

# file, where the excerpt begins, its length, in characters
BOOKS = [
    ("en_alice.txt", 1500, 26000),
    ("en_don_quixote.txt", 60000, 22000),
    ("fr_alice.txt", 8000, 14000),
    ("en_monte_cristo.txt", 150000, 28000),
    ("de_faust_1.txt", 30000, 12000),
    ("es_don_quixote.txt", 60000, 14000),
    ("it_pinocchio.txt", 20000, 14000),
]
SOURCES = ["src/models/rope.cc", "src/formats/gguf_split.cc", "src/kernels/error_sums.cc",
           "tools/make_iq_points.py", "src/codecs/q6_k.cc", "CMakeLists.txt"]


def excerpt(text, first, length):
    """Whole paragraphs, lines joined: books wrap theirs."""
    begin = text.index("\n\n", first) + 2
    end = text.index("\n\n", begin + length)
    paragraphs = text[begin:end].replace("_", "").split("\n\n")
    return "\n\n".join(" ".join(line.strip() for line in paragraph.split("\n")).strip()
                       for paragraph in paragraphs if paragraph.strip())


def verse(text, first, length):
    begin = text.index("\n\n", first) + 2
    return text[begin:text.index("\n\n", begin + length)].replace("_", "")


def main():
    books = Path(sys.argv[1])
    repository = Path(sys.argv[2] if len(sys.argv) > 2 else Path(__file__).parent.parent)
    own = (repository / "data/own.txt").read_text().split("\n\n")
    parts = []
    for name, first, length in BOOKS:
        text = (books / name).read_text(encoding="utf-8").replace("\r\n", "\n").lstrip("\ufeff")
        parts.append((verse if "faust" in name else excerpt)(text, first, length))
    parts += [(repository / source).read_text() for source in SOURCES]
    # Kinds of text alternate, so that a part of the corpus is a mixture too.
    per_part = -(-len(own) // len(parts))
    mixed = []
    for i, part in enumerate(parts[::2] + parts[1::2]):
        mixed.append(part.strip())
        mixed += own[i * per_part:(i + 1) * per_part]
    (repository / "data/calibration.txt").write_text("\n\n".join(mixed).strip() + "\n")


main()
