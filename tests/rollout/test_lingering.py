"""Requests that wait for many blocks of time are no burst."""

from __future__ import annotations

from crossfade.rollout.checks import evaluate_check
from crossfade.rollout.evidence import Evidence, fix_limits
from crossfade.rollout.evidence import gather as plain
from crossfade.rollout.lingering import linger
from crossfade.rollout.verdict import Verdict
from crossfade.stats.blocks import BLOCK
from crossfade.stats.counts import Cell, Events

from .counting import CONTEXT, cell, check

SLOW = check("latency", quantile="p90", max="200ms")


def hanging() -> Evidence:
    """Twenty requests of the challenger of one second wait; the champion has answered all of its own."""
    made = Evidence("v2", "v3")
    made.open("r", 2, 0, 0.5)
    fix_limits(made, (SLOW,))
    for second in range(1, 11):
        cells = [cell("v3", 20), cell("v2", 20)]
        for each in cells:
            each.second = second
        plain(made, cells, (SLOW,))
    waiting = Cell("r", "v3", "challenger", 2, second=11)
    waiting.events[SLOW.title] = Events(unkeyed=60, early=60)
    plain(made, [waiting], (SLOW,))
    return made


def test_what_waits_is_held_back_at_first_and_fails_when_it_waits_for_many_blocks():
    made = hanging()
    assert evaluate_check(SLOW, made, CONTEXT).verdict is Verdict.UNDECIDED
    blocks = 0
    while evaluate_check(SLOW, made, CONTEXT).verdict is not Verdict.FAIL:
        blocks += 1
        assert linger(made, 11 + blocks * BLOCK)
    assert 3 <= blocks <= 8


def test_each_block_has_it_once_and_none_when_nothing_waits():
    made = hanging()
    assert linger(made, 16)
    assert not linger(made, 17)
    answered = cell("v3", 60, times=[30.0] * 60)
    answered.second, answered.events = 11, {SLOW.title: Events(early=-60)}
    plain(made, [answered], (SLOW,))
    assert not linger(made, 40)
