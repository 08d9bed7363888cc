"""Sketches of live inputs and scores beside the profile of their route, and profiles that are learned from them.

Rule: a customer counts once in a window, by the first of his requests, as values must be independent of each other; where a
rollout asks, once for each ledger version too. Of a batch one row counts, drawn by the request's id. What is kept of single
rows is bounded: KEYS hashes of keys, and the rows that a profile is made of.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping

from msgspec.structs import replace

from crossfade.observer.classifier import BATCH, LEAST, Epoch
from crossfade.quality.comparing import drawn
from crossfade.quality.inputs import Row, input_rows
from crossfade.quality.profile import Scalar
from crossfade.quality.profiling import profile_of, scalar_of
from crossfade.quality.samples import AnswerSample, Asked, PairSample
from crossfade.quality.sketch import Sketch
from crossfade.quality.watching import Learned, Seen, Sketched, Together, Watched

KEYS = 100_000  # of a window, or of a ledger version; above it, keys that come new do not count
VERSIONS = 4  # whose keys are remembered
SAMPLED = 1000  # rows kept in a learned profile
LONGEST = 100  # characters of a name or a text that is kept
TESTER = "tester"


class Once:
    """Which keys have been met."""

    def __init__(self) -> None:
        self.met: set[Hashable] = set()

    def is_new(self, key: Hashable) -> bool:
        if key in self.met or len(self.met) >= KEYS:
            return False
        self.met.add(key)
        return True


class RouteDrift:
    def __init__(self, route: str, watched: Watched) -> None:
        self.route = route
        self.watched = watched
        self.slot = -1
        self.window = Once()
        self.versions: dict[int, Once] = {}
        self.sketched: dict[int, Sketched] = {}  # by slot, since the last time
        self.rows: list[Row] = []  # to learn from
        self.scores: dict[str, list[float]] = {}  # by backend
        self.learning = Once()
        self.learned_attempt = -1
        self.rows_now: list[tuple[Scalar, ...]] = []  # of this window, for the test of all fields together
        self.epoch: Epoch | None = None
        self.together: list[Together] = []

    def use(self, watched: Watched) -> None:
        if watched.attempt == self.learned_attempt:
            watched = replace(watched, learn=0)
        before, self.watched = self.watched, watched
        if watched.stamp != before.stamp or watched.window != before.window:
            self.slot, self.window, self.versions, self.sketched = -1, Once(), {}, {}
            self.rows_now, self.epoch = [], None
        if watched.attempt != before.attempt:
            self.rows, self.scores, self.learning = [], {}, Once()

    def add(self, asked: Asked, version: int) -> None:
        """The inputs of one request, as they are for whichever backend."""
        rows = input_rows(asked.head, asked.body)
        if not rows:
            return
        row = rows[drawn(asked.request_id, len(rows))]
        names = self.watched.fields
        if names:
            row = {name: row[name] for name in names if name in row}
        profile = self.watched.profile
        if profile is not None:
            sketches = self.sketches(asked, version, "input")
            for sketch in sketches:
                sketch.add_row(profile, row)
            is_new = any(each.window is one for each in self.sketched.values() for one in sketches)
            if is_new and self.watched.together and profile.sample and len(self.rows_now) < BATCH:
                self.rows_now.append(tuple(scalar_of(row.get(column)) for column in profile.columns))
        if len(self.rows) < self.watched.learn and (asked.key is None or self.learning.is_new(asked.key)):
            self.rows.append(slim({name: row[name] for name in row if name not in self.watched.keys}))

    def add_score(self, asked: Asked, version: int, backend: str, score: float) -> None:
        field = self.watched.score_field(backend)
        if field is not None:
            for sketch in self.sketches(asked, version, backend):
                sketch.add_score(field, backend, score)
        if self.watched.learn and (asked.key is None or self.learning.is_new((asked.key, backend))):
            known = self.scores.setdefault(backend, [])
            if len(known) < self.watched.learn:
                known.append(score)

    def sketches(self, asked: Asked, version: int, what: str) -> list[Sketch]:
        """Those that this request counts in. `what`: the key counts once for each."""
        slot = int(asked.at // self.watched.window)
        if slot > self.slot:
            self.test_together(asked.at)
            self.slot, self.window = slot, Once()
        found = self.sketched.get(slot)
        if found is None:
            found = self.sketched[slot] = Sketched(self.route, self.watched.stamp, slot, Sketch())
        out = []
        key = None if asked.key is None else (asked.key, what)
        if key is None or self.window.is_new(key):
            out.append(found.window)
        if self.watched.by_version and (key is None or self.once_of(version).is_new(key)):
            out.append(found.versions.setdefault(version, Sketch()))
        return out

    def test_together(self, at: float) -> None:
        """The rows of the window that has ended are the next batch. `at`: numbers the first epoch, so that no other process has it."""
        rows, self.rows_now = self.rows_now, []
        profile = self.watched.profile
        if profile is None or len(rows) < LEAST or len(profile.sample) < 2 * LEAST:
            return
        if self.epoch is None or self.epoch.is_over:
            self.epoch = Epoch(profile, int(at) if self.epoch is None else self.epoch.number + 1)
        log_e, batches = self.epoch.add(rows), max(len(profile.sample) // BATCH, 1)
        self.together.append(
            Together(self.route, self.watched.stamp, log_e, len(rows), self.epoch.number, batches)
        )

    def once_of(self, version: int) -> Once:
        once = self.versions.get(version)
        if once is None:
            if len(self.versions) >= VERSIONS:
                del self.versions[min(self.versions)]
            once = self.versions[version] = Once()
        return once

    def take(self) -> list[Sketched]:
        taken, self.sketched = self.sketched, {}
        return list(taken.values())

    def learned(self) -> Learned | None:
        """The profile, once there are rows enough; then no more rows are kept until another attempt."""
        wanted = self.watched.learn
        if not wanted or len(self.rows) < wanted:
            return None
        backend = max(self.scores, key=lambda name: len(self.scores[name]), default="")
        profile = profile_of(
            self.rows,
            self.scores.get(backend, ()),
            f"{self.route} live",
            sampled=self.rows[:: max(wanted // SAMPLED, 1)],
        )
        self.watched, self.learned_attempt = replace(self.watched, learn=0), self.watched.attempt
        self.rows, self.scores, self.learning = [], {}, Once()
        return Learned(self.route, self.watched.attempt, backend, profile)


def slim(row: Row) -> Row:
    """What a profile needs of a row to be kept: no lists, and of a text its beginning."""
    return {
        name[:LONGEST]: value[:LONGEST]
        if isinstance(value, str)
        else []
        if isinstance(value, list | dict)
        else value
        for name, value in row.items()
    }


class DriftWatch:
    """`use` for each change, `add` for each sample, `take` for each report."""

    def __init__(self) -> None:
        self.routes: dict[str, RouteDrift] = {}

    def use(self, watched: Mapping[str, Watched]) -> None:
        before, self.routes = self.routes, {}
        for name, each in watched.items():
            route = before.get(name)
            if route is None:
                route = RouteDrift(name, each)
            else:
                route.use(each)
            self.routes[name] = route

    def add_input(self, sample: AnswerSample) -> None:
        """Whatever the answer was. A tester's requests are not those of customers."""
        route = self.routes.get(sample.cell[0])
        if route is not None and sample.cell[2] != TESTER:
            route.add(sample.asked, sample.cell[3])

    def add_score(self, sample: AnswerSample, score: float | None) -> None:
        """The assigned backend's own."""
        route = self.routes.get(sample.cell[0])
        if route is not None and score is not None and sample.cell[2] != TESTER:
            route.add_score(sample.asked, sample.cell[3], sample.cell[1], score)

    def add_copy_score(self, sample: PairSample, score: float | None) -> None:
        """The challenger's answer to a copy."""
        name, backend, _, version, _ = sample.copied.shadow
        route = self.routes.get(name)
        if route is not None and score is not None:
            route.add_score(sample.asked, version, backend, score)

    def take(self) -> Seen:
        seen = Seen()
        for route in self.routes.values():
            seen.sketched += route.take()
            seen.together += route.together
            route.together = []
            learned = route.learned()
            if learned is not None:
                seen.learned.append(learned)
        return seen
