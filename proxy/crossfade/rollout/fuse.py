"""The fuse: hard limits on single outcomes, for gross failure, within a tick and without statistics.

Rule: it acts on the challenger's latest outcomes in order, and holds instead of blowing when the
champion failed at least half as often over the same time: then the cause is common (law 6).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from crossfade.rollout.verdict import Finding, Verdict, percent
from crossfade.scale import RECENT_KEPT

if TYPE_CHECKING:
    from crossfade.rollout.plan import Fuse

FUSE = "fuse"  # the name of its verdict
COMMON_CAUSE = 2  # errors of the champion before it can be called sick


class RecentOutcomes(msgspec.Struct):
    """The latest outcomes of one backend, oldest first, by the tick they came in; True is an error."""

    ticks: list[tuple[float, list[bool]]] = msgspec.field(default_factory=list)

    def add(self, outcomes: list[bool], now: float) -> None:
        """Forgets what is older than the latest RECENT_KEPT outcomes."""
        if not outcomes:
            return
        self.ticks.append((now, outcomes))
        kept = sum(len(o) for _, o in self.ticks)
        while kept - len(self.ticks[0][1]) >= RECENT_KEPT:
            kept -= len(self.ticks.pop(0)[1])

    def last(self, n: int, since: float = 0.0) -> tuple[list[bool], float]:
        """At most n latest outcomes of ticks from `since` on, and the tick of the oldest of them."""
        out: list[bool] = []
        oldest = since
        for at, outcomes in reversed(self.ticks):
            if at < since or len(out) >= n:
                break
            out = outcomes + out
            oldest = at
        return out[-n:], oldest

    def during(self, since: float, until: float) -> list[bool]:
        """The outcomes of these ticks, both ends included."""
        return [bad for at, outcomes in self.ticks if since <= at <= until for bad in outcomes]


def evaluate_fuse(fuse: Fuse, challenger: RecentOutcomes, champion: RecentOutcomes) -> Finding | None:
    """FAIL when the fuse blows, VOID when it would but for the champion, None when all is well."""
    row, began = challenger.last(fuse.consecutive_errors)
    if len(row) == fuse.consecutive_errors and all(row):
        said = f"{len(row)} errors in a row; the limit is {fuse.consecutive_errors}"
        return blow(row, (began, challenger.ticks[-1][0]), champion, said)
    row, began = challenger.last(fuse.of_last)
    if len(row) == fuse.of_last and sum(row) >= fuse.error_share * len(row):
        said = f"{sum(row)} of the last {len(row)} requests failed; the limit is {percent(fuse.error_share)}"
        return blow(row, (began, challenger.ticks[-1][0]), champion, said)
    return None


def blow(row: list[bool], span: tuple[float, float], champion: RecentOutcomes, said: str) -> Finding:
    """`span`: the ticks of the row's first and last outcome."""
    began, ended = span
    share = sum(row) / len(row)
    # Of the same time and no later, or an outage that is over would look like the challenger's alone: it may
    # not have been asked since. All of it and the worst of it, as an outage begins and ends in mid-tick.
    during = champion.during(began, ended)
    for other in (during, worst(during, len(row))):
        if sum(other) < COMMON_CAUSE or sum(other) / len(other) < share / 2:
            continue
        said += f"; the champion failed {sum(other)} of {len(other)} over the same time: a common cause"
        return Finding(FUSE, Verdict.VOID, said, len(row), share)
    return Finding(FUSE, Verdict.FAIL, said, len(row), share)


def worst(outcomes: list[bool], n: int) -> list[bool]:
    """Of all n outcomes in a row, those with the most errors; all of them where there are no more."""
    bad = most = sum(outcomes[:n])
    at = 0
    for end in range(n, len(outcomes)):
        bad += outcomes[end] - outcomes[end - n]
        if bad > most:
            most, at = bad, end - n + 1
    return outcomes[at : at + n]
