"""The pipelines name the scripts of their folder, all of them, and both services run the same."""

from __future__ import annotations

import os
import re
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from crossfade.config.units import seconds
from tests.deploy.pipelines import FOLDER, read_jobs

PIPELINES = [FOLDER / "github.yml", FOLDER / "gitlab.yml"]
SCRIPTS = sorted(FOLDER.glob("*.sh"))
BY_NAME = pytest.mark.parametrize("file", PIPELINES, ids=lambda file: file.name)
_ANY: dict[str, str] = defaultdict(lambda: "x")


def named(lines: list[str]) -> list[str]:
    return [name for line in lines for name in re.findall(r"deploy/ci/([\w.-]+)", line)]


@BY_NAME
def test_each_script_is_used_and_each_that_is_named_can_be_run(file: Path) -> None:
    jobs = read_jobs(file, _ANY)
    found = [name for job in jobs.values() for name in named([*job.steps, *job.after_failure])]
    assert sorted(found) == [script.name for script in SCRIPTS]
    assert named(jobs["deliver"].after_failure) == ["roll_back.sh"]
    assert all(os.access(script, os.X_OK) for script in SCRIPTS)


@BY_NAME
def test_a_job_gives_each_variable_that_its_scripts_need(file: Path) -> None:
    """Those with a default in the script may be left out."""
    job = read_jobs(file, _ANY)["deliver"]
    text = "".join((FOLDER / name).read_text() for name in named([*job.steps, *job.after_failure]))
    needed = set(re.findall(r"\$\{?([A-Z][A-Z_]+)\b(?!:-)", re.sub(r"^#.*$", "", text, flags=re.MULTILINE)))
    assert needed >= {"MODEL", "VERSION", "REGISTRY", "ROLLOUT"}
    assert needed <= set(job.variables)


def test_both_services_do_the_same() -> None:
    github, gitlab = (read_jobs(file, _ANY) for file in PIPELINES)
    assert list(github) == list(gitlab)
    for name in github:
        assert named(github[name].steps) == named(gitlab[name].steps)
    here, there = github["deliver"].variables, gitlab["deliver"].variables
    assert set(here) - {"CROSSFADE_ADMIN_TOKEN"} == set(there)  # which GitLab gives to each job by itself
    filled_in = {"VERSION", "COMMIT", "AUTHOR"}
    assert {k: here[k] for k in there if k not in filled_in} == {
        k: there[k] for k in there if k not in filled_in
    }


@pytest.mark.parametrize(
    ("file", "pattern"), [(PIPELINES[0], r"timeout-minutes: (\d+)"), (PIPELINES[1], r"timeout: (\d+)h")]
)
def test_a_job_may_take_longer_than_it_waits(file: Path, pattern: str) -> None:
    limit = re.search(pattern, file.read_text())
    assert limit
    longest = int(limit[1]) * (60 if "minutes" in pattern else 3600)
    assert longest > seconds(read_jobs(file, _ANY)["deliver"].variables["WAIT"])


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_shell_takes_the_script_and_it_ends_at_the_first_failure(script: Path) -> None:
    text = script.read_text()
    assert text.startswith("#!/bin/sh\n# ") and "\nset -eu\n" in text
    assert subprocess.run(["sh", "-n", script], check=False).returncode == 0
