"""`crossfade feedback`: files of each kind, refused rows, calls that fail, and what a second run does."""

from __future__ import annotations

import io
import json
import math
import sqlite3
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow.parquet import write_table

from crossfade.cli import feedback
from crossfade.cli.exits import INVALID, OK, ROWS_LEFT, UNREACHABLE, USAGE
from crossfade.cli.feedback_rows import BadRow, Line, Source, Wanted
from tests.admin.site import Site
from tests.admin.test_feedback import FILE, Logs
from tests.cli.conftest import Shell
from tests.control.prediction_rows import Predicted, add_predictions, values_of

PLAIN = Wanted({}, {})


@pytest.fixture
async def logs(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Logs]:
    """The log of a route that predicted for r0 to r999; calls are tried again at once."""
    monkeypatch.setattr(feedback, "WAITS", (0.01, 0.01))
    logs = site.harness.controller.feedback.logs = Logs(tmp_path / "log")
    await site.harness.load(FILE)
    await site.harness.tick()
    rows = [Predicted(f"r{i}", site.harness.now) for i in range(1000)]
    await logs.write("churn", lambda connection: add_predictions(connection, rows))
    yield logs
    await logs.close()


def read(path: Path, wanted: Wanted = PLAIN) -> list[Any]:
    """Rows as (place, fields), bad ones as they are."""
    rows = Source(str(path), wanted).rows()
    return [(row.place, json.loads(row.text)) if isinstance(row, Line) else row for row in rows]


async def test_a_file_is_sent_in_several_calls_and_again_without_effect(
    logs: Logs, shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feedback, "ROWS", 300)
    file = tmp_path / "labels.csv"
    file.write_text("request_id,label\n" + "".join(f"r{i},{i % 2}\n" for i in range(1000)))
    sent = await shell.run_with_admin("feedback", str(file))
    assert (sent.code, sent.out, sent.err) == (OK, "1000 accepted\n", "")
    values = await logs.read("churn", values_of)
    assert values == {(f"r{i}", "label"): i % 2 for i in range(1000)}
    again = await shell.run_with_admin("feedback", str(file), "--json")
    assert again.code == OK
    assert again.json["duplicate"] == 1000 and again.json["accepted"] == 0


async def test_refused_rows_are_named_by_their_place_and_have_an_exit_code(
    logs: Logs, shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feedback, "ROWS", 2)
    file = tmp_path / "labels.ndjson"
    file.write_text(
        '{"request_id": "r1", "label": 1}\n\n{"request_id": "r2"}\nnonsense\n[]\n{"request_id": "x", "label": 0}\n'
    )
    sent = await shell.run_with_admin("feedback", str(file))
    assert sent.code == ROWS_LEFT
    assert sent.out == "1 accepted, 1 unmatched, 3 invalid\n"
    lines = sent.err.splitlines()
    assert [line.split(": ")[0] for line in lines[:3]] == [f"{file}:3", f"{file}:4", f"{file}:5"]
    assert lines[3] == "1 row has no prediction yet; feedback waits for it for a minute"


async def test_a_file_without_a_valid_row_is_read_to_its_end(
    logs: Logs, shell: Shell, tmp_path: Path
) -> None:
    file = tmp_path / "labels.json"
    file.write_text(json.dumps([{"request_id": f"r{i}"} for i in range(30)]))
    sent = await shell.run_with_admin("feedback", str(file))
    assert (sent.code, sent.out) == (ROWS_LEFT, "0 accepted, 30 invalid\n")
    assert sent.err.splitlines()[-1] == "and 10 more rows that were refused"


async def test_a_full_disk_is_tried_again_and_what_was_stored_counts_once(
    logs: Logs, shell: Shell, tmp_path: Path
) -> None:
    file = tmp_path / "labels.ndjson"
    file.write_text("".join(f'{{"request_id": "r{i}", "label": 1}}\n' for i in range(1000)))
    full = logs.write

    async def once_full(route: str, work: Any) -> Any:
        logs.write = full  # type: ignore[method-assign]
        raise sqlite3.OperationalError("database or disk is full")

    logs.write = once_full  # type: ignore[method-assign]
    sent = await shell.run_with_admin("feedback", str(file))
    assert (sent.code, sent.out) == (OK, "1000 accepted\n")
    assert "disk is full; again in 0.01 s" in sent.err
    logs.left = 0
    failed = await shell.run_with_admin("feedback", str(file))
    assert failed.code == UNREACHABLE
    assert "Run the command again later" in failed.err


async def test_without_a_proxy_it_gives_up_in_the_end(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feedback, "WAITS", (0.01,))
    file = tmp_path / "labels.ndjson"
    file.write_text('{"request_id": "r1", "label": 1}\n')
    sent = await shell.run("feedback", str(file), "--admin", "http://127.0.0.1:1")
    assert sent.code == UNREACHABLE
    assert sent.err.count("cannot reach") == 2


async def test_the_route_and_the_name_may_be_given_for_all_rows(
    logs: Logs, shell: Shell, tmp_path: Path
) -> None:
    file = tmp_path / "revenue.csv"
    file.write_text("id,amount,note\nr1,9.5,x\nr2,-3,y\n")
    words = ("--name", "revenue", "--route", "churn", "--column", "request_id=id", "--column", "value=amount")
    assert (await shell.run_with_admin("feedback", str(file), *words)).code == OK
    assert await logs.read("churn", values_of) == {("r1", "revenue"): 9.5, ("r2", "revenue"): -3}


@pytest.mark.parametrize(
    "words, code, said",
    [
        (("labels.txt",), USAGE, "the name must end in .csv"),
        (("absent.csv",), INVALID, "No such file"),
        (("bad.csv",), INVALID, "Did you mean request_id?"),
        (("bad.csv", "--column", "value=nope"), INVALID, "there is no column nope"),
        (("bad.csv", "--column", "price=value"), USAGE, "give FIELD=COLUMN"),
        (("bad.csv", "--column", "value"), USAGE, "give FIELD=COLUMN"),
        (("bad.json",), INVALID, "not JSON"),
        (("bad.parquet",), INVALID, "arquet"),
        (("latin.csv",), INVALID, "utf-8"),
    ],
)
async def test_a_file_that_cannot_be_read_says_why(
    logs: Logs,
    shell: Shell,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    code: int,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    files = {
        "labels.txt": "x",
        "bad.csv": "request_idd,value\nr1,1\n",
        "bad.json": "[{]",
        "bad.parquet": "PAR1",
    }
    for name, text in {**files, "latin.csv": "request_id,value\nr1,é\n"}.items():
        (tmp_path / name).write_bytes(text.encode("latin-1"))
    sent = await shell.run_with_admin("feedback", *words)
    assert sent.code == code and said in sent.err, sent


def test_cells_of_csv_have_types(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_bytes(
        b"\xef\xbb\xbfrequest_id,key,at,name,value\r\n"
        b"007,,,,true\r\n"
        b'r2,,12.5,"a,b",1e3\r\n'
        b",42,2026-01-02T03:04:05Z,,yes\r\n"
        b",42,2026-01-02 03:04:05,,nan\r\n"
        b",42,yesterday,,1\r\n"
        b"r6,,,,1,9\r\n"
        b"r7,,,,1_0\r\n"
    )
    then = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp()
    assert read(file) == [
        (2, {"request_id": "007", "value": True}),
        (3, {"request_id": "r2", "at": 12.5, "name": "a,b", "value": 1000.0}),
        (4, {"key": "42", "at": then, "value": "yes"}),
        (5, {"key": "42", "at": then, "value": "nan"}),
        BadRow(6, "Invalid isoformat string: 'yesterday'"),
        BadRow(7, "more cells than columns"),
        (8, {"request_id": "r7", "value": "1_0"}),
    ]


def test_rows_of_parquet_have_types(tmp_path: Path) -> None:
    file = tmp_path / "rows.parquet"
    then = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    values = pyarrow.array([1.5, None, math.nan, 0.0])
    whole = pyarrow.array([Decimal("1.25"), None, None, None], pyarrow.decimal128(5, 2))
    table = {
        "request_id": pyarrow.array([7, 8, 9, 10]),
        "at": pyarrow.array([then, None, None, None]),
        "value": values,
        "extra": whole,
    }
    write_table(pyarrow.table(table), file)
    wanted = Wanted({"request_id": "request_id", "at": "at", "value": "value"}, {"route": "churn"})
    found = read(file, wanted)
    assert found[0] == (1, {"route": "churn", "request_id": "7", "at": then.timestamp(), "value": 1.5})
    assert found[1] == (2, {"route": "churn", "request_id": "8"})
    assert isinstance(found[2], BadRow) and found[2].place == 3
    assert read(file, Wanted({"request_id": "request_id", "value": "extra"}, {}))[0] == (
        1,
        {"request_id": "7", "value": 1.25},
    )


def test_given_fields_do_not_replace_those_of_a_row(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(
        '{"request_id": "r1", "name": "click", "value": 1}\nnonsense\n{"request_id": "r2", "value": NaN}\n'
    )
    rows = list(Source(str(file), Wanted({}, {"name": "revenue"})).rows())
    assert rows[:2] == [
        Line(1, b'{"name": "click", "request_id": "r1", "value": 1}'),
        Line(2, b"nonsense"),
    ]
    assert isinstance(rows[2], Line) and b"NaN" in rows[2].text


async def test_standard_input_is_read_as_lines(
    logs: Logs, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = io.TextIOWrapper(io.BytesIO(b'{"request_id": "r1", "label": 1}\n'))
    monkeypatch.setattr("sys.stdin", text)
    assert (await shell.run_with_admin("feedback", "-")).out == "1 accepted\n"
