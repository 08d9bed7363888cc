from __future__ import annotations

from pathlib import Path

import pytest

from loadtests.report import (
    BEGIN,
    END,
    README,
    Machine,
    Report,
    Result,
    Sample,
    Settings,
    newest,
    read_json,
    render,
    with_table,
    write_json,
)


def sample(cpu_us: float, per_second: float, busy: float = 0.99, errors: int = 0) -> Sample:
    return Sample(cpu_us, per_second, busy, p50_us=100.4, p99_us=1234.5, errors=errors)


REPORT = Report(
    date="2026-11-21T04:00:00+00:00",
    machine=Machine("Some CPU", 2, True, "6.1", "3.13.0"),
    settings=Settings(3, 3, 64, 2, "wrk"),
    versions={"crossfade": "0.1.0", "nginx": "1.22.1"},
    absent=["haproxy"],
    results=[
        Result("json", "crossfade", [sample(60, 15_000), sample(50, 20_000), sample(40, 17_000, errors=2)]),
        Result("json", "nginx", [sample(20, 40_000, 0.5)]),
    ],
)

TABLE = """\
2026-11-21: crossfade 0.1.0, nginx 1.22.1; Python 3.13.0, Linux 6.1,
2 cores of Some CPU; the proxy on one core, load and origins on another.
Medians of 3 interleaved rounds, 3 s for each phase, load by wrk: 64 connections for CPU and throughput, 2 for the times.
Absent (not on the PATH): haproxy.

**POST of 194 B of JSON, answered in kind**

| proxy     | CPU µs/request | ÷ nginx | requests/s | ÷ nginx | p50 µs | p99 µs | core busy | failed |
| :-------- | -------------: | ------: | ---------: | ------: | -----: | -----: | --------: | -----: |
| crossfade |           50.0 |    2.50 |     17,000 |    0.42 |    100 |  1,234 |       99% |      2 |
| nginx     |           20.0 |    1.00 |   ≥ 40,000 |    1.00 |    100 |  1,234 |       50% |      0 |"""


def test_the_table() -> None:
    assert render(REPORT) == TABLE


def test_without_nginx_there_are_no_ratios() -> None:
    alone = Report(
        REPORT.date, REPORT.machine, REPORT.settings, REPORT.versions, ["nginx"], REPORT.results[:1]
    )
    assert "|       – |" in render(alone)
    assert "Absent (not on the PATH): nginx." in render(alone)


def test_medians_are_of_each_number_by_itself_and_errors_add_up() -> None:
    middle = REPORT.results[0].median
    assert (middle.cpu_us, middle.per_second, middle.errors) == (50, 17_000, 2)


def test_json_keeps_everything(tmp_path: Path) -> None:
    file = tmp_path / "new" / "bench-1.json"
    write_json(REPORT, file)
    assert read_json(file) == REPORT


def test_the_newest_is_the_last_by_name(tmp_path: Path) -> None:
    assert newest(tmp_path) is None
    for name in ("bench-20261121T040000.json", "bench-20261120T235959.json"):
        (tmp_path / name).write_text("{}")
    found = newest(tmp_path)
    assert found is not None and found.name == "bench-20261121T040000.json"


def test_the_table_replaces_what_is_between_the_marks() -> None:
    text = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert with_table(text, "new") == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    assert with_table(with_table(text, "new"), "new") == with_table(text, "new")


@pytest.mark.parametrize("text", ["", BEGIN, END, f"{END}{BEGIN}"])
def test_without_marks_nothing_is_replaced(text: str) -> None:
    with pytest.raises(ValueError, match="lacks"):
        with_table(text, "new")


def test_the_readme_shows_the_newest_run() -> None:
    file = newest()
    assert file is not None, "there is no run in loadtests/results"
    text = README.read_text()
    assert text == with_table(text, render(read_json(file)))
