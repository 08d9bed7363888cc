"""The glossary is binding: no name in the proxy is a word that the glossary says to avoid."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "proxy" / "crossfade").rglob("*.py"))
FAILURE_STAGE = {"Stage"}  # `errors.Stage`: the part of an exchange that failed


def avoided() -> set[str]:
    rows = re.findall(r"^\| \*\*.*\|([^|]*)\|$", (ROOT / "docs" / "glossary.md").read_text(), re.MULTILINE)
    return {word.strip() for row in rows for word in row.split(",") if word.strip()}


def names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name


def words(name: str) -> set[str]:
    """`LiveRoute` and `live_route` both have the words live and route."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z0-9]+", name)}


def test_the_glossary_has_words_to_avoid() -> None:
    assert {"arm", "sight", "orphan", "heir", "knock", "tail"} <= avoided()


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_name_is_a_word_to_avoid(source: Path) -> None:
    found = [source.stem, *names(ast.parse(source.read_text()))]
    wrong = {name: hit for name in found if (hit := words(name) & avoided()) and name not in FAILURE_STAGE}
    assert wrong == {}
