"""A request with a valid override token gets the backend of the token. All other requests get the assigned backend."""

from __future__ import annotations

import time

import pytest

from crossfade.routing.override import make_token
from crossfade.routing.snapshot import TESTER
from tests.dataplane.plane import Harness, mirrored, route
from tests.dataplane.wire import get

SECRET = "correct horse battery staple"


def token(
    backend: str = "v3", route_name: str = "churn", seconds: float = 86400, secret: str = SECRET
) -> bytes:
    return (
        b"X-Crossfade-Override: "
        + make_token(secret, route_name, backend, int(time.time() + seconds)).encode()
    )


async def test_a_token_selects_the_backend_and_is_not_forwarded(harness: Harness) -> None:
    harness.backend("v2")
    tested = harness.backend("v3")
    harness.use(route("v2"), override_secret=SECRET)
    client = await harness.client()
    for fields, backend in (([token()], "v3"), ([], "v2"), ([token()], "v3")):
        await client.send(get(fields=fields))
        answer = await client.answer()
        assert (answer.status, answer.backend) == (200, backend)
    assert all(request.field("x-crossfade-override") is None for request in tested.requests)


async def test_requests_with_a_token_count_in_the_tester_role_and_are_not_mirrored(harness: Harness) -> None:
    harness.backend("v2")
    harness.backend("v3")
    harness.backend("v4")
    harness.use(route({"v2": 5000, "v3": 5000}, mirrors=mirrored("v4")), override_secret=SECRET)
    client = await harness.client()
    await client.send(get(fields=[token()]))
    assert (await client.answer()).status == 200
    await harness.quiet()
    (cell,) = harness.plane.recorder.table.cells.values()
    assert (cell.backend, cell.role, cell.requests) == ("v3", TESTER, 1)
    assert harness.mirrors("v4") == {}


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (token(secret="another secret"), "signature of the override token"),
        (token(route_name="fraud"), "another route"),
        (token(seconds=-1), "expired"),
        (token("v9"), "an unknown backend"),
        (token() + b", " + token().partition(b": ")[2], "signature of the override token"),
        (b"x-crossfade-override: v3", "signature of the override token"),
        (b"x-crossfade-override:", "signature of the override token"),
    ],
    ids=range(7),  # tokens hold the time, but test ids must be equal in all test processes
)
async def test_an_invalid_token_gets_403_with_the_reason(
    harness: Harness, field: bytes, message: str
) -> None:
    """The connection stays open for the next request."""
    harness.backend("v2")
    harness.backend("v3")
    harness.use(route("v2"), override_secret=SECRET)
    client = await harness.client()
    await client.send(get(fields=[field]))
    answer = await client.answer()
    assert (answer.status, answer.error, message in answer.body.decode()) == (403, b"internal/override", True)
    await client.send(get())
    assert (await client.answer()).backend == "v2"


async def test_without_a_configured_secret_tokens_are_ignored(harness: Harness) -> None:
    backend = harness.backend("v2")
    harness.backend("v3")
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(get(fields=[token()]))
    assert (await client.answer()).backend == "v2"
    assert backend.requests[0].field("x-crossfade-override") is None
