"""`crossfade plan`: what is printed, and the exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Shell
from tests.control.harness import HEAD

OLD = """routes:
  - {name: churn, match: {path: /predict}, split: {v2: 90%, v3: 10%}}
"""
NEW = """routes:
  - name: churn
    match: {path: /predict}
    split: {v2: 80%, v3: 20%}
    mirror: [{to: v4, sample: 25%, safe: true}]
"""


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    for name, text in (("old", OLD), ("new", NEW), ("bad", NEW.replace("20%", "30%"))):
        (tmp_path / f"{name}.yaml").write_text(HEAD + text)
    return str(tmp_path / "old.yaml"), str(tmp_path / "new.yaml")


async def test_who_moves_and_what_mirrors_add_are_printed(shell: Shell, files: tuple[str, str]) -> None:
    shown = await shell.run("plan", *files, "--rate", "churn=400")
    assert shown.code == 0, shown.err
    assert "route churn changes" in shown.out
    assert "10% of the customers move when the file is loaded: 10% v2 → v3" in shown.out
    assert "copies to v4: 0 requests/s → 100 requests/s" in shown.out
    without = await shell.run("plan", *files)
    assert "copies to v4: 0% of the requests → 25% of the requests" in without.out
    as_json = (await shell.run("plan", *files, "--json")).json
    assert as_json["routes"][0]["moved"] == {"buckets": 1000, "share": 0.1, "of": {"v2→v3": 1000}}


async def test_the_same_file_means_the_same(shell: Shell, files: tuple[str, str]) -> None:
    shown = await shell.run("plan", files[0], files[0])
    assert (shown.code, shown.out) == (0, "The files mean the same for traffic.\n")


@pytest.mark.parametrize(
    ("rate", "code", "said"),
    [
        ("churn", 2, "must look like churn=400"),
        ("churn=-1", 2, "from 0 on"),
        ("churn=nan", 2, "from 0 on"),
        ("nope=4", 4, "no route that changes is called nope"),
    ],
)
async def test_a_wrong_rate_is_refused(
    shell: Shell, files: tuple[str, str], rate: str, code: int, said: str
) -> None:
    shown = await shell.run("plan", *files, "--rate", rate)
    assert (shown.code, said in shown.err) == (code, True)


async def test_a_file_that_is_not_valid_is_said_with_its_place(shell: Shell, files: tuple[str, str]) -> None:
    bad = files[1].replace("new", "bad")
    shown = await shell.run("plan", files[0], bad)
    assert (shown.code, f"{bad}:" in shown.err, "110%" in shown.err) == (1, True, True)
