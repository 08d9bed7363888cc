from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from loadtests.contestants import MAKERS, is_present
from loadtests.equivalence import problems_of

ORIGINS = {"a": 40001, "b": 40002}


@pytest.mark.parametrize("name", ["crossfade", "nginx", "haproxy"])
def test_each_program_accepts_the_configuration_made_for_it(name: str, tmp_path: Path) -> None:
    if not is_present(name):
        pytest.skip(f"{name} is not on the PATH")
    contestant = MAKERS[name](tmp_path, ORIGINS)
    done = subprocess.run(contestant.check, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert contestant.version[0].isdigit()


@pytest.mark.parametrize("name", MAKERS)
def test_every_configuration_names_the_ports(name: str, tmp_path: Path) -> None:
    contestant = MAKERS[name](tmp_path, ORIGINS)
    written = " ".join([*contestant.argv, *(f.read_text() for f in tmp_path.iterdir())])
    for port in (contestant.port, *ORIGINS.values()):
        assert str(port) in written


def test_crossfade_has_one_worker_and_nothing_switched_off(tmp_path: Path) -> None:
    MAKERS["crossfade"](tmp_path, ORIGINS)
    written = yaml.safe_load((tmp_path / "bench.yaml").read_text())
    assert written["workers"] == 1
    assert set(written) == {"listen", "admin", "workers", "state", "backends", "routes"}
    assert all(set(backend) == {"endpoints"} for backend in written["backends"].values())


@pytest.mark.parametrize(
    ("first", "second", "problem"),
    [
        (["a"] * 900 + ["b"] * 100, ["a"] * 900 + ["b"] * 100, None),
        (["a"] * 900 + ["b"] * 100, ["a"] * 899 + ["b"] * 101, "1 of 1000 customers did not stay"),
        (["a"] * 1000, ["a"] * 1000, "0 customers are with b"),
        (["a"] * 500 + ["b"] * 500, ["a"] * 500 + ["b"] * 500, "500 customers are with b"),
        (["a"] * 899 + ["b"] * 100 + ["c"], ["a"] * 899 + ["b"] * 100 + ["c"], "answered by c"),
    ],
)
def test_who_does_not_do_the_same_work_is_found_out(
    first: list[str], second: list[str], problem: str | None
) -> None:
    problems = problems_of(first, second)
    assert (problems == []) if problem is None else any(problem in each for each in problems)
