#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""docs/pictures/terminal-svg.py COLUMNS COMMAND <OUTPUT >PICTURE.svg: a picture of a terminal.

Reads what COMMAND has printed on a terminal, with its colours (SGR sequences), and
draws it behind a prompt. Anything else that a terminal would act on is an error:
the picture would not show what the terminal does.
"""
import re
import sys
from xml.sax.saxutils import escape

WIDTH, LINE, FONT, MARGIN = 8.4, 19, 14, 16
COLOURS = {31: "#f7768e", 32: "#9ece6a", 33: "#e0af68", 34: "#7aa2f7"}
FOREGROUND, DIM, BACKGROUND, BAR = "#c0caf5", "#7a83ab", "#1a1b26", "#24283b"
SGR = re.compile("\x1b\\[([0-9;]*)m")


class Style:
    def __init__(self):
        self.bold = self.dim = False
        self.colour = None

    def apply(self, codes):
        for code in [int(c or 0) for c in codes.split(";")]:
            if code == 0:
                self.__init__()
            elif code == 1:
                self.bold = True
            elif code == 2:
                self.dim = True
            elif code in COLOURS:
                self.colour = COLOURS[code]
            else:
                sys.exit(f"terminal-svg: SGR {code} is not known")

    def attributes(self):
        fill = self.colour or (DIM if self.dim else FOREGROUND)
        return f'fill="{fill}"' + (' font-weight="bold"' if self.bold else "")


def spans(line, style):
    """The line's text in pieces of one style each, with the column where each begins."""
    column = 0
    pieces = SGR.split(line)
    for i, piece in enumerate(pieces):
        if i % 2:
            style.apply(piece)
        elif piece:
            if re.search("[\x00-\x1f\x7f]", piece):
                sys.exit(f"terminal-svg: a control byte in {piece!r}")
            # No white space at the ends: a viewer may drop it.
            stripped = piece.lstrip(" ")
            at = column + len(piece) - len(stripped)
            if stripped.rstrip(" "):
                yield at, stripped.rstrip(" "), style.attributes()
            column += len(piece)


def wrap(line, columns):
    """A longer line goes on in the next, as on a terminal."""
    row, used = "", 0
    for part in re.split("(\x1b\\[[0-9;]*m)", line):
        while not SGR.match(part) and used + len(part) > columns:
            yield row + part[:columns - used]
            row, part, used = "", part[columns - used:], 0
        row += part
        used += 0 if SGR.match(part) else len(part)
    yield row


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    columns, command = int(sys.argv[1]), sys.argv[2]
    output = sys.stdin.read().replace("\r\n", "\n").rstrip("\n").split("\n")
    lines = [f"\x1b[32m$\x1b[0m \x1b[1m{command}\x1b[0m"] + [row for line in output for row in wrap(line, columns)]
    width = round(columns * WIDTH + 2 * MARGIN)
    height = len(lines) * LINE + 2 * MARGIN + 24
    print(f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
          f'viewBox="0 0 {width} {height}" role="img" aria-label="{escape(command, {chr(34): "&quot;"})}">')
    print(f'<rect width="{width}" height="{height}" rx="8" fill="{BACKGROUND}"/>')
    print(f'<path d="M0 24V8a8 8 0 0 1 8-8H{width - 8}a8 8 0 0 1 8 8V24Z" fill="{BAR}"/>')
    for i, colour in enumerate(["#f7768e", "#e0af68", "#9ece6a"]):
        print(f'<circle cx="{16 + 18 * i}" cy="12" r="5" fill="{colour}"/>')
    print(f'<g font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="{FONT}" xml:space="preserve">')
    style = Style()
    for i, line in enumerate(lines):
        for column, text, attributes in spans(line, style):
            x, y = MARGIN + column * WIDTH, 24 + MARGIN + (i + 1) * LINE - 5
            # textLength keeps the columns in line, whatever font the viewer has.
            print(f'<text x="{x:.1f}" y="{y}" textLength="{len(text) * WIDTH:.1f}" '
                  f'lengthAdjust="spacingAndGlyphs" {attributes}>{escape(text)}</text>')
    print("</g>\n</svg>")


main()
