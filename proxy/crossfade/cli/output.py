"""Output of the commands: rich tables on a terminal, plain aligned columns into a pipe, or JSON.

Rule: control characters in data from the network never reach the terminal.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from crossfade.cli.exits import INVALID, CommandFailed
from crossfade.log_lines import printable

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
    "DOWN": "bold red",
}


@dataclass(frozen=True, slots=True)
class Table:
    """A column whose heading ends with # holds numbers: it is aligned right, and the # is not printed."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    @property
    def headings(self) -> list[str]:
        return [name.rstrip("#") for name in self.columns]


def print_text(text: str, out: TextIO | None = None) -> None:
    print("\n".join(printable(line) for line in text.split("\n")), file=out or sys.stdout)


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2))


def print_table(table: Table) -> None:
    if not table.rows:
        return
    if sys.stdout.isatty():
        _print_rich(table)
    else:
        _print_plain(table)


def _print_plain(table: Table) -> None:
    lines = [table.headings, *([printable(cell) for cell in row] for row in table.rows)]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    print(f"\n{table.title}")
    for line in lines:
        cells = (
            cell.rjust(width) if name.endswith("#") else cell.ljust(width)
            for name, cell, width in zip(table.columns, line, widths, strict=True)
        )
        print("  ".join(cells).rstrip())


def _print_rich(table: Table) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    rich_table = RichTable(title=table.title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for name, heading in zip(table.columns, table.headings, strict=True):
        if name.endswith("#"):
            rich_table.add_column(heading, justify="right", no_wrap=True)
        else:
            rich_table.add_column(heading, overflow="fold")
    for row in table.rows:
        rich_table.add_row(*(Text(printable(cell), style=STYLES.get(cell, "")) for cell in row))
    Console().print(rich_table)


def write_text(text: str, path: str) -> None:
    """Into the file; "" is standard output. Raises CommandFailed."""
    if not path:
        sys.stdout.write(text)
        return
    try:
        Path(path).write_text(text, "utf-8")
    except OSError as error:
        raise CommandFailed(INVALID, f"cannot write {path}: {error.strerror}") from None
