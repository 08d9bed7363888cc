"""Counts: what workers tell the control plane, as deltas that add up in any order.

One cell for each (route, backend, role, ledger version): within one ledger version the weights do
not move, so a cell is also a stratum of the sequential tests. The backend is the one *assigned*
(intention to treat); who answered in its place is a number inside the cell.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from msgspec.structs import replace

from crossfade.scale import RECENT_KEPT
from crossfade.stats.histogram import Histogram
from crossfade.stats.means import Moments
from crossfade.stats.pairs import Pair, Pairs
from crossfade.stats.scores import Scores
from crossfade.stats.sums import add_up

CellKey = tuple[str, str, str, int]
ERROR = "error"


class Events(msgspec.Struct):
    """What happened to requests of one cell: errors, or answers slower than a check's threshold.

    `unkeyed`: of requests without a sticky key (errors are in the cell itself). `keyed`: of those with one,
    and `keys` the hashes of these, as far as there was room. `early`: those known before their request had
    ended, less those that have ended since.
    """

    unkeyed: int = 0
    keyed: int = 0
    early: int = 0
    keys: list[int] = msgspec.field(default_factory=list)

    @property
    def n(self) -> int:
        return self.unkeyed + self.keyed

    def merge(self, other: Events) -> None:
        self.unkeyed += other.unkeyed
        self.keyed += other.keyed
        self.early += other.early
        self.keys = self.keys + other.keys


class Cell(msgspec.Struct):
    """Outcomes of one backend on one route under one ledger version."""

    route: str
    backend: str
    role: str
    ledger_version: int
    requests: int = 0
    errors: int = 0  # outcomes that count against the backend
    unkeyed: int = 0  # requests that fell into a bucket by chance, having no sticky key
    fell_back: int = 0  # answered by another backend (fallback)
    abandoned: int = 0  # the client left, or did not ask for the whole of it; nobody's fault
    codes: dict[int, int] = msgspec.field(default_factory=dict)
    failures: dict[str, int] = msgspec.field(default_factory=dict)  # by stage of errors.Stage
    duration: Histogram = msgspec.field(default_factory=Histogram)
    first_byte: Histogram = msgspec.field(default_factory=Histogram)
    recent: list[bool] = msgspec.field(default_factory=list)  # in order; True = an error
    scores: Scores = msgspec.field(default_factory=Scores)  # what was predicted
    pairs: Pairs = msgspec.field(default_factory=Pairs)  # of a challenger's mirrored copies
    keyed_scores: list[tuple[int, int]] = msgspec.field(default_factory=list)  # hash of the key, bucket
    keyed_pairs: list[Pair] = msgspec.field(default_factory=list)
    kpis: dict[str, Moments] = msgspec.field(default_factory=dict)  # by name: what came of it later
    events: dict[str, Events] = msgspec.field(default_factory=dict)  # by ERROR, or a check's title

    @property
    def key(self) -> CellKey:
        return (self.route, self.backend, self.role, self.ledger_version)

    def outcomes(self, ledger_version: int) -> Cell:
        """Under another ledger version, and without what only the evidence looks at."""
        return replace(
            self,
            ledger_version=ledger_version,
            events={},
            scores=Scores(),
            keyed_scores=[],
            pairs=Pairs(),
            keyed_pairs=[],
            kpis={},
        )

    def merge(self, other: Cell) -> None:
        self.requests += other.requests
        self.errors += other.errors
        self.unkeyed += other.unkeyed
        self.fell_back += other.fell_back
        self.abandoned += other.abandoned
        add_up(self.codes, other.codes)
        add_up(self.failures, other.failures)
        self.duration.merge(other.duration)
        self.first_byte.merge(other.first_byte)
        self.recent = (self.recent + other.recent)[-RECENT_KEPT:]
        self.scores.merge(other.scores)
        self.keyed_scores = self.keyed_scores + other.keyed_scores
        self.pairs.merge(other.pairs)
        self.keyed_pairs = self.keyed_pairs + other.keyed_pairs
        for name, moments in other.kpis.items():
            self.kpis.setdefault(name, Moments()).merge(moments)
        for what, events in other.events.items():
            self.events.setdefault(what, Events()).merge(events)


class MirrorCount(msgspec.Struct):
    """Copies sent to one backend, by how they ended: `sent`, `failed`, or `dropped_…` with the reason."""

    route: str
    backend: str
    outcome: str
    n: int


class EjectionCount(msgspec.Struct):
    """How often a worker began to pass over an endpoint that kept failing."""

    backend: str
    endpoint: str
    n: int


class Counts(msgspec.Struct):
    """A bundle of cells and mirror counts; an empty one is the neutral element of `merge`."""

    cells: list[Cell] = msgspec.field(default_factory=list)
    mirrors: list[MirrorCount] = msgspec.field(default_factory=list)
    refused: dict[str, int] = msgspec.field(default_factory=dict)  # "status:stage" the proxy itself answered
    dropped: dict[str, int] = msgspec.field(
        default_factory=dict
    )  # observations there was no room for, by reason
    ejections: list[EjectionCount] = msgspec.field(default_factory=list)
    unread: dict[str, int] = msgspec.field(default_factory=dict)  # "route:reason" of bodies

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

    def add(self, counts: Counts) -> None:
        for cell in counts.cells:
            mine = self.cells.get(cell.key)
            if mine is None:
                self.cells[cell.key] = mine = Cell(*cell.key)
            mine.merge(cell)
        for m in counts.mirrors:
            key = (m.route, m.backend, m.outcome)
            self.mirrors[key] = self.mirrors.get(key, 0) + m.n
        add_up(self.refused, counts.refused)
        add_up(self.dropped, counts.dropped)
        for e in counts.ejections:
            place = (e.backend, e.endpoint)
            self.ejections[place] = self.ejections.get(place, 0) + e.n
        add_up(self.unread, counts.unread)

    def take(self) -> Counts:
        """Everything so far, leaving the table empty."""
        taken = Counts(
            list(self.cells.values()),
            [MirrorCount(*key, n) for key, n in self.mirrors.items()],
            self.refused,
            self.dropped,
            [EjectionCount(*key, n) for key, n in self.ejections.items()],
            self.unread,
        )
        self.cells, self.mirrors, self.refused, self.dropped = {}, {}, {}, {}
        self.ejections, self.unread = {}, {}
        return taken

    def of(self, route: str, backend: str, versions: Iterable[int] | None = None) -> Cell:
        """The sum over roles (and over ledger versions, or just those given) of one backend on one route."""
        wanted = None if versions is None else frozenset(versions)
        out = Cell(route, backend, "", 0)
        for cell in self.cells.values():
            if (cell.route, cell.backend) != (route, backend) or cell.role == "shadow":
                continue
            if wanted is None or cell.ledger_version in wanted:
                out.merge(cell)
        return out
