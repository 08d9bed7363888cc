"""Shares and durations as people read them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from crossfade.rollout import verdict
from crossfade.rollout.verdict import duration, once_ended, percent

PACKAGE = Path(verdict.__file__).parent


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.0, "0%"), (0.0052, "0.52%"), (0.12345, "12.3%"), (1.0, "100%"), (0.00001234, "0.00123%")],
)
def test_a_share(share, text):
    assert percent(share) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0ms"),
        (0.0015, "1.5ms"),
        (0.182, "182ms"),
        (0.9994, "999ms"),
        (1.0, "1s"),
        (4.5, "4.5s"),
        (59.4, "59.4s"),
        (60.0, "1m"),
        (61.4, "1m 1s"),
        (200.0, "3m 20s"),
        (3599.4, "59m 59s"),
        (3600.0, "1h"),
        (3659.0, "1h"),
        (7500.0, "2h 5m"),
        (86_399.0, "23h 59m"),
        (86_400.0, "1d"),
        (100_800.0, "1d 4h"),
        (864_000.0, "10d"),
    ],
)
def test_a_duration(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        ("0 of 40 failed; 10 more requests are needed", "0 of 40 failed; 10 more requests were needed when it ended"),
        ("no requests yet; 50 are needed", "no requests until it ended; 50 were needed"),
        ("20 requests in this step; 50 are needed", "20 requests in this step; 50 were needed"),
        ("not proven yet (odds of 3 to 1)", "not proven until it ended (odds of 3 to 1)"),
        ("no copies have been answered yet; 9 are needed", "no copies were answered until it ended; 9 were needed"),
        ("8 of 9 failed; chance shows so much once in 9 looks: more requests will tell", "8 of 9 failed; chance shows so much once in 9 looks: more requests would have told"),
        ("the requests are others than the profile's, and the rollout waits", "the requests are others than the profile's, and the rollout waited"),
        ("the query has not been run in this step yet", "the query was not run in its last step"),
        (
            "nothing to compare yet: the champion has 3 of 20 answers that are needed",
            "nothing to compare until it ended: the champion had 3 of 20 answers that were needed",
        ),
        (
            "5 errors in a row; the champion has 7 requests of the same seconds that have not been answered yet, so the cause may be common",
            "5 errors in a row; the champion had 7 requests of the same seconds that had not been answered when it ended, so the cause may be common",
        ),
        ("10 errors in a row; the limit is 10", "10 errors in a row; the limit is 10"),
    ],
)  # fmt: skip
def test_the_reason_of_an_ended_rollout_says_what_was_so(reason, text):
    assert once_ended(reason) == text


GOING_ON = re.compile(r"\b(yet|are needed|will|waits|has not been|have not been|the champion has)\b")


def said_by(path: Path) -> Iterator[str]:
    """The texts of a module, each in one line; what is filled in is an N."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(p.value) if isinstance(p, ast.Constant) else "N" for p in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "\n" not in node.value:
            yield node.value


@pytest.mark.parametrize(
    "path", [p for p in PACKAGE.glob("*.py") if "Finding(" in p.read_text()], ids=lambda p: p.stem
)
def test_no_reason_of_an_ended_rollout_says_what_is_to_come(path):
    """Each text of a module that makes findings."""
    assert [text for text in said_by(path) if GOING_ON.search(once_ended(text))] == []
