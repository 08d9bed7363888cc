"""Mirrors that get nothing: one is configured, its route has requests, and no copy was sent for a minute.

Rule: only a warning. A shadow without copies decides nothing, so nobody would notice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from crossfade.control.route_runtime import RouteRuntime
from crossfade.routing.snapshot import CACHED
from crossfade.scale import WHOLE
from crossfade.stats.counts import SHADOW, Counts

SILENCE = 60.0  # seconds
EXPECTED = 20.0  # copies that should have been sent meanwhile
Target = tuple[str, str]  # (route, backend)


class _Silence:
    def __init__(self, since: float) -> None:
        self.since = since
        self.expected = 0.0
        self.dropped = Counter[str]()  # by reason


class MirrorWatch:
    """`silent`: in words, why each of the mirrors is."""

    def __init__(self) -> None:
        self.silences: dict[Target, _Silence] = {}
        self.silent: dict[Target, str] = {}

    def look(self, routes: Iterable[RouteRuntime], counts: Counts, served: float) -> list[tuple[str, str]]:
        """Returns what is new, as routes and texts. `counts`: of this tick."""
        shares = {(route.name, to): share for route in routes for to, share in _mirrored(route).items()}
        self.silences = {target: self.silences.get(target) or _Silence(served) for target in shares}
        self.silent = {target: text for target, text in self.silent.items() if target in shares}
        requests = Counter[str]()
        for cell in counts.cells:
            if cell.role not in (SHADOW, CACHED):  # no copy is made of what a cache answers
                requests[cell.route] += cell.requests
        for each in counts.mirrors:
            target = each.route, each.backend
            if target in shares and each.outcome in ("sent", "failed"):
                self.silences[target] = _Silence(served)
                self.silent.pop(target, None)
            elif target in shares:
                self.silences[target].dropped[each.outcome] += each.n
        return [
            (target[0], text)
            for target, share in shares.items()
            if (text := self._of(target, share, requests, served))
        ]

    def _of(self, target: Target, share: int, requests: Counter[str], served: float) -> str:
        """A new warning, or nothing."""
        route, backend = target
        found = self.silences[target]
        found.expected += requests[route] * share / WHOLE
        if served - found.since < SILENCE or found.expected < EXPECTED:
            return ""
        reasons = ", ".join(f"{n} × {why}" for why, n in found.dropped.most_common(3)) or "none was tried"
        known = target in self.silent
        self.silent[target] = (
            f"{route}: nothing was mirrored to {backend} for {served - found.since:.0f} s, though about "
            f"{found.expected:.0f} copies were due ({reasons})"
        )
        return "" if known else self.silent[target]


def _mirrored(route: RouteRuntime) -> dict[str, int]:
    """By backend, the share that is mirrored now; that of a rollout's step goes before the file's."""
    found = {mirror.to: mirror.sample for mirror in route.config.mirror}
    found |= {mirror.to: mirror.sample for mirror in route.trial.mirrors}
    return {to: share for to, share in found.items() if share}
