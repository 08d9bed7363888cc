"""A short run of the whole bench, and that it leaves no process running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from loadtests import comparisons
from loadtests.accounting import process_tree, processes
from loadtests.bench import main
from loadtests.report import README, newest, read_json

ROOT = Path(__file__).resolve().parents[2]


def test_a_whole_run_measures_every_work_and_comparison(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(comparisons, "ROUNDS", 1)
    file = tmp_path / "out" / "bench.json"
    before = newest(), README.read_text()
    short = ["--seconds", "1", "--rounds", "1", "--connections", "8", "--json", str(file)]
    parts = ["--work", "json", "--work", "sse", "--work", "sticky"]
    assert main(["--only", "crossfade", *parts, *short]) == 0, capsys.readouterr().err
    report = read_json(file)
    assert [(r.work, r.load, r.proxy) for r in report.results] == [
        ("json", "saturated", "crossfade"),
        ("json", "paced", "direct"),
        ("json", "paced", "crossfade"),
        ("sse", "paced", "direct"),
        ("sse", "paced", "crossfade"),
    ]
    compared = [result for c in report.comparisons for result in (c.base, c.changed)]
    for result in [*report.results, *compared]:
        sample = result.median
        assert sample.errors == 0
        assert sample.per_second > 50
        assert 0 < sample.p50_us <= sample.p99_us
        if result.proxy == "direct":
            assert sample.cpu_us is sample.busy is sample.memory_mib is None
        else:
            assert sample.cpu_us and sample.busy and sample.memory_mib and sample.memory_mib > 10
    assert [(c.name, len(c.base.samples)) for c in report.comparisons] == [("sticky", 1)]
    assert set(report.idle_mib) == {"crossfade"}
    printed = capsys.readouterr().out
    assert "| crossfade |" in printed and "÷ nginx" in printed
    assert (newest(), README.read_text()) == before


def test_programs_that_are_not_installed_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("loadtests.measured_proxy.SCRIPTS", str(tmp_path))
    short = ["--seconds", "1", "--rounds", "1", "--connections", "2", "--work", "large"]
    options = ["--only", "nginx", "--only", "caddy", "--only", "aiohttp"]
    assert main([*options, *short, "--json", str(tmp_path / "x.json")]) == 0
    printed = capsys.readouterr()
    assert "Not measured (not on the PATH, not installed with this Python): nginx, caddy." in printed.out
    assert "ABSENT: caddy" in printed.err
    assert read_json(tmp_path / "x.json").settings.generator == "loadtests.client"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_bench_and_all_its_processes(number: signal.Signals, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "loadtests.bench", "--only", "aiohttp", "--seconds", "60"]
    with subprocess.Popen(
        [*command, "--json", str(tmp_path / "x.json")],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert "round 1" in process.stderr.readline()
        members = wait_for_process_tree(process.pid, 4)
        process.send_signal(number)
        assert process.wait(30) == 128 + number
    assert not members & set(processes())
    assert list(tmp_path.iterdir()) == []


def wait_for_process_tree(pid: int, size: int) -> set[int]:
    """Until the tree has the bench, the origins, the proxy and the load generator."""
    pause, members = threading.Event(), process_tree(pid, processes())
    for _ in range(400):
        if len(members) >= size:
            return members
        pause.wait(0.02)
        members = process_tree(pid, processes())
    raise AssertionError(f"only {members} are running")


@pytest.mark.parametrize("words", [["--seconds", "0"], ["--rounds", "x"], ["--only", "squid"]])
def test_invalid_options_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert words[0] in capsys.readouterr().err
