"""Ends exchanges with an aborted challenger that are still in flight after `cut_after`.

Rule: the snapshot that removes the traffic names the backend and the time. Exchanges that began before
that snapshot and are still in flight at that time are cut. A partly sent answer ends the connection, so
that it cannot look complete (law 8). An answer that has not begun comes from the fallback where the route
allows it. No backend is blamed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from crossfade.errors import Stage

if TYPE_CHECKING:
    from crossfade.dataplane.plane import Plane
    from crossfade.dataplane.state import ExchangeState
    from crossfade.dataplane.tunnel import Tunnel
    from crossfade.routing.snapshot import Snapshot


def schedule_cuts(plane: Plane, snapshot: Snapshot) -> None:
    """For each backend that the snapshot cuts and that has exchanges in flight."""
    for route in snapshot.routes:
        for cut in route.cuts:
            exchanges = [
                x for x in plane.active if _belongs_to(x, route.name, cut.backend, route.ledger.version)
            ]
            tunnels = [
                t
                for t in plane.tunnels
                if _belongs_to(t.exchange, route.name, cut.backend, route.ledger.version)
            ]
            if exchanges or tunnels:
                plane.loop.call_later(cut.after, _cut, exchanges, tunnels, cut.backend)


def _belongs_to(exchange: ExchangeState, route: str, backend: str, version: int) -> bool:
    return (
        exchange.assigned is not None
        and exchange.assigned.cell[:2] == (route, backend)
        and exchange.assigned.cell[3] < version
    )


def _cut(exchanges: Iterable[ExchangeState], tunnels: Iterable[Tunnel], backend: str) -> None:
    for exchange in sorted(
        exchanges, key=lambda x: not x.waiting_since
    ):  # else they get the places of the others
        if (
            not exchange.ended and exchange.answering.spec.name == backend
        ):  # an answer of the fallback continues
            exchange.on_upstream_failed(Stage.CUT)
    for tunnel in tunnels:
        if not tunnel.ended and tunnel.exchange.answering.spec.name == backend:
            tunnel.cut()
