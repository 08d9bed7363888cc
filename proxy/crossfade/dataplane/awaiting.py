"""Requests that wait for the rest of their body, since their backend gets it rewritten.

Rule: what is held in a worker is limited (`limits.held_bytes`, as for bodies that wait for their route), and the body by
the inspect limit of its route. It is held until it is sent: also while the request waits for a place in flight.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crossfade.dataplane import expectation
from crossfade.dataplane.endpoint import BackendState
from crossfade.dataplane.inspection import NO_ROOM, WHOLE
from crossfade.dataplane.writing import TOO_LARGE, must_wait, refusal_of
from crossfade.errors import RequestRefused, Stage

if TYPE_CHECKING:
    from crossfade.dataplane.plane import Plane
    from crossfade.dataplane.state import ExchangeState


def may_send(plane: Plane, exchange: ExchangeState, backend: BackendState) -> bool:
    """Whether the request can be sent now; else it waits for its body. Raises RequestRefused."""
    if must_wait(exchange, backend):
        if max(exchange.kept, exchange.head.length) > exchange.route.inspect_limit:
            raise RequestRefused(Stage.LIMIT, TOO_LARGE)
        exchange.answering = backend
        wait_for_body(plane, exchange)
        return False
    exchange.awaits_body = False
    refusal = refusal_of(exchange, backend)
    if refusal is not None:
        raise refusal
    return True


def wait_for_body(plane: Plane, exchange: ExchangeState) -> None:
    """Raises RequestRefused."""
    hold(plane, exchange)
    if exchange.head.expects_continue and not exchange.kept and not exchange.continued:
        expectation.tell_client(exchange)


def hold(plane: Plane, exchange: ExchangeState) -> None:
    """Count what is held of the body (`limits.held_bytes`). Raises RequestRefused if there is no room."""
    exchange.awaits_body = True
    release(plane, exchange)
    if exchange.inspection is not None:
        exchange.inspection.release()
    more = max(exchange.kept - WHOLE, 0)
    if plane.held_bytes + more > plane.snapshot.held_bytes:
        plane.recorder.unread(exchange.route.spec.name, "no_room")
        raise RequestRefused(Stage.OVERLOAD, NO_ROOM)
    plane.held_bytes += more
    exchange.held = more


def release(plane: Plane, exchange: ExchangeState) -> None:
    """The body is sent, or dropped."""
    plane.held_bytes -= exchange.held
    exchange.held = 0
