"""`crossfade feedback FILE`: sends rows of feedback to a running proxy, some thousand in a call.

Rule: it may be stopped and run again at any time, for a row that was taken counts once. A call that fails, because the proxy
is not there or its disk is full, is tried again for some time, and so is a proxy that restarts.
"""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from typing import Any

from crossfade.cli.client import AdminClient
from crossfade.cli.exits import OK, ROWS_LEFT, UNREACHABLE, USAGE, CommandFailed
from crossfade.cli.feedback_rows import FIELDS, BadRow, Line, Source, Wanted
from crossfade.cli.output import print_json, print_text

ROWS = 10_000  # in one call
BYTES = 4 << 20  # of one call, about
WAITS = (1.0, 2.0, 4.0, 8.0, 15.0)  # seconds before a call is tried again
SHOWN = 20  # refused rows that are printed
OUTCOMES = ("accepted", "duplicate", "corrected", "conflicting", "unmatched", "late", "invalid")
_NDJSON = "application/x-ndjson"


def feedback(arguments: Namespace) -> int:
    source = Source(arguments.file, _wanted(arguments))
    sending = Sending(AdminClient.of(arguments))
    with _Bar(source) as advance:
        for rows in _calls(source, sending):
            sending.send(rows)
            advance()
    if arguments.json:
        print_json({**sending.counts, "errors": sending.errors})
    else:
        _show(arguments.file, sending)
    left = sum(sending.counts[name] for name in ("conflicting", "unmatched", "late", "invalid"))
    return ROWS_LEFT if left else OK


class Sending:
    """`counts`: rows by what became of them. `errors`: the first refused rows, each with its place in the file."""

    def __init__(self, admin: AdminClient) -> None:
        self.admin = admin
        self.counts = dict.fromkeys(OUTCOMES, 0)
        self.errors: list[dict[str, Any]] = []

    def send(self, rows: list[Line]) -> None:
        answer = self._answer(b"\n".join(row.text for row in rows))
        for name in OUTCOMES:
            self.counts[name] += answer[name]
        for error in answer["errors"]:
            self.refuse(rows[error["row"] - 1].place, error["detail"])

    def refuse(self, place: int, detail: str) -> None:
        if len(self.errors) < SHOWN:
            self.errors.append({"row": place, "detail": detail})

    def _answer(self, body: bytes) -> Any:
        for wait in WAITS:
            try:
                return self._call(body)
            except CommandFailed as failed:
                if failed.code != UNREACHABLE:
                    raise
                print_text(f"{failed}; again in {wait:g} s", sys.stderr)
                time.sleep(wait)
        try:
            return self._call(body)
        except CommandFailed as failed:
            advice = "Run the command again later: rows that were taken count once."
            raise CommandFailed(failed.code, str(failed), advice) from None

    def _call(self, body: bytes) -> Any:
        try:
            return self.admin.send("feedback", body=body, media=_NDJSON)
        except CommandFailed as failed:
            if failed.problem.get("status") == 422 and "so_far" in failed.problem:  # every row is invalid
                return failed.problem["so_far"]
            raise


def _wanted(arguments: Namespace) -> Wanted:
    columns = {}
    for pair in arguments.column:
        field, equals, column = pair.partition("=")
        if not equals or not column or field not in FIELDS or field in columns:
            raise CommandFailed(
                USAGE, f"--column {pair}: give FIELD=COLUMN, a field of {', '.join(FIELDS)} once"
            )
        columns[field] = column
    given = {"route": arguments.route, "name": arguments.name}
    return Wanted(columns, {field: value for field, value in given.items() if value})


def _calls(source: Source, sending: Sending) -> Iterator[list[Line]]:
    rows: list[Line] = []
    size = 0
    for row in source.rows():
        if isinstance(row, BadRow):
            sending.counts["invalid"] += 1
            sending.refuse(row.place, row.detail)
            continue
        rows.append(row)
        size += len(row.text)
        if len(rows) >= ROWS or size >= BYTES:
            yield rows
            rows, size = [], 0
    if rows:
        yield rows


class _Bar:
    """A bar on the terminal; nothing where standard error is none."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def __enter__(self) -> Any:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:.0f} %"),
            TimeRemainingColumn(),
        )
        self.bar = Progress(*columns, console=console, disable=not console.is_terminal, transient=True)
        self.task = self.bar.add_task("feedback", total=None)
        self.bar.start()
        return self.advance

    def advance(self) -> None:
        self.bar.update(self.task, total=self.source.size or None, completed=self.source.done)

    def __exit__(self, *error: object) -> None:
        self.bar.stop()


def _show(file: str, sending: Sending) -> None:
    counts = sending.counts
    shown = [f"{counts[name]} {name}" for name in OUTCOMES if counts[name] or name == "accepted"]
    print_text(", ".join(shown))
    for error in sending.errors:
        print_text(f"{file}:{error['row']}: {error['detail']}", sys.stderr)
    refused = counts["conflicting"] + counts["late"] + counts["invalid"]
    if refused > len(sending.errors):
        print_text(f"and {refused - len(sending.errors)} more rows that were refused", sys.stderr)
    if unmatched := counts["unmatched"]:
        have = "row has" if unmatched == 1 else "rows have"
        print_text(f"{unmatched} {have} no prediction yet; feedback waits for it for a minute", sys.stderr)
