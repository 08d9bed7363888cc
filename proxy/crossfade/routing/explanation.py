"""What is asked about a request, and what is said about it: see `explaining`."""

from __future__ import annotations

import msgspec


class AskedRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A request as a client would send it. `target`: path and query, or a whole URL. `client`: the address that it comes from.

    `tls`: whether it comes over TLS.
    """

    target: str
    method: str = "GET"
    headers: dict[str, str | list[str]] = {}
    body: str = ""
    client: str = "127.0.0.1"
    tls: bool = False


class RouteTest(msgspec.Struct):
    """`why`: the first condition that does not hold; "" for the route that gets the request."""

    route: str
    why: str


class FoundKey(msgspec.Struct):
    """What one source of the sticky key gives. `found`: null if it is not in the request."""

    source: str
    found: str | None


class KeyMove(msgspec.Struct):
    """This key moves to backend `to` when the weights are these shares; with one bucket less for `to` it does not.

    `step`: of the rollout of `to`, counted from 0, the first with so much weight; null where no step has it, or `to` has no rollout.
    """

    to: str
    weights: dict[str, float]
    step: int | None = None


class EndpointChoice(msgspec.Struct):
    """`state`: up, down or drained, which one with weight 0 in the file counts as. Only those that are up get requests, by their
    weight and what is in flight there; in a panic those that are down. `target`: path and query that the model is asked.
    """

    url: str
    state: str
    weight: int
    target: str


class Copy(msgspec.Struct):
    """A mirror of the request: `share` of the requests are copied to backend `to`. `target`: path and query that its first endpoint is asked."""

    to: str
    share: float
    target: str


class Refusal(msgspec.Struct):
    """What the proxy itself would answer."""

    status: int
    detail: str


class Explanation(msgspec.Struct):
    """Where a request would go. `tested`: the routes in file order, up to the one that gets it.

    `keys`: the route's sources of the sticky key, in order; the first that is found gives `key`. `hash`: of the key, 64 bits in hexadecimal;
    `bucket`: one of 10 000. `chances`: of each backend; without a key it is drawn for each request. `how`: key, draw, override, preflight or
    own_answer. `because`: all of it in sentences. `client`: the address that counts as the client's.
    """

    client: str
    tested: list[RouteTest]
    route: str | None = None
    refused: Refusal | None = None
    keys: list[FoundKey] = []
    key: str | None = None
    hash: str | None = None
    bucket: int | None = None
    ledger_version: int | None = None
    how: str = ""
    backend: str | None = None
    role: str = ""
    chances: dict[str, float] = {}
    endpoints: list[EndpointChoice] = []
    fallback: str | None = None
    mirrors: list[Copy] = []
    moves: list[KeyMove] = []
    because: list[str] = []
