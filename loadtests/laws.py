"""Checks two laws with the answers that the clients of a load test received.

Split: each backend has its weight as its share of the customers (not of the requests), within a 99.9 %
binomial interval. Stickiness: while the ledger does not change, every customer sees one backend; when it
changes, no more customers move than the weights require, and each at most once per ledger version.

An answer from the fallback is not a move. The header of an answer names the backend that *answered*, not the
one assigned; the admin API counts for each backend the answers that the fallback gave instead (`fell_back`).
An answer from the fallback is explained by that count, at most as often as the proxy counted.

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
    """A route at one moment. `fell_back`: by backend, answers that the fallback gave instead since the start."""

    ledger_version: int
    split: Split
    fallback: str | None = None
    fell_back: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finding:
    """`held` is None if the law could not be checked; `reason` says why."""

    law: str
    held: bool | None
    reason: str

    def __str__(self) -> str:
        verdict = {True: "held", False: "BROKEN", None: "not judged"}[self.held]
        return f"{self.law}: {verdict} ({self.reason})"


@dataclass(slots=True)
class Run:
    """Consecutive answers to one customer from one backend."""

    backend: str
    answers: int


class AnswerLog:
    """The backends that answered each customer, in the order of the answers."""

    def __init__(self) -> None:
        self.runs: dict[str, list[Run]] = {}

    def record(self, customer: str, backend: str) -> None:
        runs = self.runs.setdefault(customer, [])
        if runs and runs[-1].backend == backend:
            runs[-1].answers += 1
        else:
            runs.append(Run(backend, 1))

    @property
    def answers(self) -> int:
        return sum(run.answers for runs in self.runs.values() for run in runs)


def judge(
    log: AnswerLog, before: RouteState, after: RouteState, splits: Mapping[int, Split]
) -> list[Finding]:
    """Checks both laws. `splits`: by ledger version from `before` to `after`, as far as they are known."""
    if not log.runs:
        return [Finding(law, False, "no request was answered") for law in ("split", "stickiness")]
    fallbacks = Fallbacks(before, after)
    changed = after.ledger_version != before.ledger_version
    paths = fallbacks.explain(log, ends=not changed)
    if changed:
        versions = f"the ledger changed from version {before.ledger_version} to {after.ledger_version}"
        return [
            Finding("split", None, f"{versions} during the run"),
            _judge_changed_ledger(paths, before, after, splits, fallbacks),
        ]
    return [_judge_split(paths, before, fallbacks), _judge_unchanged_ledger(paths)]


class Fallbacks:
    """How often the fallback answered for each other backend during the run; `left` is not yet explained."""

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

    def explain(self, log: AnswerLog, ends: bool) -> dict[str, list[str]]:
        """Each customer's backends in order, without the runs of the fallback that the counts explain.

        A run of the fallback between two runs of the same backend is explained first. A run at the start
        or end of a customer's answers is explained only with `ends`: it needs a ledger that did not change.
        """
        runs_of = {customer: list(runs) for customer, runs in log.runs.items()}
        for at_ends in (False, True) if ends else (False,):
            for customer, runs in runs_of.items():
                runs_of[customer] = self.without_fallbacks(runs, at_ends)
        return {customer: _path_of(runs) for customer, runs in runs_of.items()}

    def without_fallbacks(self, runs: list[Run], at_ends: bool) -> list[Run]:
        kept: list[Run] = []
        for n, run in enumerate(runs):
            before = kept[-1].backend if kept else None
            after = runs[n + 1].backend if n + 1 < len(runs) else None
            assigned = before or after
            possible = before == after or (at_ends and (before is None or after is None))
            if run.backend == self.fallback and assigned and possible and self.use(assigned, run.answers):
                continue
            kept.append(run)
        return kept

    def use(self, backend: str, answers: int) -> bool:
        """Subtracts so many answers from `left`; False if there are not enough."""
        if self.left.get(backend, 0) < answers:
            return False
        self.left[backend] -= answers
        return True


def _path_of(runs: list[Run]) -> list[str]:
    """The backends in order, without repeats."""
    path = [run.backend for run in runs[:1]]
    path += [after.backend for before, after in pairwise(runs) if after.backend != before.backend]
    return path


def _judge_split(paths: Mapping[str, list[str]], state: RouteState, fallbacks: Fallbacks) -> Finding:
    """Each fallback answer that is not explained widens the interval by one customer."""
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


def _judge_unchanged_ledger(paths: Mapping[str, list[str]]) -> Finding:
    moved = sorted(customer for customer, path in paths.items() if len(path) > 1)
    if moved:
        example = f"{moved[0]} saw {' → '.join(paths[moved[0]])}"
        return Finding(
            "stickiness",
            False,
            f"{len(moved)} customers saw two backends although the ledger did not change: {example}",
        )
    return Finding("stickiness", True, f"the ledger did not change, and none of {len(paths)} customers moved")


def _judge_changed_ledger(
    paths: Mapping[str, list[str]],
    before: RouteState,
    after: RouteState,
    splits: Mapping[int, Split],
    fallbacks: Fallbacks,
) -> Finding:
    versions = after.ledger_version - before.ledger_version
    unexplained = fallbacks.total
    too_often = [c for c, path in paths.items() if len(path) - 1 > versions]
    if versions < 0:
        return Finding("stickiness", False, "the ledger version decreased")
    if len(too_often) > unexplained:
        return Finding("stickiness", False, f"{len(too_often)} customers moved more than {versions} times")
    moved = sum(len(path) > 1 for path in paths.values())
    steps = range(before.ledger_version, after.ledger_version + 1)
    if unknown := [version for version in steps if version not in splits]:
        return Finding(
            "stickiness",
            None,
            f"{moved} customers moved, but the split of version {unknown[0]} is not recorded",
        )
    share = min(1.0, sum(least_share_moved(splits[a], splits[b]) for a, b in pairwise(steps)))
    most = upper_bound(len(paths), share, 1 - CONFIDENCE) + unexplained
    reason = f"{moved} of {len(paths)} customers moved; the weights require {share:.2%}, so at most {most}"
    return Finding("stickiness", moved <= most, reason)


def least_share_moved(before: Split, after: Split) -> float:
    """The smallest share of customers that must move between two splits: Σ|Δw|/2."""
    return sum(abs(after.get(b, 0.0) - before.get(b, 0.0)) for b in {*before, *after}) / 2
