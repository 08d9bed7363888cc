"""Whether a request can be written for a backend that asks for more than its head: JSON fields replaced, a path matched.

Rule: such a request is sent when its body is complete, up to the inspect limit of the route. One that cannot be written is
refused with the reason; it goes to no model as it came, since the model would read what the operator wants replaced. A
fallback is not asked then, and a copy is dropped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from crossfade.dataplane.endpoint import BackendState
from crossfade.errors import RequestRefused, Stage
from crossfade.routing.json_fields import coded_body, is_coded, is_json, shows_kind
from crossfade.routing.match import LONGEST_PATH

if TYPE_CHECKING:
    from crossfade.dataplane.state import ExchangeState

TOO_LARGE: Final = "The request is larger than the limit up to which this model's requests are rewritten."


def must_wait(exchange: ExchangeState, backend: BackendState) -> bool:
    """Whether more of the body must come first. Its first bytes may say that it is no JSON."""
    if exchange.request_done or backend.json is None or is_coded(exchange.head):
        return False
    beginning = exchange.whole_body()
    return not shows_kind(beginning) or is_json(exchange.head, beginning)


def refusal_of(exchange: ExchangeState, backend: BackendState) -> RequestRefused | None:
    """Why the request cannot be written for this backend, as far as it has come."""
    request = backend.spec.request
    if request is not None and request.regex is not None and len(exchange.head.path) > LONGEST_PATH:
        return RequestRefused(Stage.LIMIT, "The path is too long.", 414)
    if backend.json is None:
        return None
    if is_coded(exchange.head) and (exchange.kept or not exchange.request_done):
        return coded_body()
    if not exchange.request_done:  # it is no JSON
        return None
    if exchange.kept > exchange.route.inspect_limit:
        if is_json(exchange.head, exchange.whole_body()):
            return RequestRefused(Stage.LIMIT, TOO_LARGE)
        return None
    return backend.json.refusal(exchange.head, exchange.whole_body())


def is_writable(exchange: ExchangeState, backend: BackendState) -> bool:
    """Whether another backend than the first, as the fallback, can get the request as it is kept."""
    return not must_wait(exchange, backend) and refusal_of(exchange, backend) is None
