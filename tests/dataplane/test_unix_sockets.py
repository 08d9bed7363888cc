"""Endpoints that are unix sockets."""

from __future__ import annotations

from pathlib import Path

from crossfade.routing.snapshot import Endpoint
from tests.dataplane.model_over_tls import TlsModel
from tests.dataplane.plane import Harness, route
from tests.dataplane.wire import post


def at_socket(path: Path) -> Endpoint:
    return Endpoint("", 0, "localhost", True, f"unix://{path}", path=str(path))


async def test_requests_reach_a_unix_socket_with_their_host(harness: Harness, tmp_path: Path) -> None:
    path = tmp_path / "model.sock"
    model = TlsModel("v2", None)
    async with model.serving(str(path)):
        harness.replica("v2", at_socket(path))
        harness.use(route("v2"))
        client = await harness.client()
        for _ in range(3):
            await client.send(post(b"x"))
            assert (await client.answer()).body == b"v2"
        await client.send(b"GET / HTTP/1.0\r\n\r\n")
        assert (await client.answer()).status == 200
    assert model.connections == 1
    assert b"\r\nHost: models\r\n" in model.requests[0]
    assert b"\r\nHost: localhost\r\n" in model.requests[3]


async def test_an_absent_socket_is_a_502_until_a_model_listens_on_it(
    harness: Harness, tmp_path: Path
) -> None:
    """No reload is needed when the model starts."""
    path = tmp_path / "model.sock"
    model = TlsModel("v2", None)
    harness.replica("v2", at_socket(path))
    harness.use(route("v2"))
    client = await harness.client()
    await client.send(post(b"x"))
    answer = await client.answer()
    assert (answer.status, answer.error) == (502, b"upstream/connect")
    async with model.serving(str(path)):
        await client.send(post(b"x"))
        assert (await client.answer()).body == b"v2"


async def test_a_backend_mixes_unix_sockets_and_addresses(harness: Harness, tmp_path: Path) -> None:
    """The absent socket fails, and the requests go to the TCP endpoint."""
    harness.backend("v2")
    harness.replica("v2", at_socket(tmp_path / "absent.sock"))
    harness.use(route("v2"))
    client = await harness.client()
    for _ in range(10):
        await client.send(post(b"x"))
        assert (await client.answer()).body == b"v2"
    assert (await harness.cell("v2")).errors == 0
