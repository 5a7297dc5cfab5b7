"""Write src/codecs/iq_points.cc: the codebooks of the IQ2 and IQ3 encodings, from ggml's sources.

    python make_iq_points.py GGML_SRC_FOLDER

The folder holds ggml-quants.c and ggml-common.h. The encoder's tables name a point by its levels; the
decoder's tables hold the same points as bytes. Only the former are written: the script checks that
the latter follow from them, and that the table of seven signs follows from parity.
"""

import re
import sys
from pathlib import Path

TARGET = Path(__file__).resolve().parents[1] / "src" / "codecs" / "iq_points.cc"

# Name here, encoder's table, decoder's table, values per point, bits per level, bytes of the levels.
GRIDS = (
    ("kIq2XxsPoints", "kgrid_2bit_256", "iq2xxs_grid", 8, 2, (8, 25, 43)),
    ("kIq2XsPoints", "kgrid_2bit_512", "iq2xs_grid", 8, 2, (8, 25, 43)),
    ("kIq2SPoints", "kgrid_2bit_1024", "iq2s_grid", 8, 2, (8, 25, 43)),
    ("kIq3XxsPoints", "kgrid_256", "iq3xxs_grid", 4, 3, (4, 12, 20, 28, 36, 44, 52, 62)),
    ("kIq3SPoints", "kgrid_512", "iq3s_grid", 4, 3, (1, 3, 5, 7, 9, 11, 13, 15)),
)

HEAD = """// The points of the IQ2 and IQ3 codebooks, by number, as packed levels (see codebook.h).
//
// Data of the formats, from ggml (ggml-quants.c, the tables kgrid_2bit_256, _512, _1024 and
// kgrid_256, _512). MIT licence, copyright (c) 2023-2026 The ggml authors. Extracted by
// tools/make_iq_points.py.
#include "codecs/iq_points.h"

namespace qwodel {

// clang-format off: as many numbers in a line as fit.
"""


def numbers(text):
    return [int(word, 0) for word in re.findall(r"0x[0-9a-fA-F]+|\b\d+\b", text)]


def table(source, name):
    body = re.search(rf"\b{name}(?:\[\w+\] = {{|, \w+\))(.*?)(?:}};|GGML_TABLE_END)", source, re.S)
    return numbers(body[1])


def as_bytes(point, width, bits, levels):
    return sum(levels[point >> bits * i & (1 << bits) - 1] << 8 * i for i in range(width))


def lines(values, width=96):
    line = ""
    for value in values:
        word = f"{value},"
        if line and len(line) + 1 + len(word) > width:
            yield line
            line = ""
        line += (" " if line else "") + word
    yield line


def main():
    folder = Path(sys.argv[1])
    encoder = (folder / "ggml-quants.c").read_text()
    decoder = (folder / "ggml-common.h").read_text()
    signs = table(decoder, "ksigns_iq2xs")
    assert signs == [i | (bin(i).count("1") % 2) << 7 for i in range(128)]
    text = HEAD
    for name, kgrid, grid, width, bits, levels in GRIDS:
        points = table(encoder, kgrid)
        assert [as_bytes(p, width, bits, levels) for p in points] == table(decoder, grid), name
        assert points == sorted(set(points)), name
        text += f"extern const std::array<std::uint16_t, {len(points)}> {name} = {{\n"
        text += "".join(f"    {line}\n" for line in lines(points))
        text += "};\n\n"
    TARGET.write_text(text + "// clang-format on\n\n}  // namespace qwodel\n")


if __name__ == "__main__":
    main()
