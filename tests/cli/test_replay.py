"""`crossfade replay` over a state file, which another process may have open."""

from __future__ import annotations

import json
import os
import shutil
import sys
from contextlib import closing
from pathlib import Path

import pytest

from crossfade.__main__ import main
from crossfade.control import replay_processes
from crossfade.control.store import Store
from tests.control.harness import Harness


@pytest.fixture
async def state(tmp_path: Path) -> str:
    path = str(tmp_path / "state.db")
    with closing(Store.open(f"sqlite:{path}")) as store:
        harness = Harness(store)
        await harness.load()
        await harness.run(40)
    return path


def test_a_journal_that_replays_without_difference_exits_with_0(
    state: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", "--state", state]) == 0
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"{state}: 4 decisions, 3 replayed, 1 given: no difference\n")


def test_a_tampered_journal_exits_with_1_and_names_the_differences(
    state: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(Store.open(f"sqlite:{state}")) as store:
        store.connection.execute(
            "UPDATE decisions SET record = replace(record, 'held 10s', 'held 99s') WHERE id = 3"
        )
    assert main(["replay", "--state", state]) == 1
    out, err = capsys.readouterr()
    assert [line.split(": ")[1] for line in out.splitlines()] == ["hash", "reason"]
    assert out.startswith("decision 3 (churn, advance): hash: the journal says '")
    assert err.endswith("2 differences\n")
    assert main(["replay", "--state", state, "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["decisions"], report["differences"][1]["what"]) == (4, "reason")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no such file"),
        (b"not a database" * 100, "file is not a database"),
        (b"", "no journal"),
    ],
)
def test_a_file_that_is_no_state_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, message: str
) -> None:
    path = tmp_path / "state.db"
    if content is not None:
        path.write_bytes(content)
    assert main(["replay", "--state", str(path)]) == 1
    assert message in capsys.readouterr().err
    assert path.exists() is (content is not None)


def test_a_replay_whose_helpers_end_is_no_replay_without_difference(
    state: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay_processes, "LONG", 0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    assert main(["replay", "--state", state]) == 1
    assert capsys.readouterr() == ("", "crossfade: a process of the replay ended: exit code 1\n")
