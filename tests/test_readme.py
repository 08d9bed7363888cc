"""Checks of the README: its YAML loads, its commands and make targets exist, its links have targets."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from crossfade.cli.arguments import build_parser
from crossfade.config.load import load

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_yaml_of_the_readme_loads_without_a_warning() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    loaded = load(block, "README.md", {})
    assert loaded.warnings == ()
    assert loaded.config.routes[0].rollout


def test_the_commands_of_the_readme_exist() -> None:
    named = {word for words in re.findall(r"`crossfade ([a-z\\|]+)", README) for word in words.split("\\|")}
    assert {"check", "status", "promote", "rollback", "why", "split"} <= named
    known = build_parser().format_help()
    assert [word for word in named if word not in known] == []


def test_the_make_targets_of_the_readme_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z]+)", README, re.MULTILINE))
    assert {"demo", "test"} <= named <= targets


PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/README.md")]


@pytest.mark.parametrize("page", [str(page.relative_to(ROOT)) for page in PAGES])
def test_relative_links_have_targets(page: str) -> None:
    text = (ROOT / page).read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    missing = [link for link in links if not ((ROOT / page).parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize(
    "page",
    [
        "CONTRIBUTING.md",
        "SECURITY.md",
        "docs/threat-model.md",
        "docs/life-of-a-request.md",
        "docs/life-of-a-decision.md",
    ],
)
def test_files_named_in_a_page_exist(page: str) -> None:
    """A path below proxy/crossfade may be given without that prefix."""
    named = re.findall(r"`([A-Za-z0-9_./-]+(?:\.py|\.md|\.yaml|\.json|/))`", (ROOT / page).read_text())
    assert named
    places = (ROOT, ROOT / "proxy" / "crossfade", ROOT / "proxy" / "crossfade" / "rollout")
    assert [name for name in named if not any((place / name).exists() for place in places)] == []
