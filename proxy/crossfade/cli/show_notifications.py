"""Prints who is told what happens."""

from __future__ import annotations

from crossfade.cli.output import Table, print_table, print_text
from crossfade.cli.show import Value

_RECEIVERS = ("receiver", "of", "format", "waiting#", "last error")
_TESTED = ("receiver", "of", "arrived", "answer")


def show_receivers(found: Value) -> None:
    """The errors are of attempts; a receiver that has taken its last message has none."""
    if not found["receivers"]:
        print_text("The file has no `notify`, so nobody is told what happens.")
    rows = [
        [each["name"], each["route"] or "-", each["format"], str(each["waiting"]), each["error"] or "-"]
        for each in found["receivers"]
    ]
    print_table(Table("Receivers", _RECEIVERS, rows))


def show_tested(found: Value) -> None:
    if not found["receivers"]:
        print_text("There is nobody to tell.")
    rows = [
        [each["name"], each["route"] or "-", "yes" if each["arrived"] else "NO", each["detail"]]
        for each in found["receivers"]
    ]
    print_table(Table("Receivers", _TESTED, rows))
