"""The value of another policy, from rows whose backends were drawn with known probabilities; or why nothing can be said of it.

Rule: a row says something only where each backend that the policy wants had a share of at least 1 % when it came. Other rows are left
out, for all backends alike and whatever became of them. The model q is the mean of earlier blocks of rows, by segment and backend.
Where labels come for one backend more often than its share, or the effective sample is small, nothing is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import fsum
from typing import NamedTuple

import msgspec

from crossfade.rollout.policy import PolicyRule, matching
from crossfade.rollout.verdict import percent
from crossfade.stats.off_policy import (
    LEAST_CHANCE,
    LEAST_SIZE,
    Levels,
    Moments,
    Scale,
    asymptotic_interval,
    bounded_interval,
    phi_of,
)
from crossfade.stats.sequential import bound
from crossfade.stats.shares import log_e_shares

_COVERAGE_ALPHA = 0.001  # of a wrong refusal because of labels that come unevenly
_TRUSTED = 20  # rows from which the mean of a segment and backend is q

Segment = tuple[str, ...] | None


class RowGroup(NamedTuple):
    """`n` units that are alike: requests, or sticky keys. `block`: their place in time, counted from 0.

    `value`: the number, None without a label. `segment`: None where the policy asks for none, or it is not known.
    """

    block: int
    version: int
    backend: str
    segment: Segment
    value: float | None
    n: int


class PolicyValue(msgspec.Struct):
    """`value`: of the policy, the doubly robust estimate, with an interval at all looks; `snips`, `ips`: other estimates of it.

    `as_it_was`: the mean of the same rows; `change`: the policy's value less that. `exact`: the intervals hold for any number of
    rows; else for many. `size`: the effective sample size. `units`: requests or customers that counted; `unlabelled`: those without
    a label; `left_out`: those before each backend had a share. `refused`: why nothing is said; then there is no value.
    """

    refused: str = ""
    value: float | None = None
    interval: tuple[float, float] | None = None
    as_it_was: float | None = None
    change: float | None = None
    change_interval: tuple[float, float] | None = None
    snips: float | None = None
    ips: float | None = None
    exact: bool = False
    size: float = 0.0
    units: int = 0
    unlabelled: int = 0
    left_out: int = 0
    keyed: bool = False


class PolicyQuestion(NamedTuple):
    """`shares`: of each backend, by ledger version. `range`: of the number, None for amounts of any size."""

    rules: Sequence[PolicyRule]
    shares: Mapping[int, Mapping[str, float]]
    range: tuple[float, float] | None
    alpha: float


class _Model:
    """q: the mean of a backend in a segment, of blocks before the present one."""

    def __init__(self) -> None:
        self.sums: dict[tuple[Segment, str | None], tuple[float, int]] = {}
        self.new: list[RowGroup] = []
        self.block = -1

    def at(self, group: RowGroup) -> None:
        """Learn what came before this group's block."""
        if group.block != self.block:
            for each in self.new:
                for key in ((each.segment, each.backend), (None, each.backend), (None, None)):
                    total, n = self.sums.get(key, (0.0, 0))
                    self.sums[key] = total + each.n * (each.value or 0.0), n + each.n
            self.new, self.block = [], group.block
        self.new.append(group)

    def expected(self, segment: Segment, backend: str) -> float:
        """Of few rows in the segment, the mean of the backend; without rows of it, that of all."""
        for key, least in (((segment, backend), _TRUSTED), ((None, backend), 1), ((None, None), 1)):
            total, n = self.sums.get(key, (0.0, 0))
            if n >= least:
                return total / n
        return 0.0


class _Sums:
    """Of one estimate: moments of φ, and counts by level where the number has a range."""

    def __init__(self, scale: Scale | None) -> None:
        self.moments = Moments()
        self.scale = scale
        self.levels: Levels = {}

    def add(self, weight: float, y: float, phi: float, n: int) -> None:
        self.moments.add(weight, y, phi, n)
        if self.scale is not None:
            self.scale.add(self.levels, phi, n)

    def interval(self, alpha: float) -> tuple[float, float]:
        if self.scale is None:
            return asymptotic_interval(self.moments, alpha)
        return bounded_interval(self.levels, self.scale, alpha)


def value_of(groups: Iterable[RowGroup], asked: PolicyQuestion, keyed: bool = False) -> PolicyValue:
    """`groups`: in the order of their blocks. `keyed`: units are sticky keys."""
    kept, left_out, thin = _with_support(groups, asked)
    out = PolicyValue(keyed=keyed, left_out=left_out)
    labelled = [group for group in kept if group.value is not None]
    out.units = sum(group.n for group in labelled)
    out.unlabelled = sum(group.n for group in kept) - out.units
    if not kept:
        out.refused = f"no support: {thin}" if thin else "there are no ripe predictions"
        return out
    if not out.units:
        out.refused = "none of the predictions has a label"
        return out
    if uneven := _uneven(kept, asked):
        out.refused = uneven
        return out
    return _estimated(out, labelled, asked)


def _with_support(groups: Iterable[RowGroup], asked: PolicyQuestion) -> tuple[list[RowGroup], int, str]:
    """The groups that count, how many units are left out, and of which backend the share was too small."""
    kept, left_out, thin = [], 0, ""
    for group in groups:
        shares = asked.shares.get(group.version, {})
        wanted = _plan_of(group, asked, shares)
        small = [name for name, share in wanted.items() if share > 0 and shares.get(name, 0.0) < LEAST_CHANCE]
        if small or shares.get(group.backend, 0.0) <= 0:
            left_out += group.n
            name = small[0] if small else group.backend
            thin = thin or f"{name} had {percent(shares.get(name, 0.0))} of the requests; 1% is the least"
        else:
            kept.append(group)
    return kept, left_out, thin


def _plan_of(group: RowGroup, asked: PolicyQuestion, shares: Mapping[str, float]) -> Mapping[str, float]:
    rule = matching(asked.rules, group.segment)
    return shares if rule is None else rule.shares


def _uneven(groups: Sequence[RowGroup], asked: PolicyQuestion) -> str:
    """Why the labels are no sample of what was drawn: they come for one backend more often than its share; empty if they are."""
    counts: dict[int, dict[str, int]] = {}
    for group in groups:
        if group.value is not None:
            by = counts.setdefault(group.version, {})
            by[group.backend] = by.get(group.backend, 0) + group.n
    log_e = 0.0
    for version, by in counts.items():
        shares = {name: share for name, share in asked.shares[version].items() if share > 0}
        if len(shares) > 1:
            log_e += log_e_shares([by.get(name, 0) for name in shares], list(shares.values()))
    if log_e < bound(_COVERAGE_ALPHA):
        return ""
    total = sum(n for by in counts.values() for n in by.values())
    found = {name for by in counts.values() for name in by}
    due = {
        name: fsum(asked.shares[v].get(name, 0.0) * sum(by.values()) for v, by in counts.items())
        for name in found
    }
    got = {name: sum(by.get(name, 0) for by in counts.values()) for name in found}
    name = max(found, key=lambda each: got[each] - due[each])
    return (
        f"labels do not come alike: {percent(got[name] / total)} of them are of {name}, whose share was "
        f"{percent(due[name] / total)}"
    )


def _estimated(out: PolicyValue, groups: Sequence[RowGroup], asked: PolicyQuestion) -> PolicyValue:
    low, high = asked.range or (0.0, 1.0)
    width, model = high - low, _Model()
    largest = max(
        share / asked.shares[group.version][name]
        for group in groups
        for name, share in _plan_of(group, asked, asked.shares[group.version]).items()
    )
    scales = (Scale(-largest, 1 + largest), Scale(-1 - largest, 1 + largest)) if asked.range else (None, None)
    policy, change = _Sums(scales[0]), _Sums(scales[1])
    for group in groups:
        assert group.value is not None
        y = (min(max(group.value, low), high) - low) / width if asked.range else group.value
        group = group._replace(value=y)
        model.at(group)
        shares = asked.shares[group.version]
        plan = _plan_of(group, asked, shares)
        planned = fsum(share * model.expected(group.segment, name) for name, share in plan.items())
        weight = plan.get(group.backend, 0.0) / shares[group.backend]
        phi = phi_of(planned, weight, y, model.expected(group.segment, group.backend))
        policy.add(weight, y, phi, group.n)
        change.add(weight, y, phi - y, group.n)
    out.size, out.exact = policy.moments.size, asked.range is not None
    if out.size < LEAST_SIZE:
        out.refused = f"the effective sample is {out.size:.0f} of {out.units}; {LEAST_SIZE:.0f} is the least"
        return out
    found, by = policy.moments, change.moments
    out.value, out.snips, out.ips = (low + width * x for x in (found.dr, found.snips, found.ips))
    out.as_it_was, out.change = low + width * (found.dr - by.dr), width * by.dr
    ends, between = policy.interval(asked.alpha), change.interval(asked.alpha)
    out.interval = low + width * ends[0], low + width * ends[1]
    out.change_interval = width * between[0], width * between[1]
    return out
