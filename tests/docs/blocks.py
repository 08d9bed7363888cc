"""The blocks of code of all pages, with what a comment before one says of it.

`<!-- not ours: Prometheus -->` before a block: its YAML is not Crossfade's. `<!-- file: routing.yaml -->`: a reader keeps it under this name.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/README.md")])
_FENCE = re.compile(
    r"(?:^ *<!-- *(?P<says>[a-z ]+): *(?P<what>[^\n]*?) *--> *\n+)?"
    r"^(?P<indent> *)(?P<fence>```+)(?P<language>[^\n`]*)\n(?P<text>.*?)^(?P=indent)(?P=fence) *$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Block:
    """`says` and `what` are of the comment before it, such as "not ours" and "Prometheus"; empty without one.

    `indented`: how many spaces the author has put before all of its lines.
    """

    page: str
    line: int
    language: str
    text: str
    says: str = ""
    what: str = ""
    indented: int = 0

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(text: str, page: str) -> Iterator[Block]:
    for match in _FENCE.finditer(text):
        at_margin = re.sub(rf"^{match['indent']}", "", match["text"], flags=re.MULTILINE)
        dedented = textwrap.dedent(at_margin)
        indented = len(at_margin) - len(at_margin.lstrip(" ")) if at_margin != dedented else 0
        line = text.count("\n", 0, match.start("fence")) + 1
        says, what = match["says"] or "", match["what"] or ""
        yield Block(page, line, match["language"].strip(), dedented, says, what, indented)


def blocks(*languages: str) -> list[Block]:
    """Of all pages, those in one of these languages."""
    found = (b for page in PAGES for b in blocks_of(page.read_text("utf-8"), str(page.relative_to(ROOT))))
    return [block for block in found if block.language in languages]
