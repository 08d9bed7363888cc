"""What single pages claim: phrases of troubleshooting are those that the proxy says, units of systemd are valid, fields are those of the code."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from crossfade.errors import FAILURES
from tests.docs.blocks import ROOT

SOURCE = "\n".join(path.read_text("utf-8") for path in (ROOT / "proxy/crossfade").rglob("*.py"))


def _page(name: str) -> str:
    return (ROOT / "docs" / name).read_text("utf-8")


def _section(page: str, title: str) -> str:
    return _page(page).split(f"## {title}\n")[1].split("\n## ")[0]


def test_the_proxy_says_what_troubleshooting_quotes():
    quoted = re.findall(r"^\| `([^`]*)`", _section("troubleshooting.md", "It does not start"), re.MULTILINE)
    parts = [part.strip() for said in quoted for part in re.split("…|: Address already in use", said)]
    said = [part for part in parts if len(part) > 6 and "routing.yaml" not in part]
    assert len(said) >= 5
    assert [part for part in said if part not in SOURCE] == []


def test_each_failure_named_in_a_page_is_one():
    known = {f"{failure.source}/{failure.stage}" for failure in FAILURES.values()}
    for page in ("troubleshooting.md", "wire-headers.md"):
        named = set(re.findall(r"\b(?:downstream|internal|upstream)/[a-z_]+", _page(page)))
        assert named and named <= known, page


def test_statuses_in_troubleshooting_are_those_of_the_table():
    rows = re.findall(
        r"^\| (\d{3}) ((?:`[a-z_/]+`(?:, )?)+)",
        _section("troubleshooting.md", "Clients get errors"),
        re.MULTILINE,
    )
    statuses = {f"{failure.source}/{failure.stage}": failure.status for failure in FAILURES.values()}
    said = {name: int(status) for status, names in rows for name in re.findall(r"`([^`]+)`", names)}
    assert len(said) >= 10
    assert {name: statuses[name] for name in said} == said


def test_metrics_that_pages_name_exist():
    for page in ("troubleshooting.md", "capacity.md", "failures.md"):
        for name in set(re.findall(r"\bcrossfade_[a-z_]+", _page(page))):
            base = re.sub("_(total|bucket|sum|count)$", "", name)
            assert f'"{name}"' in SOURCE or f'"{base}"' in SOURCE, name


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here")
@pytest.mark.parametrize("unit", ["crossfade.service", "crossfade.socket"])
def test_systemd_takes_the_unit(unit: str, tmp_path: Path):
    """With a program that is there in the place of the installed one."""
    for file in (ROOT / "deploy/systemd").iterdir():
        text = file.read_text("utf-8").replace("/opt/crossfade/bin/crossfade", sys.executable)
        (tmp_path / file.name).write_text(text, "utf-8")
    found = subprocess.run(
        ["systemd-analyze", "verify", str(tmp_path / unit)], capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stderr) == (0, "")


def test_the_unit_waits_longer_than_the_drain_and_compose_does():
    unit = (ROOT / "deploy/systemd/crossfade.service").read_text("utf-8")
    compose = (ROOT / "docker-compose.yml").read_text("utf-8")
    waits = [
        re.search(r"TimeoutStopSec=(\d+)", unit),
        re.search(r"stop_grace_period: (\d+)s\n    ulimits", compose),
    ]
    assert all(found and int(found[1]) > 35 for found in waits)
