"""Harnesses whose file is edited, and what tests of edits know of them."""

from __future__ import annotations

from crossfade.control.replay import replayed

from .harness import CANARY, Harness, rows_of

TWO = (
    CANARY
    + """
  - name: other
    match: {prefix: /}
    split: {v2: 60%, v4: 40%}
"""
)


async def in_step_two() -> Harness:
    harness = Harness()
    await harness.load()
    await harness.run(14)
    assert harness.weights == {"v2": 5000, "v3": 5000}
    return harness


async def assert_replayed(harness: Harness) -> None:
    report = replayed(rows_of(await harness.decisions()))
    assert report.differences == []
