"""The fuse: hard limits on the latest outcomes, for gross failure; it acts within a second or two and without statistics.

Rule: it looks at the latest outcomes of the challenger in order, each key once. If the champion failed at least half as often
over the same time, the cause is common and the result is VOID instead of FAIL (law 6).

A limit that is reached in a second may be reached by chance: where 20 % of all requests fail on any model, some 20 requests in a row have 10
errors. So the fuse trips only if the champion, over the same time, failed so much less that chance does it once in 100 000 looks. Where
the champion has no outcomes, the challenger must have failed more often than half of the share by the same measure.

In a shared outage the challenger may fail at once while the champion's requests hang until their time-out. So from the moment
in which a limit is reached, the fuse holds while of the champion's requests of the same seconds, and of the second after them,
at least as many are waiting as have ended well since. A healthy champion answers, so that is over within a tick or two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from msgspec.structs import replace

from crossfade.rollout.pending import HORIZON
from crossfade.rollout.recent import RecentOutcomes, Row, Tick, count_bad, is_keyed, units_of
from crossfade.rollout.verdict import MIN_CHAMPION_ERRORS, Finding, Verdict, percent
from crossfade.stats.counts import ANY_SECOND
from crossfade.stats.exact import chance_of_share, chance_of_split

if TYPE_CHECKING:
    from crossfade.rollout.plan import Fuse

FUSE = "fuse"  # the check name of its finding
PROVEN = (
    1e-5  # the largest chance of a look; at four looks a second, an hour of a common cause has 14 400 of them
)
_COMPARABLE = 3  # units of the champion from which it is compared with
Waiting = Mapping[
    int, int
]  # how many of the champion's requests have no first byte yet, by the second of routing


class Reached(msgspec.Struct, frozen=True):
    """A limit that the challenger's latest outcomes reached, and what the champion did at that time.

    `n` and `share`: units and their share of errors. `at`: served time of the latest of them; `first` to `last`: the seconds in
    which their requests were routed, ANY_SECOND if that is not known. Of the champion: `ended`, outcomes over the same time;
    `routed`, those of the same seconds and the second after, with those that came later; `well`, how many came later and are no
    errors; `waiting` and `after`, requests without an answer of the same seconds, and of the second after. `late`: the fuse has
    waited long enough. `chance`: that a common cause shows so many errors of the challenger, and so few of the champion.
    """

    text: str
    n: int
    share: float
    at: float
    first: int
    last: int
    ended: list[int]
    routed: list[int]
    well: int = 0
    waiting: int = 0
    after: int = 0
    late: bool = False
    chance: float = 0.0

    @property
    def is_proven(self) -> bool:
        return self.chance <= PROVEN

    @property
    def common(self) -> list[int]:
        """Outcomes of the champion that show a common cause, or none.

        Only outcomes of the same time count: after an outage of both, the challenger may get no requests, and later
        outcomes of the champion would hide it. An outage begins and ends within a tick, so both the whole time
        and its worst run are compared.
        """
        ended = units_of(self.ended)
        for other in (ended, _worst_run(ended, self.n), _worst_run(units_of(self.routed), self.n)):
            bad = count_bad(other)
            if bad >= MIN_CHAMPION_ERRORS and bad / len(other) >= self.share / 2:
                return other
        return []

    @property
    def is_held(self) -> bool:
        """Whether the champion's requests that are waiting may yet show a common cause."""
        if self.late or not self.waiting or self.common:
            return False
        enough = self.waiting + self.after + count_bad(units_of(self.routed)) >= MIN_CHAMPION_ERRORS
        return enough and self.waiting + self.after >= self.well


def evaluate_fuse(
    fuse: Fuse, challenger: RecentOutcomes, champion: RecentOutcomes, reached: Reached | None = None
) -> Finding | None:
    """FAIL if a limit is reached, VOID if it is but the cause is or may be common, None otherwise."""
    reached = reached or reach(fuse, challenger, champion)
    if reached is None:
        return None
    verdict, text, common = Verdict.FAIL, reached.text, reached.common
    if common:
        verdict = Verdict.VOID
        text += (
            f"; the champion failed {count_bad(common)} of {len(common)} over the same time: a common cause"
        )
    elif reached.is_held:
        verdict = Verdict.VOID
        text += (
            f"; the champion has {reached.waiting + reached.after} requests of the same seconds that have not "
            "been answered yet, so the cause may be common"
        )
    elif not reached.is_proven:
        verdict = Verdict.VOID
        text += (
            f"; with what the champion did over the same time, chance shows so much once in {1 / reached.chance:.0f} looks: "
            "more requests will tell"
        )
    return Finding(FUSE, verdict, text, reached.n, reached.share)


def reach(
    fuse: Fuse, challenger: RecentOutcomes, champion: RecentOutcomes, waiting: Waiting | None = None
) -> Reached | None:
    """The limit that the challenger's latest outcomes reach now."""
    row = challenger.last(fuse.consecutive_errors)
    if row.bad == fuse.consecutive_errors:
        text = f"{row.bad} errors in a row{_once(row)}; the limit is {fuse.consecutive_errors}"
        return _reached(fuse, row, text, challenger, champion, waiting or {})
    row = challenger.last(fuse.of_last)
    if len(row.units) == fuse.of_last and row.bad >= fuse.error_share * fuse.of_last:
        text = f"{row.bad} of the last {len(row.units)} requests failed{_once(row)}; the limit is {percent(fuse.error_share)}"
        return _reached(fuse, row, text, challenger, champion, waiting or {})
    return None


class Came(NamedTuple):
    """What one tick brought of the champion: outcomes, requests without an answer, and the served time."""

    ticks: Sequence[Tick]
    waiting: Waiting
    now: float


def next_reached(
    reached: Reached | None,
    fuse: Fuse,
    recents: tuple[RecentOutcomes, RecentOutcomes],
    came: Came,
    horizon: float = HORIZON,
) -> Reached | None:
    """`reached` after another tick. `recents`: of (challenger, champion), with the outcomes of the tick.

    `horizon`: seconds after which nothing is waited for. A limit on which nobody could act is forgotten once the challenger
    has recovered, and one that is not proven is looked at anew.
    """
    if reached is not None and reached.is_held:
        later = _later(reached, came, horizon)
        if later.is_proven or not later.late:
            return later
        present = reach(fuse, *recents)  # with what came while it was held
        return present and replace(present, late=True)
    present = reach(fuse, *recents, came.waiting)
    return reached if reached is not None and present is not None and reached.is_proven else present


def _later(reached: Reached, came: Came, horizon: float) -> Reached:
    if reached.first == ANY_SECOND:
        return reached
    span = range(reached.first, reached.last + 2)
    more = [one for tick in came.ticks if tick.second in span for one in tick.outcomes]
    routed = units_of(reached.routed + more)
    here = round(reached.share * reached.n)
    return replace(
        reached,
        routed=reached.routed + more,
        chance=min(reached.chance, chance_of_split(here, reached.n, count_bad(routed), len(routed))),
        well=reached.well + len(more) - count_bad(more),
        waiting=sum(came.waiting.get(second, 0) for second in span[:-1]),
        after=came.waiting.get(span[-1], 0),
        late=came.now - reached.at >= horizon,
    )


def _once(row: Row) -> str:
    return " (each key counted once)" if is_keyed(row.units) else ""


def _chance(fuse: Fuse, challenger: RecentOutcomes, champion: RecentOutcomes) -> float:
    """The least over the latest ticks and over longer times."""
    rows = list(challenger.growing(min(fuse.consecutive_errors, fuse.of_last)))
    now = challenger.ticks[-1].at
    if len(units_of(champion.during(challenger.ticks[0].at, now))) < _COMPARABLE:
        return min([chance_of_share(row.bad, len(row.units), fuse.error_share / 2) for row in rows])
    found = []
    for row in rows:
        rest = units_of(champion.during(row.ticks[-1].at, now))
        found.append(chance_of_split(row.bad, len(row.units), count_bad(rest), len(rest)))
    return min(found)


def _reached(
    fuse: Fuse,
    row: Row,
    text: str,
    challenger: RecentOutcomes,
    champion: RecentOutcomes,
    waiting: Waiting,
) -> Reached:
    seconds = [tick.second for tick in row.ticks]
    first, last = min(seconds), max(seconds)
    latest, oldest = row.ticks[0].at, row.ticks[-1].at
    made = Reached(
        text,
        len(row.units),
        row.bad / len(row.units),
        latest,
        first,
        last,
        ended=champion.during(oldest, latest),
        routed=champion.routed(first, last + 1) if first != ANY_SECOND else [],
        chance=_chance(fuse, challenger, champion),
    )
    return _later(made, Came((), waiting, latest), inf)


def _worst_run(outcomes: list[int], n: int) -> list[int]:
    """The n consecutive outcomes with the most errors; all outcomes if there are fewer than n."""
    bad = most = count_bad(outcomes[:n])
    at = 0
    for end in range(n, len(outcomes)):
        bad += (outcomes[end] & 1) - (outcomes[end - n] & 1)
        if bad > most:
            most, at = bad, end - n + 1
    return outcomes[at : at + n]
