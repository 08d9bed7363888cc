"""Counts: what workers report to the control plane, as deltas that can be added in any order.

There is one cell for each (route, backend, role, ledger version, second of routing). Within one ledger version the
weights do not change, so a cell is part of one stratum of the sequential tests. The backend is the one *assigned*
(intention to treat); requests that another backend answered are a number inside the cell.

Where a rollout is guarded, workers also count what its tests need: the second in which a request was routed, because a
failure that is a timeout comes later than one that is an error at once; its key, because the requests of one key depend
on each other; and its endpoint, because one bad endpoint is not a bad model.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import Final

import msgspec
from msgspec.structs import replace

from crossfade.scale import RECENT_KEPT
from crossfade.stats.histogram import Histogram
from crossfade.stats.pairs import Pair, Pairs
from crossfade.stats.scores import Scores
from crossfade.stats.streams import Streams, StreamValues
from crossfade.stats.sums import add_up

KEY_BITS = 64  # of a key's hash
CellKey = tuple[str, str, str, int, int]
ERROR = "error"  # kinds of events
REJECTED = "rejected"
UNREADABLE = "unreadable"
REQUESTS = "requests"  # in counts by endpoint, beside the kinds of events
SHADOW: Final = "shadow"  # the role of mirrored copies
ANY_SECOND = 0  # the second of a cell whose requests were routed at any time


class Events(msgspec.Struct):
    """Events of one kind in one cell: errors, rejections, unreadable answers, or answers slower than a check's threshold.

    `unkeyed`: slow answers to requests without a sticky key (other events without a key are counted in the cell). `keyed`:
    events of requests with a key; `keys`: their hashes, as many as the report had room for. `early`: events counted before
    their request ended, less those whose request has ended since. `asked`: of events of streams, how many streams there were.
    """

    unkeyed: int = 0
    keyed: int = 0
    early: int = 0
    keys: list[int] = msgspec.field(default_factory=list)
    asked: int = 0

    @property
    def n(self) -> int:
        return self.unkeyed + self.keyed

    def merge(self, other: Events) -> None:
        self.unkeyed += other.unkeyed
        self.keyed += other.keyed
        self.early += other.early
        self.keys = self.keys + other.keys
        self.asked += other.asked


def outcome_of(key: int | None, bad: bool) -> int:
    """An outcome in order: the lowest bit is 1 for an error, the other bits are those of the key's hash; 0 without a key."""
    return (0 if key is None else key & -2) | bad


def is_bad(outcome: int) -> bool:
    return outcome & 1 == 1


def key_of(outcome: int) -> int:
    """The key's hash without its lowest bit; 0 without a key."""
    return outcome & -2


class Keys(msgspec.Struct):
    """The keys of requests, one hash for each request, of the keys whose hash begins with `halvings` zero bits."""

    hashes: list[int] = msgspec.field(default_factory=list)
    halvings: int = 0

    def merge(self, other: Keys) -> None:
        self.halve(other.halvings)
        more = other.hashes if other.halvings >= self.halvings else _beginning(other.hashes, self.halvings)
        self.hashes = self.hashes + more

    def halve(self, halvings: int) -> None:
        """Keep the keys whose hash begins with so many zero bits, if these are more than now."""
        if halvings > self.halvings:
            self.halvings = halvings
            self.hashes = _beginning(self.hashes, halvings)


def _beginning(hashes: list[int], halvings: int) -> list[int]:
    return [key for key in hashes if not key >> (KEY_BITS - halvings)]


class Cell(msgspec.Struct):
    """Outcomes of one backend on one route under one ledger version.

    `codes`: what this backend said, or the failure table's status where it said nothing; `responses`: what its clients got.
    `faults`: errors by kind, a status or a stage; `rejections`: answers that refuse the request, by status. `read`: exchanges looked at for a prediction, answered or not; `answers`:
    of these, its own with 2xx; of these, `unreadable` say no prediction, and `scoreless` have no score or were not read.
    `second`: of the monotonic clock, in which the requests were routed. `recent`: the latest outcomes in order (`outcome_of`).
    `keys`: of the requests that are not abandoned; above 4096 for a route and report a sample by the hash of the key.
    `by_endpoint`: requests that are not abandoned, and events by kind, of the endpoint of this backend that was asked
    last (empty: none); only where it has several. A slow answer that counts early comes before its request here too.
    """

    route: str
    backend: str
    role: str
    ledger_version: int
    requests: int = 0
    errors: int = 0  # outcomes that count against the backend
    unkeyed: int = 0  # requests without a sticky key, whose bucket was random
    fell_back: int = 0  # answered by another backend (fallback)
    abandoned: int = 0  # the client disconnected or did not send the whole request; counts against no backend
    codes: dict[int, int] = msgspec.field(default_factory=dict)
    responses: dict[int, int] = msgspec.field(default_factory=dict)
    failures: dict[str, int] = msgspec.field(default_factory=dict)  # by stage of errors.Stage
    faults: dict[str, int] = msgspec.field(default_factory=dict)
    rejections: dict[str, int] = msgspec.field(default_factory=dict)
    fallbacks: dict[str, int] = msgspec.field(default_factory=dict)  # by the stage that led to them
    retries: dict[str, int] = msgspec.field(default_factory=dict)
    read: int = 0
    answers: int = 0
    unreadable: int = 0
    scoreless: int = 0
    duration: Histogram = msgspec.field(default_factory=Histogram)
    first_byte: Histogram = msgspec.field(default_factory=Histogram)
    recent: list[int] = msgspec.field(default_factory=list)
    scores: Scores = msgspec.field(default_factory=Scores)  # of answers without a sticky key
    pairs: Pairs = msgspec.field(default_factory=Pairs)  # of a challenger's mirrored copies
    keyed_scores: list[tuple[int, int]] = msgspec.field(default_factory=list)  # (hash of the key, bucket)
    keyed_pairs: list[Pair] = msgspec.field(default_factory=list)
    events: dict[str, Events] = msgspec.field(default_factory=dict)  # by ERROR or a check's title
    second: int = ANY_SECOND
    keys: Keys = msgspec.field(default_factory=Keys)
    by_endpoint: dict[str, dict[str, int]] = msgspec.field(default_factory=dict)
    streams: Streams | None = None  # where answers were streamed
    stream_values: list[StreamValues] = msgspec.field(default_factory=list)  # for tests

    @classmethod
    def of(cls, key: CellKey) -> Cell:
        """An empty cell."""
        return cls(*key[:4], second=key[4])

    @property
    def key(self) -> CellKey:
        return (self.route, self.backend, self.role, self.ledger_version, self.second)

    @property
    def rejected(self) -> int:
        return sum(self.rejections.values())

    def outcomes(self, ledger_version: int) -> Cell:
        """A copy under another ledger version, without the fields that only the evidence reads."""
        return replace(
            self,
            ledger_version=ledger_version,
            events={},
            scores=Scores(),
            keyed_scores=[],
            pairs=Pairs(),
            keyed_pairs=[],
            second=ANY_SECOND,
            keys=Keys(),
            by_endpoint={},
            stream_values=[],
        )

    def merge(self, other: Cell) -> None:
        self.requests += other.requests
        self.errors += other.errors
        self.unkeyed += other.unkeyed
        self.fell_back += other.fell_back
        self.abandoned += other.abandoned
        add_up(self.codes, other.codes)
        add_up(self.responses, other.responses)
        add_up(self.failures, other.failures)
        add_up(self.faults, other.faults)
        add_up(self.rejections, other.rejections)
        add_up(self.fallbacks, other.fallbacks)
        add_up(self.retries, other.retries)
        self.read += other.read
        self.answers += other.answers
        self.unreadable += other.unreadable
        self.scoreless += other.scoreless
        self.duration.merge(other.duration)
        self.first_byte.merge(other.first_byte)
        self.recent = (self.recent + other.recent)[-RECENT_KEPT:]
        self.scores.merge(other.scores)
        self.keyed_scores = self.keyed_scores + other.keyed_scores
        self.pairs.merge(other.pairs)
        self.keyed_pairs = self.keyed_pairs + other.keyed_pairs
        for what, events in other.events.items():
            self.events.setdefault(what, Events()).merge(events)
        self.keys.merge(other.keys)
        for endpoint, counted in other.by_endpoint.items():
            add_up(self.by_endpoint.setdefault(endpoint, {}), counted)
        if other.streams is not None:
            self.streams = self.streams or Streams()
            self.streams.merge(other.streams)
            self.stream_values = self.stream_values + other.stream_values


# Requests without a first byte yet: by backend and second of routing, and these by route.
WaitingBy = Mapping[str, Mapping[int, int]]
NONE_WAITING: WaitingBy = {}
Waiting = dict[str, dict[str, dict[int, int]]]


def sum_of_waiting(each: Iterable[Waiting]) -> Waiting:
    """Of several workers."""
    out: Waiting = {}
    for waiting in each:
        for route, backends in waiting.items():
            for backend, seconds in backends.items():
                add_up(out.setdefault(route, {}).setdefault(backend, {}), seconds)
    return out


class MirrorCount(msgspec.Struct):
    """Mirrored copies to one backend; `outcome` is `sent`, `failed`, or `dropped_…` with the reason."""

    route: str
    backend: str
    outcome: str
    n: int


class EjectionCount(msgspec.Struct):
    """How often a worker ejected an endpoint because it kept failing."""

    backend: str
    endpoint: str
    n: int


class Exemplar(msgspec.Struct, frozen=True):
    """The latest exchange of a backend that has a trace. `at`: when it ended, wall time."""

    route: str
    backend: str
    role: str
    trace_id: str
    seconds: float
    at: float

    @property
    def place(self) -> tuple[str, str, str]:
        return self.route, self.backend, self.role


class Counts(msgspec.Struct):
    """One report: cells, mirror counts and others. Adding an empty report changes nothing.

    `waiting`: by route and backend, how many requests have no first byte yet, by the second of routing. It is the state at
    the end of the report, of all workers together, and of routes with a guarded rollout only.
    """

    cells: list[Cell] = msgspec.field(default_factory=list)
    mirrors: list[MirrorCount] = msgspec.field(default_factory=list)
    refused: dict[str, int] = msgspec.field(
        default_factory=dict
    )  # answers of the proxy itself, by "status:stage"
    dropped: dict[str, int] = msgspec.field(
        default_factory=dict
    )  # observations that found no room, by reason
    ejections: list[EjectionCount] = msgspec.field(default_factory=list)
    unread: dict[str, int] = msgspec.field(
        default_factory=dict
    )  # bodies that could not be read, by "route:reason"
    waiting: Waiting = msgspec.field(default_factory=dict)
    exemplars: list[Exemplar] = []
    cache: dict[str, int] = msgspec.field(default_factory=dict)  # of response caches, by "route:outcome"

    def by_route(self) -> dict[str, list[Cell]]:
        out: dict[str, list[Cell]] = {}
        for cell in self.cells:
            out.setdefault(cell.route, []).append(cell)
        return out


class CountsTable:
    """Counts summed by key."""

    def __init__(self) -> None:
        self.cells: dict[CellKey, Cell] = {}
        self.mirrors: dict[tuple[str, str, str], int] = {}
        self.refused: dict[str, int] = {}
        self.dropped: dict[str, int] = {}
        self.ejections: dict[tuple[str, str], int] = {}
        self.unread: dict[str, int] = {}
        self.cache: dict[str, int] = {}
        self.exemplars: dict[tuple[str, str, str], Exemplar] = {}  # by route, backend and role

    def cell(self, key: CellKey) -> Cell:
        """Begun empty."""
        cell = self.cells.get(key)
        if cell is None:
            self.cells[key] = cell = Cell.of(key)
        return cell

    def add(self, counts: Counts) -> None:
        for cell in counts.cells:
            self.cell(cell.key).merge(cell)
        for m in counts.mirrors:
            key = (m.route, m.backend, m.outcome)
            self.mirrors[key] = self.mirrors.get(key, 0) + m.n
        add_up(self.refused, counts.refused)
        add_up(self.dropped, counts.dropped)
        for e in counts.ejections:
            endpoint = (e.backend, e.endpoint)
            self.ejections[endpoint] = self.ejections.get(endpoint, 0) + e.n
        add_up(self.unread, counts.unread)
        add_up(self.cache, counts.cache)
        for exemplar in counts.exemplars:
            held = self.exemplars.get(exemplar.place)
            if held is None or held.at <= exemplar.at:
                self.exemplars[exemplar.place] = exemplar

    def drop(self, reason: str, n: int) -> None:
        """Count observations that are dropped."""
        if n:
            self.dropped[reason] = self.dropped.get(reason, 0) + n

    def keep(
        self, routes: Container[str], backends: Container[str], endpoints: Container[tuple[str, str]]
    ) -> None:
        """Forget the counts of all other routes, backends, and endpoints of a backend."""
        self.cells = {
            key: cell for key, cell in self.cells.items() if cell.route in routes and cell.backend in backends
        }
        self.mirrors = {key: n for key, n in self.mirrors.items() if key[0] in routes and key[1] in backends}
        self.ejections = {key: n for key, n in self.ejections.items() if key in endpoints}
        self.unread = {what: n for what, n in self.unread.items() if what.partition(":")[0] in routes}
        self.cache = {what: n for what, n in self.cache.items() if what.partition(":")[0] in routes}
        self.exemplars = {
            key: found for key, found in self.exemplars.items() if key[0] in routes and key[1] in backends
        }

    def join_seconds(self, n: int) -> None:
        """Join the cells of `n` seconds, which the tests then read as if all were of the first one."""
        cells, self.cells = self.cells, {}
        for cell in cells.values():
            if cell.second != ANY_SECOND:
                cell.second = max(cell.second - cell.second % n, 1)
        self.add(Counts(list(cells.values())))

    def take(self) -> Counts:
        """All counts since the last call; the table is empty afterwards."""
        taken = Counts(
            list(self.cells.values()),
            [MirrorCount(*key, n) for key, n in self.mirrors.items()],
            self.refused,
            self.dropped,
            [EjectionCount(*key, n) for key, n in self.ejections.items()],
            self.unread,
            exemplars=list(self.exemplars.values()),
            cache=self.cache,
        )
        self.exemplars = {}
        self.cells, self.mirrors, self.refused, self.dropped = {}, {}, {}, {}
        self.ejections, self.unread, self.cache = {}, {}, {}
        return taken

    def of(self, route: str, backend: str, versions: Iterable[int] | None = None) -> Cell:
        """The sum of one backend's cells on one route: all roles but shadow, and all ledger versions or the given ones."""
        wanted = None if versions is None else frozenset(versions)
        out = Cell(route, backend, "", 0)
        for cell in self.cells.values():
            if (cell.route, cell.backend) != (route, backend) or cell.role == SHADOW:
                continue
            if wanted is None or cell.ledger_version in wanted:
                out.merge(cell)
        return out
