"""The fuse: hard limits on the latest outcomes, for gross failure; it acts within a tick and without statistics.

Rule: it looks at the challenger's latest outcomes in order. If the champion failed at least half as often over the
same time, the cause is common and the result is VOID instead of FAIL (law 6).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from crossfade.rollout.verdict import MIN_CHAMPION_ERRORS, Finding, Verdict, percent
from crossfade.scale import RECENT_KEPT
from crossfade.stats.counts import is_bad

if TYPE_CHECKING:
    from crossfade.rollout.plan import Fuse

FUSE = "fuse"  # the check name of its finding


class RecentOutcomes(msgspec.Struct):
    """The latest outcomes of one backend by tick (served time, outcomes), oldest first; an outcome is an `outcome_of`."""

    ticks: list[tuple[float, list[int]]] = msgspec.field(default_factory=list)

    def add(self, outcomes: list[int], now: float) -> None:
        """Add the outcomes of one tick; ticks before the latest RECENT_KEPT outcomes are dropped."""
        if not outcomes:
            return
        self.ticks.append((now, outcomes))
        kept = sum(len(o) for _, o in self.ticks)
        while kept - len(self.ticks[0][1]) >= RECENT_KEPT:
            kept -= len(self.ticks.pop(0)[1])

    def last(self, n: int, since: float = 0.0) -> tuple[list[int], float]:
        """The latest outcomes, at most n, of ticks from `since` on, and the time of the oldest of these ticks."""
        out: list[int] = []
        oldest = since
        for at, outcomes in reversed(self.ticks):
            if at < since or len(out) >= n:
                break
            out = outcomes + out
            oldest = at
        return out[-n:], oldest

    def during(self, since: float, until: float) -> list[int]:
        """The outcomes of the ticks from `since` to `until`, both included."""
        return [one for at, outcomes in self.ticks if since <= at <= until for one in outcomes]


def count_bad(outcomes: Iterable[int]) -> int:
    return sum(map(is_bad, outcomes))


def evaluate_fuse(fuse: Fuse, challenger: RecentOutcomes, champion: RecentOutcomes) -> Finding | None:
    """FAIL if a limit is reached, VOID if it is reached but the cause is common, None otherwise."""
    row, began = challenger.last(fuse.consecutive_errors)
    if len(row) == fuse.consecutive_errors and count_bad(row) == len(row):
        text = f"{len(row)} errors in a row; the limit is {fuse.consecutive_errors}"
        return _limit_finding(row, (began, challenger.ticks[-1][0]), champion, text)
    row, began = challenger.last(fuse.of_last)
    if len(row) == fuse.of_last and count_bad(row) >= fuse.error_share * len(row):
        text = f"{count_bad(row)} of the last {len(row)} requests failed; the limit is {percent(fuse.error_share)}"
        return _limit_finding(row, (began, challenger.ticks[-1][0]), champion, text)
    return None


def _limit_finding(row: list[int], span: tuple[float, float], champion: RecentOutcomes, text: str) -> Finding:
    """The finding for a limit that `row` reached; `span`: the ticks of its first and last outcome."""
    began, ended = span
    share = count_bad(row) / len(row)
    # Only outcomes of the same time count: after an outage of both, the challenger may get no requests, and later
    # outcomes of the champion would hide it. An outage begins and ends within a tick, so both the whole time
    # and its worst run are compared.
    during = champion.during(began, ended)
    for other in (during, _worst_run(during, len(row))):
        if count_bad(other) < MIN_CHAMPION_ERRORS or count_bad(other) / len(other) < share / 2:
            continue
        text += f"; the champion failed {count_bad(other)} of {len(other)} over the same time: a common cause"
        return Finding(FUSE, Verdict.VOID, text, len(row), share)
    return Finding(FUSE, Verdict.FAIL, text, len(row), share)


def _worst_run(outcomes: list[int], n: int) -> list[int]:
    """The n consecutive outcomes with the most errors; all outcomes if there are fewer than n."""
    bad = most = count_bad(outcomes[:n])
    at = 0
    for end in range(n, len(outcomes)):
        bad += is_bad(outcomes[end]) - is_bad(outcomes[end - n])
        if bad > most:
            most, at = bad, end - n + 1
    return outcomes[at : at + n]
