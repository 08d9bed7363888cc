"""What commands print: tables by rich on a terminal, plain aligned columns into a pipe, or JSON.

Rule: nothing that came over the wire reaches the terminal with control characters in it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TextIO


@dataclass(frozen=True, slots=True)
class Table:
    """`columns` are the headings; those in `right` hold numbers."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: frozenset[str] = field(default_factory=frozenset)


def say(text: str = "", out: TextIO | None = None) -> None:
    print("\n".join(clean(line) for line in text.split("\n")), file=out or sys.stdout)


def say_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=not can_write("é")))


def show(table: Table) -> None:
    if not table.rows:
        return
    if sys.stdout.isatty():
        show_rich(table)
    else:
        show_plain(table)


def show_plain(table: Table) -> None:
    rows = [list(table.columns), *([clean(cell) for cell in row] for row in table.rows)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(table.columns))]
    print(f"\n{table.title}")
    for row in rows:
        cells = (
            cell.rjust(width) if name in table.right else cell.ljust(width)
            for name, cell, width in zip(table.columns, row, widths, strict=True)
        )
        print("  ".join(cells).rstrip())


def show_rich(table: Table) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    shown = RichTable(title=table.title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for name in table.columns:
        shown.add_column(name, justify="right" if name in table.right else "left", overflow="fold")
    for row in table.rows:
        shown.add_row(*(Text(clean(cell), style=STYLES.get(cell, "")) for cell in row))
    Console().print(shown)


STYLES = {
    "PASS": "green",
    "FAIL": "bold red",
    "UNDECIDED": "yellow",
    "VOID": "magenta",
    "progressing": "cyan",
    "paused": "yellow",
    "promoted": "green",
    "aborted": "red",
    "rolled_back": "red",
    "up": "green",
    "DOWN": "bold red",
}


def clean(text: str) -> str:
    return "".join(c if c.isprintable() else "\ufffd" for c in text)


def can_write(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def percent(share: float | None) -> str:
    return "-" if share is None else f"{share * 100:.4g}%"


def seconds(value: float | None) -> str:
    """A short duration: 12 ms, 1.5 s, 4m05s, 3h12m, 2d04h."""
    if value is None:
        return "-"
    if value < 1:
        return f"{value * 1000:.3g}ms"
    if value < 60:
        return f"{value:.3g}s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02d}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours < 48 else f"{hours // 24}d{hours % 24:02d}h"


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
