"""Reads deploy/ci/*.yml as the two services do: the jobs, their variables, their steps in order, and what runs after a failure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.project import ROOT

FOLDER = ROOT / "deploy" / "ci"
_GITHUB = re.compile(r"\$\{\{ *([\w.]+) *\}\}")
_GITLAB = re.compile(r"\$(\w+)")


@dataclass(frozen=True)
class Job:
    """`steps`: lines of a shell; the first that fails is the last. `after_failure`: what runs then."""

    variables: Mapping[str, str]
    steps: list[str]
    after_failure: list[str]


def read_jobs(file: Path, known: Mapping[str, str]) -> dict[str, Job]:
    """`known`: what the service fills in, such as `github.sha` or `CI_COMMIT_SHA`."""
    said = yaml.safe_load(file.read_text())
    if "jobs" in said:
        return {name: _github_job(each, known) for name, each in said["jobs"].items()}
    return {name: _gitlab_job(said[name], known) for name in said if name != "stages"}


def _github_job(job: Mapping[str, Any], known: Mapping[str, str]) -> Job:
    runs = [step for step in job["steps"] if "run" in step]
    return Job(
        {name: _GITHUB.sub(lambda m: known[m[1]], value) for name, value in job.get("env", {}).items()},
        [step["run"] for step in runs if "if" not in step],
        [step["run"] for step in runs if "failure()" in step.get("if", "")],
    )


def _gitlab_job(job: Mapping[str, Any], known: Mapping[str, str]) -> Job:
    return Job(
        {name: _GITLAB.sub(lambda m: known[m[1]], value) for name, value in job.get("variables", {}).items()},
        list(job["script"]),
        [f"CI_JOB_STATUS=failed; {line}" for line in job.get("after_script", [])],
    )
