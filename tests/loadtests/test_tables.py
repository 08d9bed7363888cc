from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from loadtests.comparisons import MIRROR, STICKY, WORKERS, WORKERS_ON_ONE_CORE, specs
from loadtests.report import (
    README,
    Comparison,
    Load,
    Machine,
    Report,
    Result,
    Sample,
    Settings,
    newest,
    read_json,
    write_json,
)
from loadtests.tables import BEGIN, END, render, with_table
from loadtests.work import Cores


def sample(cpu_us: float | None, per_second: float, busy: float = 0.99, errors: int = 0) -> Sample:
    return Sample(cpu_us, per_second, busy, p50_us=100.4, p99_us=1234.5, memory_mib=50.2, errors=errors)


DIRECT = Sample(None, 2000, None, p50_us=60, p99_us=1000, memory_mib=None, errors=0)


def result(proxy: str, *samples: Sample, work: str = "json", load: Load = "saturated") -> Result:
    return Result(work, load, proxy, list(samples))


REPORT = Report(
    date="2026-11-21T04:00:00+00:00",
    machine=Machine("Some CPU", 2, True, "6.1", "3.13.0", 0.1),
    settings=Settings(3, 3, 64, "wrk"),
    versions={"crossfade": "0.1.0", "nginx": "1.22.1"},
    absent=["haproxy"],
    idle_mib={"crossfade": 40.4, "nginx": 4.6},
    results=[
        result("crossfade", sample(60, 15_000), sample(50, 20_000), sample(40, 17_000, errors=2)),
        result("nginx", sample(20, 40_000, 0.5)),
        result("direct", DIRECT, load="paced"),
        result("crossfade", sample(60, 2000), load="paced"),
        result("nginx", sample(40, 2000), load="paced"),
        result("crossfade", sample(400, 250), work="sse", load="paced"),
    ],
    comparisons=[
        Comparison(
            "sticky", "cpu_us", 1.3, True, "a remark",
            result("key in a header", sample(50, 1)), result("key in the body", sample(60, 1)),
        ),
        Comparison(
            "workers", "per_second", 1.8, False, "",
            result("one", sample(1, 100)), result("two", sample(1, 170)),
        ),
    ],
)  # fmt: skip

TABLES = """\
2026-11-21: crossfade 0.1.0, nginx 1.22.1; Python 3.13.0, Linux 6.1,
2 cores of Some CPU; the proxy on one core, load and origins on another.
Medians of 3 interleaved rounds, 3 s for each phase; saturating load by wrk with 64 connections.
Not measured (not on the PATH, not installed with this Python): haproxy.

**POST of 194 B of JSON with a small JSON answer: saturated**

| proxy     | CPU µs/request | ÷ nginx | requests/s | ÷ nginx | p50 µs | p99 µs | core busy | failed |
| :-------- | -------------: | ------: | ---------: | ------: | -----: | -----: | --------: | -----: |
| crossfade |           50.0 |    2.50 |     17,000 |    0.42 |    100 |  1,234 |       99% |      2 |
| nginx     |           20.0 |    1.00 |   ≥ 40,000 |    1.00 |    100 |  1,234 |       50% |      0 |

**POST of 194 B of JSON with a small JSON answer: 2,000 requests per second**

| proxy     | p50 µs | added | p99 µs | added | CPU µs/request | ÷ nginx | failed |
| :-------- | -----: | ----: | -----: | ----: | -------------: | ------: | -----: |
| direct    |     60 |     – |  1,000 |     – |              – |       – |      0 |
| crossfade |    100 |   +40 |  1,234 |  +234 |           60.0 |    1.50 |      0 |
| nginx     |    100 |   +40 |  1,234 |  +234 |           40.0 |    1.00 |      0 |

**GET with an answer of 20 server-sent events, 10 ms apart: 250 requests per second**

| proxy     | first event p50 µs | added | p99 µs | added | CPU µs/request | ÷ nginx | CPU µs/event | failed |
| :-------- | -----------------: | ----: | -----: | ----: | -------------: | ------: | -----------: | -----: |
| crossfade |                100 |     – |  1,234 |     – |          400.0 |       – |         20.0 |      0 |

**Memory (PSS), MiB**

| proxy     | idle | json, saturated | json, paced | sse, paced |
| :-------- | ---: | --------------: | ----------: | ---------: |
| crossfade |   40 |              50 |          50 |         50 |
| nginx     |    5 |              50 |          50 |          – |

**Crossfade compared with itself**

| compared                          |         figure |  base | changed | ratio |   goal |         |
| :-------------------------------- | -------------: | ----: | ------: | ----: | -----: | ------: |
| key in the body ÷ key in a header | CPU µs/request |  50.0 |    60.0 |  1.20 | ≤ 1.30 | reached |
| two ÷ one                         |     requests/s | 100.0 |   170.0 |  1.70 | ≥ 1.80 |  missed |

sticky: a remark."""


def test_the_tables_of_a_report() -> None:
    assert render(REPORT) == TABLES


def test_there_are_no_ratios_without_nginx() -> None:
    report = Report(
        REPORT.date, REPORT.machine, REPORT.settings, REPORT.versions, ["nginx"], {}, REPORT.results[:1], []
    )
    assert "|       – |" in render(report)
    assert "with this Python): nginx." in render(report)


def test_the_tables_warn_of_a_busy_machine() -> None:
    machine = replace(REPORT.machine, load=3.0)
    assert "machine was busy" in render(replace(REPORT, machine=machine))
    assert "machine was busy" not in TABLES


def test_the_median_is_of_each_number_separately_and_errors_are_summed() -> None:
    median = REPORT.results[0].median
    assert (median.cpu_us, median.per_second, median.errors) == (50, 17_000, 2)


def test_a_report_is_equal_after_a_round_trip_through_json(tmp_path: Path) -> None:
    file = tmp_path / "new" / "bench-1.json"
    write_json(REPORT, file)
    assert read_json(file) == REPORT


def test_throughput_of_two_workers_is_compared_only_with_four_cores() -> None:
    """With four cores, two workers get two. With fewer, only the cost per request is compared, with a remark."""
    names = ["mirror", "sticky", "workers"]
    assert [q for q, _ in specs(names, {0, 1})] == [MIRROR, STICKY, WORKERS_ON_ONE_CORE]
    many = specs(names, {0, 1, 2, 3, 4})
    assert [q for q, _ in many] == [MIRROR, STICKY, WORKERS]
    assert many[2][1] == Cores(frozenset({0, 1}), frozenset({2, 3}))
    assert "cannot be measured" in WORKERS_ON_ONE_CORE.remark
    assert specs(["sticky"], {0})[0][1].proxy == frozenset()


def test_the_newest_run_is_the_last_by_name(tmp_path: Path) -> None:
    assert newest(tmp_path) is None
    for name in ("bench-20261121T040000.json", "bench-20261120T235959.json"):
        (tmp_path / name).write_text("{}")
    found = newest(tmp_path)
    assert found is not None and found.name == "bench-20261121T040000.json"


def test_the_tables_replace_the_text_between_the_marks() -> None:
    text = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert with_table(text, "new") == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    assert with_table(with_table(text, "new"), "new") == with_table(text, "new")


@pytest.mark.parametrize("text", ["", BEGIN, END, f"{END}{BEGIN}"])
def test_a_text_without_both_marks_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="lacks"):
        with_table(text, "new")


def test_the_readme_shows_the_newest_run() -> None:
    file = newest()
    assert file is not None, "there is no run in loadtests/results"
    text = README.read_text()
    assert text == with_table(text, render(read_json(file)))
