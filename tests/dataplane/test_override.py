"""A tester with a token gets the backend it names; everyone else the one that was drawn."""

from __future__ import annotations

import time

import pytest

from crossfade.routing.override import make_token
from crossfade.routing.snapshot import TESTER
from tests.dataplane.plane import Harness, mirrored, route
from tests.dataplane.wire import get

SECRET = "correct horse battery staple"


def token(backend: str = "v3", of: str = "churn", seconds: float = 86400, secret: str = SECRET) -> bytes:
    return b"X-Crossfade-Override: " + make_token(secret, of, backend, int(time.time() + seconds)).encode()


async def test_a_token_picks_a_backend_and_stays_here(harness: Harness) -> None:
    harness.backend("v2")
    preview = harness.backend("v3")
    harness.use(route("v2"), override_secret=SECRET)
    client = await harness.client()
    for fields, backend in (([token()], "v3"), ([], "v2"), ([token()], "v3")):
        await client.send(get(fields=fields))
        answer = await client.answer()
        assert (answer.status, answer.backend) == (200, backend)
    assert all(request.field("x-crossfade-override") is None for request in preview.requests)


async def test_testers_are_counted_apart_and_mirrored_to_nobody(harness: Harness) -> None:
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
    ("field", "said"),
    [
        (token(secret="of somebody else"), "signature of the override token"),
        (token(of="fraud"), "another route"),
        (token(seconds=-1), "expired"),
        (token("v9"), "an unknown backend"),
        (token() + b", " + token().partition(b": ")[2], "signature of the override token"),
        (b"x-crossfade-override: v3", "signature of the override token"),
        (b"x-crossfade-override:", "signature of the override token"),
    ],
    ids=range(7),  # tokens tell the time, and all processes that share the tests must call them alike
)
async def test_what_is_no_good_token_is_refused_and_says_why(
    harness: Harness, field: bytes, said: str
) -> None:
    """And the connection goes on."""
    harness.backend("v2")
    harness.backend("v3")
    harness.use(route("v2"), override_secret=SECRET)
    client = await harness.client()
    await client.send(get(fields=[field]))
    answer = await client.answer()
    assert (answer.status, answer.error, said in answer.body.decode()) == (403, b"internal/override", True)
    await client.send(get())
    assert (await client.answer()).backend == "v2"


async def test_without_a_secret_tokens_mean_nothing(harness: Harness) -> None:
    backend = harness.backend("v2")
    harness.backend("v3")
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(get(fields=[token()]))
    assert (await client.answer()).backend == "v2"
    assert backend.requests[0].field("x-crossfade-override") is None
