"""The laws that a load test holds the proxy to, judged by what its clients saw.

Split: of the customers (not the requests: a busy customer is still one), each backend has its
weight, within a 99.9 % binomial interval. Stickiness: while the ledger stands, nobody ever sees two
backends; when it changes, no more customers move than the weights require, each at most once for
each version.

A fallback is no move. The header of an answer names who *answered*, not whom the ledger assigned;
the admin API counts, for each backend, the answers that another gave in its place (`spilled`). An
answer of the fallback's is put down to that, but only as often as the proxy counted it.

Rule: pure; no network, no clock, no Locust.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from loadtests.binomial import CONFIDENCE, interval, upper_bound

Split = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class RouteState:
    """A route at one moment: fractions by backend, and since the proxy began the answers given in its place."""

    ledger_version: int
    split: Split
    fallback: str | None = None
    fell_back: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finding:
    """`held` None: the law could not be judged, and `reason` says why."""

    law: str
    held: bool | None
    reason: str

    def __str__(self) -> str:
        verdict = {True: "held", False: "BROKEN", None: "not judged"}[self.held]
        return f"{self.law}: {verdict} ({self.reason})"


@dataclass(slots=True)
class Run:
    """Answers in a row of one customer by one backend."""

    backend: str
    answers: int


class Sightings:
    """Who answered each customer, in the order of the answers."""

    def __init__(self) -> None:
        self.runs: dict[str, list[Run]] = {}

    def see(self, customer: str, backend: str) -> None:
        runs = self.runs.setdefault(customer, [])
        if runs and runs[-1].backend == backend:
            runs[-1].answers += 1
        else:
            runs.append(Run(backend, 1))

    @property
    def answers(self) -> int:
        return sum(run.answers for runs in self.runs.values() for run in runs)


def judge(
    sightings: Sightings, before: RouteState, after: RouteState, splits: Mapping[int, Split]
) -> list[Finding]:
    """Both laws. `splits` by ledger version, from `before` to `after`, as far as they are known."""
    if not sightings.runs:
        return [Finding(law, False, "nobody was answered") for law in ("split", "stickiness")]
    fallbacks = Fallbacks(before, after)
    changed = after.ledger_version != before.ledger_version
    paths = fallbacks.explain(sightings, whole_run=not changed)
    if changed:
        versions = f"the ledger went from version {before.ledger_version} to {after.ledger_version}"
        return [
            Finding("split", None, f"{versions} in the run"),
            judge_moves(paths, before, after, splits, fallbacks),
        ]
    return [judge_split(paths, before, fallbacks), judge_standing(paths)]


class Fallbacks:
    """What the fallback answered in place of others in the run, to be put down to single answers."""

    def __init__(self, before: RouteState, after: RouteState) -> None:
        self.fallback = after.fallback
        self.left = {
            backend: n - before.fell_back.get(backend, 0)
            for backend, n in after.fell_back.items()
            if n > before.fell_back.get(backend, 0) and backend != after.fallback
        }

    @property
    def total(self) -> int:
        return sum(self.left.values())

    def explain(self, sightings: Sightings, whole_run: bool) -> dict[str, list[str]]:
        """The backends each customer went through, without the fallback's visits that spills account for.

        Surely a visit where the customer was with the same backend before and after it; at either end
        of a customer's answers only if `whole_run`: if the ledger stood, it can have been nothing else.
        """
        runs_of = {customer: list(runs) for customer, runs in sightings.runs.items()}
        for ends in (False, True) if whole_run else (False,):
            for customer, runs in runs_of.items():
                runs_of[customer] = self.without_visits(runs, ends)
        return {customer: path_of(runs) for customer, runs in runs_of.items()}

    def without_visits(self, runs: list[Run], ends: bool) -> list[Run]:
        kept: list[Run] = []
        for n, run in enumerate(runs):
            before = kept[-1].backend if kept else None
            after = runs[n + 1].backend if n + 1 < len(runs) else None
            owner = before or after
            surrounded = before == after or (ends and (before is None or after is None))
            if run.backend == self.fallback and owner and surrounded and self.pays(owner, run.answers):
                continue
            kept.append(run)
        return kept

    def pays(self, backend: str, answers: int) -> bool:
        if self.left.get(backend, 0) < answers:
            return False
        self.left[backend] -= answers
        return True


def path_of(runs: list[Run]) -> list[str]:
    """The backends in order, no two neighbours the same."""
    path = [run.backend for run in runs[:1]]
    path += [after.backend for before, after in pairwise(runs) if after.backend != before.backend]
    return path


def judge_split(paths: Mapping[str, list[str]], state: RouteState, fallbacks: Fallbacks) -> Finding:
    """Spills that could not be put down to a customer widen the interval by as many."""
    customers = Counter(path[0] for path in paths.values())
    wrong, shares = [], []
    for backend in sorted({*state.split, *customers}):
        low, high = interval(len(paths), state.split.get(backend, 0.0))
        low -= fallbacks.left.get(backend, 0)
        high += fallbacks.total if backend == fallbacks.fallback else 0
        shares.append(f"{backend} {customers[backend]}, expected {max(low, 0)} to {min(high, len(paths))}")
        if not low <= customers[backend] <= high:
            wrong.append(backend)
    reason = f"of {len(paths)} customers {'; '.join(shares)} at {CONFIDENCE:.1%}"
    return Finding("split", not wrong, reason)


def judge_standing(paths: Mapping[str, list[str]]) -> Finding:
    """With a ledger that stands."""
    moved = sorted(customer for customer, path in paths.items() if len(path) > 1)
    if moved:
        example = f"{moved[0]} saw {' → '.join(paths[moved[0]])}"
        return Finding(
            "stickiness",
            False,
            f"{len(moved)} customers saw two backends, though the ledger stood: {example}",
        )
    return Finding("stickiness", True, f"the ledger stood, and none of {len(paths)} customers was moved")


def judge_moves(
    paths: Mapping[str, list[str]],
    before: RouteState,
    after: RouteState,
    splits: Mapping[int, Split],
    fallbacks: Fallbacks,
) -> Finding:
    """With a ledger that changed."""
    versions = after.ledger_version - before.ledger_version
    slack = fallbacks.total
    restless = [c for c, path in paths.items() if len(path) - 1 > versions]
    if versions < 0 or len(restless) > slack:
        who = f"{len(restless)} customers were moved more than {versions} times"
        return Finding("stickiness", False, who if versions >= 0 else "the ledger's version fell")
    moved = sum(len(path) > 1 for path in paths.values())
    steps = range(before.ledger_version, after.ledger_version + 1)
    if unknown := [version for version in steps if version not in splits]:
        return Finding(
            "stickiness", None, f"{moved} customers moved, but version {unknown[0]} is not on record"
        )
    share = min(1.0, sum(least_move(splits[a], splits[b]) for a, b in pairwise(steps)))
    most = upper_bound(len(paths), share, 1 - CONFIDENCE) + slack
    reason = f"{moved} of {len(paths)} customers moved; the weights require {share:.2%}, so at most {most}"
    return Finding("stickiness", moved <= most, reason)


def least_move(before: Split, after: Split) -> float:
    """The least share of customers that has to move between two splits: Σ|Δw|/2."""
    return sum(abs(after.get(b, 0.0) - before.get(b, 0.0)) for b in {*before, *after}) / 2
