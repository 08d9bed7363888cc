"""Reads rule files of Prometheus and the unit tests beside them: their expressions, and the metrics in them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.dashboard import metric_names
from tests.deploy.project import ROOT

FOLDER, ALERTMANAGER = ROOT / "deploy/prometheus", ROOT / "deploy/alertmanager"
RULES, ALERTS = FOLDER / "rules.yml", FOLDER / "alerts.yml"
UNIT_TESTS = sorted(FOLDER.glob("*_test.yml"))
# Of Prometheus itself, and of the usual collector of processes.
OUTSIDE = re.compile(r"up|ALERTS|(crossfade_worker_)?process_\w+")


def rules_in(file: Path) -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]]


def recorded() -> set[str]:
    """The series that rules.yml makes."""
    return {rule["record"] for rule in rules_in(RULES)}


def families(expression: str) -> set[str]:
    """The metrics that the proxy must have for this expression; a histogram by its name alone."""
    names = metric_names(expression) - recorded()
    return {re.sub(r"_bucket$", "", name) for name in names if not OUTSIDE.fullmatch(name)}


def unit_tests() -> list[dict[str, Any]]:
    return [test for file in UNIT_TESTS for test in yaml.safe_load(file.read_text())["tests"]]
