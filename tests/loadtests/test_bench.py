"""The bench from end to end, for a second; and that it leaves nothing running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from loadtests.accounting import family, processes
from loadtests.bench import main
from loadtests.report import README, newest, read_json

ROOT = Path(__file__).resolve().parents[2]


def test_a_whole_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "out" / "bench.json"
    before = newest(), README.read_text()
    short = ["--seconds", "1", "--rounds", "1", "--connections", "8", "--work", "json", "--json", str(file)]
    assert main(["--only", "crossfade", "--only", "aiohttp", *short]) == 0, capsys.readouterr().err
    report = read_json(file)
    assert [result.proxy for result in report.results] == ["crossfade", "aiohttp"]
    for result in report.results:
        (sample,) = result.samples
        assert sample.errors == 0
        assert sample.cpu_us > 1 and sample.per_second > 50
        assert 0 < sample.p50_us <= sample.p99_us
        assert sample.busy > 0
    printed = capsys.readouterr().out
    assert "| crossfade |" in printed and "÷ nginx" in printed
    assert (newest(), README.read_text()) == before


def test_programs_that_are_not_there_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    short = ["--seconds", "1", "--rounds", "1", "--connections", "2", "--work", "large"]
    options = ["--only", "nginx", "--only", "haproxy", "--only", "aiohttp"]
    assert main([*options, *short, "--json", str(tmp_path / "x.json")]) == 0
    assert "Absent (not on the PATH): nginx, haproxy." in capsys.readouterr().out
    assert read_json(tmp_path / "x.json").settings.generator == "loadtests.client"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_running_when_it_is_stopped(number: signal.Signals, tmp_path: Path) -> None:
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
        members = wait_for_family(process.pid, 4)
        process.send_signal(number)
        assert process.wait(30) == 128 + number
    assert not members & set(processes())
    assert list(tmp_path.iterdir()) == []


def wait_for_family(pid: int, size: int) -> set[int]:
    """The bench, the origins, the proxy and the load generator."""
    pause, members = threading.Event(), family(pid, processes())
    for _ in range(400):
        if len(members) >= size:
            return members
        pause.wait(0.02)
        members = family(pid, processes())
    raise AssertionError(f"only {members} came up")


@pytest.mark.parametrize("words", [["--seconds", "0"], ["--rounds", "x"], ["--only", "squid"]])
def test_bad_options_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert words[0] in capsys.readouterr().err
