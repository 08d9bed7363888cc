"""What the proxy measures of a backend, from its page of metrics: requests in flight, and the p99 of a time."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

_SAMPLE = re.compile(r"^crossfade_(\w+)\{(.*)\} (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_GAUGES = ("in_flight", "queue_length")
_BUCKET = "request_duration_seconds_bucket"


@dataclass(frozen=True, slots=True)
class Load:
    """`in_flight`: with those that wait for a place. `buckets`: answers since the start by their upper bound in seconds, cumulative."""

    in_flight: float = 0.0
    buckets: Counter[float] = field(default_factory=Counter)


def load_of(page: str, backend: str) -> Load:
    """Of all routes and roles, copies of mirrors included: they need the same replicas."""
    in_flight = 0.0
    buckets: Counter[float] = Counter()
    for name, labels, value in _SAMPLE.findall(page):
        if name not in _GAUGES and name != _BUCKET:
            continue
        found = dict(_LABEL.findall(labels))
        if found.get("backend") != backend:
            continue
        if name == _BUCKET:
            buckets[float(found["le"])] += float(value)  # type: ignore[assignment]
        else:
            in_flight += float(value)
    return Load(in_flight, buckets)


def p99_between(before: Load, after: Load) -> float | None:
    """Seconds, of the answers between the two: the upper bound of the bucket that has it, or of the last finite one. None without answers."""
    counted = {bound: after.buckets[bound] - before.buckets[bound] for bound in sorted(after.buckets)}
    total = max(counted.values(), default=0)
    if total <= 0:
        return None
    finite = [bound for bound in counted if bound != float("inf")]
    return next((bound for bound in finite if counted[bound] >= 0.99 * total), finite[-1] if finite else None)


def goes_on(before: Load, after: Load) -> bool:
    """Whether no count has fallen: the proxy was not started meanwhile, and has forgotten no route."""
    return all(after.buckets[bound] >= count for bound, count in before.buckets.items())
