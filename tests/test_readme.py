"""The README tells what is true: its YAML loads, its commands and targets exist, its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from crossfade.cli.arguments import build_parser
from crossfade.config.load import load

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_its_yaml_loads_without_a_warning() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    loaded = load(block, "README.md", {})
    assert loaded.warnings == ()
    assert loaded.config.routes[0].rollout


def test_its_commands_exist() -> None:
    named = {word for words in re.findall(r"`crossfade ([a-z\\|]+)", README) for word in words.split("\\|")}
    assert {"check", "status", "promote", "rollback", "why", "split"} <= named
    known = build_parser().format_help()
    assert [word for word in named if word not in known] == []


def test_its_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z]+)", README, re.MULTILINE))
    assert {"demo", "test"} <= named <= targets


@pytest.mark.parametrize(
    "page",
    ["README.md", "proxy/README.md", "loadtests/README.md", "backends/README.md", "docs/statistics.md"],
)
def test_its_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    missing = [link for link in links if not ((ROOT / page).parent / link).exists()]
    assert missing == []
