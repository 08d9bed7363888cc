"""What is in flight to a challenger that was taken back, and is not to go on for ever (`cut_after`).

Rule: the snapshot that takes the traffic away names the backend and the time. Who began before it and
is still there by then is cut: an answer half sent ends the connection, so that it cannot look
complete (law 8); one not begun comes from the fallback where the route allows it. Nobody is blamed.
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
    """For each backend that the snapshot says to cut; nothing where nothing is in flight to it."""
    for route in snapshot.routes:
        for cut in route.cuts:
            doomed = [x for x in plane.active if is_of(x, route.name, cut.backend, route.ledger.version)]
            tunnels = [
                t for t in plane.tunnels if is_of(t.exchange, route.name, cut.backend, route.ledger.version)
            ]
            if doomed or tunnels:
                plane.loop.call_later(cut.after, end, doomed, tunnels, cut.backend)


def is_of(exchange: ExchangeState, route: str, backend: str, version: int) -> bool:
    return (
        exchange.assigned is not None
        and exchange.assigned.cell[:2] == (route, backend)
        and exchange.assigned.cell[3] < version
    )


def end(doomed: Iterable[ExchangeState], tunnels: Iterable[Tunnel], backend: str) -> None:
    for exchange in doomed:
        if not exchange.ended and exchange.answering.spec.name == backend:  # the fallback may go on
            exchange.on_upstream_failed(Stage.CUT)
    for tunnel in tunnels:
        if not tunnel.ended and tunnel.exchange.answering.spec.name == backend:
            tunnel.cut()
