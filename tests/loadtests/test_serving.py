"""A short run of `loadtests.serving` with real servers, and its tables."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from crossfade_backends.train import DEFAULT_SEED, train_registry
from loadtests import serving
from loadtests.report import Machine, Result, Sample, Settings, newest
from loadtests.serving import PAGE, answer, main, publish
from loadtests.serving_table import BEGIN, END, ServingReport, render
from loadtests.serving_ways import BATCHING, QUESTIONS, Question, Way
from loadtests.tables import with_table

MACHINE = Machine(cpu="a", cores=2, pinned=True, kernel="6.1", python="3.11", load=0.1)
SETTINGS = Settings(1, 1, 4, "Locust")


def sample(cpu: float, per_second: float) -> Sample:
    return Sample(cpu, per_second, busy=0.5, p50_us=1500.0, p99_us=2500.0, memory_mib=90.0, errors=0)


def test_a_question_is_answered_for_each_way_and_load(tmp_path: Path) -> None:
    registry = tmp_path / "models"
    train_registry(registry, 6_000, DEFAULT_SEED)
    ways = (Way("alone", ("--batch-rows", "1")), Way("two", endpoints=2, route={}))
    question = Question("short", "", rows=2, rate=40, pinned=True, ways=ways)
    results = answer(question, registry, tmp_path, SETTINGS)
    assert [(r.work, r.load, r.proxy) for r in results] == [
        ("short", load, name) for load in ("saturated", "paced") for name in ("alone", "two")
    ]
    for result in results:
        [found] = result.samples
        assert found.errors == 0
        assert found.per_second > 1
        assert 0 < found.p50_us <= found.p99_us
        assert found.cpu_us and found.busy and found.memory_mib and found.memory_mib > 10


def test_the_table_divides_by_the_first_way_of_the_same_load() -> None:
    first, second, third = (way.name for way in BATCHING.ways)
    results = [
        Result("batching", "saturated", first, [sample(400, 1000)]),
        Result("batching", "saturated", second, [sample(100, 3000), sample(300, 1000), sample(200, 2000)]),
        Result("batching", "paced", third, [sample(500, 10)]),
    ]
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in render(
            ServingReport("2026-01-31T12:00:00+00:00", MACHINE, SETTINGS, True, results)
        ).split("\n")
        if line.startswith("| ")
    ]
    assert rows[2:] == [
        [first, "all that it can", "1,000", "1.00", "1.5", "2.5", "400", "1.00", "0.50", "0%", "0"],
        [second, "all that it can", "2,000", "2.00", "1.5", "2.5", "200", "0.50", "0.50", "0%", "0"],
        [third, "400/s", "10", "1.00", "1.5", "2.5", "500", "1.00", "0.50", "0%", "0"],
    ]


def test_a_busy_machine_and_compiled_code_are_said() -> None:
    busy = ServingReport("2026-01-31", Machine("a", 2, True, "6.1", "3.11", load=3.0), SETTINGS, False, [])
    assert "The machine was busy" in render(busy) and "from the sources" in render(busy)
    quiet = ServingReport("2026-01-31", MACHINE, SETTINGS, True, [])
    assert "busy" not in render(quiet) and "the proxy compiled" in render(quiet)


def test_without_a_file_the_result_goes_to_the_folder_and_its_tables_to_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\n{END}\nafter\n")
    monkeypatch.setattr(serving, "PAGE", page)
    monkeypatch.setattr(serving, "RESULTS", tmp_path)
    report = ServingReport("2026-01-31T12:00:00+00:00", MACHINE, SETTINGS, True, [])
    publish(report, None)
    assert page.read_text() == f"before\n{BEGIN}\n{render(report)}\n{END}\nafter\n"
    written = (tmp_path / "serving-20260131T120000.json").read_bytes()
    assert msgspec.json.decode(written, type=ServingReport) == report


def test_a_model_that_does_not_start_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(serving, "train", os.mkdir)
    assert main(["--only", "batching", "--json", str(tmp_path / "out.json")]) == 1
    assert "does not answer" in capsys.readouterr().err


def test_the_page_shows_the_newest_run_with_every_question() -> None:
    file = newest(names="serving-*.json")
    assert file is not None, "there is no run in loadtests/results"
    report = msgspec.json.decode(file.read_bytes(), type=ServingReport)
    assert {result.work for result in report.results} == {question.name for question in QUESTIONS}
    text = PAGE.read_text()
    assert text == with_table(text, render(report), BEGIN, END)
