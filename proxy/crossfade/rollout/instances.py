"""Which endpoints of a backend are bad, where the others are not: "this instance is bad" is another sentence than "this model is bad".

Two-sample test of each endpoint against the backend's other endpoints (`log_e_worse`, an event is as likely here as there). The share
of an endpoint is n_e/n of its stratum: the load balancer chooses the endpoint, and how often is known afterwards only. The worst
endpoint is found first, then the worst of those that remain, so a very bad one hides no bad one. An endpoint is bad if its difference
is proven and its share of events is TIMES that of the others. At most half of the endpoints can be bad: if more are, the model is.

Two uses, two strengths of proof:
- `bad_endpoints`: a FAIL of the model must hold without these. A burst at one endpoint is enough, because to look once more at the
  others costs only delay.
- `proven_bad`: to be ejected, an endpoint must also be the worst in many blocks of time (stats.alike).

Level: ALPHA over all looks, divided by the number of endpoints. It is not part of the rollout's alpha, because it aborts nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from crossfade.rollout.strata import Stratum
from crossfade.rollout.verdict import percent
from crossfade.stats.alike import Group, Member
from crossfade.stats.counts import ERROR, REQUESTS, Cell
from crossfade.stats.sequential import SplitCounts, bound, log_e_worse

ALPHA = 0.001
TIMES = 2.0  # a bad endpoint has so many times the others' share of events
ENOUGH = 20  # requests of an endpoint before it takes part

Side = Literal["challenger", "champion"]
SIDES: tuple[Side, ...] = ("challenger", "champion")


class BadEndpoint(msgspec.Struct, frozen=True):
    """`x` events of this kind among `n` requests, against `rest_x` among `rest_n` at the endpoints it was compared with."""

    backend: str
    endpoint: str
    kind: str
    x: int
    n: int
    rest_x: int
    rest_n: int

    @property
    def name(self) -> str:
        return f"{self.endpoint} of {self.backend}"

    def __str__(self) -> str:
        """As `42 of 300 requests failed there (14%), 3 of 900 at its other endpoints`."""
        what = "requests failed" if self.kind == ERROR else f"requests were too slow for {self.kind!r}"
        share = percent(self.x / self.n)
        return f"{self.x} of {self.n} {what} there ({share}), {self.rest_x} of {self.rest_n} at its other endpoints"


def bad_endpoints(strata: Sequence[Stratum], kind: str, side: Side = "challenger") -> list[BadEndpoint]:
    """The endpoints of this side that differ from its others, the worst first; none if more than half of them do."""
    table = _table(strata, kind, side)
    left = {name: row for name, row in table.items() if sum(m.n for m in row) >= ENOUGH}
    most, limit = len(left) // 2, bound(ALPHA / max(len(left), 1))
    found: list[BadEndpoint] = []
    while len(left) > 1:
        every = [_total(column) for column in zip(*left.values(), strict=True)]
        logs = {
            name: _log_e(row, every) for name, row in left.items() if _is_worse(_total(row), _total(every))
        }
        worst = max(logs, key=lambda name: (logs[name], name), default=None)
        if worst is None or logs[worst] < limit:
            break
        here, all_ = _total(left.pop(worst)), _total(every)
        backend = cell_of(strata[0], side).backend
        found.append(BadEndpoint(backend, worst, kind, *here, all_.x - here.x, all_.n - here.n))
    return found if len(found) <= most else []


def proven_bad(strata: Sequence[Stratum], groups: Mapping[str, Group], side: Side) -> list[BadEndpoint]:
    """Of `bad_endpoints`, one finding for each endpoint that was the worst in many blocks of time too; `groups`: by backend."""
    group = groups.get(cell_of(strata[0], side).backend) if strata else None
    out: dict[str, BadEndpoint] = {}
    if group is not None:
        for kind in sorted(group.wealth, key=lambda kind: (kind != ERROR, kind)):
            names = group.proven(kind, ALPHA)
            found = bad_endpoints(strata, kind, side) if names else []
            out |= {bad.endpoint: bad for bad in found if bad.endpoint in names - out.keys()}
    return list(out.values())


def without_endpoints(strata: Iterable[Stratum], kind: str, endpoints: Collection[str]) -> list[SplitCounts]:
    """The counts of each stratum without these endpoints of the challenger.

    Of the events that tests count (the first of each key), the same part is taken away as of all events. The rest has a smaller share
    of the traffic than the challenger, so a FAIL of the rest is a FAIL at its own share.
    """
    return [split_without(s, kind, endpoints, "challenger") for s in strata if kind in s.events]


def split_without(stratum: Stratum, kind: str, endpoints: Collection[str], side: Side) -> SplitCounts:
    events = stratum.events[kind]
    kept, fewer = kept_part(cell_of(stratum, side), endpoints), fewer_events(stratum, kind, endpoints, side)
    counts = events.split_counts(share_without(stratum.share, kept, side))
    if side == "challenger":
        return counts._replace(here=round(counts.here * fewer), n=round(counts.n * kept))
    return counts._replace(rest=round(counts.rest * fewer), rest_n=round(counts.rest_n * kept))


def kept_part(cell: Cell, endpoints: Collection[str]) -> float:
    """The share of the requests that went to other endpoints."""
    every = _sum(cell, cell.by_endpoint, REQUESTS)
    return 1 - _sum(cell, endpoints, REQUESTS) / every if every else 1.0


def fewer_events(stratum: Stratum, kind: str, endpoints: Collection[str], side: Side) -> float:
    """The share of the events that other endpoints had; of kinds that are not counted by endpoint, that of the requests."""
    cell = cell_of(stratum, side)
    every = _sum(cell, cell.by_endpoint, kind)
    return 1 - _sum(cell, endpoints, kind) / every if every else kept_part(cell, endpoints)


def share_without(share: float, kept: float, side: Side) -> float:
    """The challenger's share of the traffic of both sides, if this part of the requests of one side is kept."""
    if not 0 < share < 1:
        return share
    ours, theirs = (share * kept, 1 - share) if side == "challenger" else (share, (1 - share) * kept)
    return ours / (ours + theirs) if ours + theirs else share


def cell_of(stratum: Stratum, side: Side) -> Cell:
    return stratum.challenger if side == "challenger" else stratum.champion


def endpoints_of(strata: Iterable[Stratum], side: Side) -> set[str]:
    """The endpoints that had requests; of a host name with several addresses each address."""
    return {
        name for s in strata for name, c in cell_of(s, side).by_endpoint.items() if name and c.get(REQUESTS)
    }


def has_one_endpoint(strata: Sequence[Stratum], side: Side) -> bool:
    """Whether all requests are of one endpoint. Workers count by endpoint where there are several, and seconds always."""
    names = endpoints_of(strata, side)
    timed = any(s.blocks and cell_of(s, side).requests for s in strata)
    return len(names) == 1 or (not names and timed)


def _table(strata: Iterable[Stratum], kind: str, side: Side) -> dict[str, list[Member]]:
    """By endpoint its counts in each stratum."""
    cells = [cell_of(stratum, side) for stratum in strata]
    names = {name for cell in cells for name in cell.by_endpoint if name}  # "": no endpoint was asked
    return {name: [_member(cell.by_endpoint.get(name, {}), kind) for cell in cells] for name in sorted(names)}


def _member(counts: dict[str, int], kind: str) -> Member:
    return Member(counts.get(kind, 0), counts.get(REQUESTS, 0))


def _total(members: Iterable[Member]) -> Member:
    found = list(members)
    return Member(sum(m.x for m in found), sum(m.n for m in found))


def _is_worse(here: Member, every: Member) -> bool:
    return here.x > 0 and here.x * (every.n - here.n) >= TIMES * (every.x - here.x) * here.n


def _log_e(row: Iterable[Member], every: Iterable[Member]) -> float:
    """Log e-value against "an event is as likely at this endpoint as at the others"; `every`: all of them, by stratum."""
    counts = [
        SplitCounts(here.n / n, here.x, x - here.x, here.n, n - here.n)
        for here, (x, n) in zip(row, every, strict=True)
        if 0 < here.n < n
    ]
    return log_e_worse(counts, 1.0) if counts else 0.0


def _sum(cell: Cell, endpoints: Iterable[str], kind: str) -> int:
    return sum(cell.by_endpoint[name].get(kind, 0) for name in endpoints if name in cell.by_endpoint)
