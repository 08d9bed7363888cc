"""The layout of configurations: what changes, what never does, and that twice is the same as once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from crossfade.config.formatting import NotFormatted, formatted

EXAMPLES = sorted(Path("config/examples").glob("*.yaml"))


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.name)
def test_the_examples_are_laid_out_so(file: Path) -> None:
    assert formatted(file.read_text()) == file.read_text()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a:   1\n", "a: 1\n"),
        ("a:\n- 1\n-   2\n", "a:\n  - 1\n  - 2\n"),
        ("a:\n- b: 1\n  c: 2\nd: 3\n", "a:\n  - b: 1\n    c: 2\nd: 3\n"),
        ("a:\n- - 1\n  - 2\n", "a:\n  - - 1\n    - 2\n"),
        ("a:\n      b:\n        c: 1\n      d: 2\n", "a:\n  b:\n    c: 1\n  d: 2\n"),
        ("a: {b: 1,c: [ 1,2 ] }\n", "a: {b: 1, c: [1, 2]}\n"),
        ('a: {"b":1}\n', 'a: {"b": 1}\n'),
        ("a: 1 # why\n", "a: 1  # why\n"),
        ("a: 1      # aligned\n", "a: 1      # aligned\n"),
        ("a: 1   \n\n\n\nb: 2\n\n\n", "a: 1\n\nb: 2\n"),
        ("a: 1\r\nb: 2\r\n", "a: 1\nb: 2\n"),
        ("\ufeffa: 1", "a: 1\n"),
        ("a:\n    # about b\n    b: 1\n    # the end\n", "a:\n  # about b\n  b: 1\n  # the end\n"),
        (
            "a:\n    b: |\n        x\n          y\n\n        # z\n    c: 1\n",
            "a:\n  b: |\n      x\n        y\n\n      # z\n  c: 1\n",
        ),
        ("a: 'x # y'\n", "a: 'x # y'\n"),
        ("a: [1,\n    2]\n", "a: [1,\n    2]\n"),
        ("a: &x {b: 1}\nc:   *x\n", "a: &x {b: 1}\nc: *x\n"),
        ("? a\n:   b\n", "? a\n: b\n"),
        ("# only\n", "# only\n"),
        ("", ""),
    ],
)
def test_what_changes(before: str, after: str) -> None:
    assert formatted(before) == after


@pytest.mark.parametrize(
    ("text", "place"),
    [("a: [1\n", (2, 1)), ("a: 1\n b: 2\n", (2, 3)), ("a: *x\n", (1, 4)), ("\t- a\n", (1, 1))],
)
def test_what_is_no_yaml_is_said_with_its_place(text: str, place: tuple[int, int]) -> None:
    with pytest.raises(NotFormatted) as failed:
        formatted(text)
    assert (failed.value.line, failed.value.column) == place


SCALARS = st.one_of(st.integers(), st.booleans(), st.text(st.characters(codec="ascii"), max_size=12))
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab# :-", max_size=4), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(
    value=st.dictionaries(st.text("abc", min_size=1, max_size=3), VALUES),
    indent=st.integers(2, 8),
    flow=st.booleans(),
)
def test_the_meaning_stays_and_twice_is_once(value: Any, indent: int, flow: bool) -> None:
    text = yaml.safe_dump(value, indent=indent, default_flow_style=None if flow else False, width=40)
    out = formatted(text)
    assert yaml.safe_load(out) == value
    assert formatted(out) == out
    assert all(line == line.rstrip() for line in out.split("\n")) or "|" in text or '"' in text or "'" in text


LINES = ["a:", "  b: 1", "    - x", "# c", "  # d", "", "- 1", "e: {f: 1}  # g", "   h: |", "      i", "j"]


@given(lines=st.lists(st.sampled_from(LINES), max_size=8))
def test_any_lines_are_laid_out_or_refused_and_keep_their_comments(lines: list[str]) -> None:
    text = "\n".join(lines)
    try:
        out = formatted(text)
    except NotFormatted:
        return
    assert out.count("#") == text.count("#")
    assert formatted(out) == out
    assert list(yaml.safe_load_all(out)) == list(yaml.safe_load_all(text))
