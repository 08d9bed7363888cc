"""The prober with real sockets: thresholds, reports of changes, reloads."""

from __future__ import annotations

import asyncio
import errno
import logging
import ssl
import textwrap
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from crossfade import dial
from crossfade.config.load import Loaded, load
from crossfade.config.model import HealthConfig
from crossfade.control.prober import Names, ProbeHistory, Prober
from crossfade.dial import Addresses, examine
from tests.certificates import Authority, end_in
from tests.dataplane.model_over_tls import TlsModel


class Model:
    """A server whose health is set by the test."""

    def __init__(self) -> None:
        self.status = 200
        self.asked = 0
        self.port = 0
        self.hang = False

    async def health(self, request: web.Request) -> web.Response:
        self.asked += 1
        if self.hang:
            await asyncio.sleep(0.9)
        headers = {"Location": "/elsewhere"} if self.status == 302 else {}
        return web.Response(status=self.status, headers=headers)

    @asynccontextmanager
    async def serving(self, port: int = 0) -> AsyncIterator[Model]:
        app = web.Application()
        app.router.add_get("/health", self.health)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        self.port = runner.addresses[0][1]
        try:
            yield self
        finally:
            await runner.cleanup()


class Listener:
    def __init__(self) -> None:
        self.heard: list[tuple[Names, Names]] = []
        self.refuse = False
        self.refused = 0
        self.certificate_ends: dict[tuple[str, str], float] = {}

    def changed(self, down: Names, now: float, seen: Names) -> None:
        if self.refuse:
            self.refused += 1
            raise RuntimeError("not now")
        self.heard.append((down, seen))

    @property
    def down(self) -> Names:
        return self.heard[-1][0] if self.heard else frozenset()

    @property
    def seen(self) -> Names:
        return self.heard[-1][1] if self.heard else frozenset()


def config(port: int, health: str = "{path: /health, interval: 10ms, timeout: 300ms}") -> Loaded:
    text = f"""
    listen: 127.0.0.1:0
    backends:
      v2: {{endpoints: [http://127.0.0.1:{port}], health: {health}}}
    routes:
      - {{name: r, match: {{prefix: /}}, split: {{v2: 100%}}}}
    """
    return load(textwrap.dedent(text), "routing.yaml", {})


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def probing(wanted: Loaded) -> AsyncIterator[tuple[Prober, Listener]]:
    listener = Listener()
    prober = Prober(listener.changed, listener.certificate_ends)
    prober.configure(wanted)
    try:
        yield prober, listener
    finally:
        await prober.close()


@pytest.mark.parametrize(
    ("answers", "up"),
    [
        ("", True),  # optimistic
        ("..", True),
        ("xx", True),
        ("xxx", False),
        ("xx.xx", True),
        ("xxx.", True),  # never well before
        ("xxx..", True),
        (".xxx.", False),
        (".xxx..", True),
        (".xxx.x.", False),
        (".xxx", False),
    ],
)
def test_an_endpoint_is_down_after_so_many_failures_and_up_after_so_many_successes(answers, up):
    history = ProbeHistory()
    for answer in answers:
        history.add(answer == ".", HealthConfig(healthy_after=2, unhealthy_after=3))
    assert (history.up, history.seen_up) == (up, "." in answers)


async def test_changed_is_called_at_changes_only():
    async with Model().serving() as model, probing(config(model.port)) as (_, listener):
        name = frozenset({("v2", f"127.0.0.1:{model.port}")})
        await until(lambda: model.asked > 5)
        assert listener.heard == [(frozenset(), name)]
        model.status = 503
        await until(lambda: listener.down == name)
        asked = model.asked
        await until(lambda: model.asked > asked + 5)
        model.status = 204
        await until(lambda: not listener.down)
        assert listener.heard == [(frozenset(), name), (name, name), (frozenset(), name)]


async def test_a_probe_has_the_host_and_the_fields_of_the_backend_and_its_own_path():
    seen: list[tuple[str, str, str | None]] = []

    async def health(request: web.Request) -> web.Response:
        seen.append((request.path, request.host, request.headers.get("Authorization")))
        return web.Response()

    app = web.Application()
    app.router.add_get("/ready", health)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    text = f"""
    listen: 127.0.0.1:0
    backends:
      v2:
        endpoints: [http://127.0.0.1:{runner.addresses[0][1]}/v2/models/churn]
        health: {{path: /ready, interval: 10ms, timeout: 300ms}}
        request: {{host: api.example.com, path: {{replace: /infer}}, headers: {{set: {{authorization: Bearer k}}}}}}
    routes: [{{name: r, split: {{v2: 100%}}}}]
    """
    try:
        async with probing(load(textwrap.dedent(text), "routing.yaml", {})) as (_, listener):
            await until(lambda: bool(listener.seen))
    finally:
        await runner.cleanup()
    assert set(seen) == {("/ready", "api.example.com", "Bearer k")}


@pytest.mark.parametrize("status", [302, 404, 500])
async def test_only_2xx_is_healthy(status):
    async with Model().serving() as model:
        model.status = status
        async with probing(config(model.port)) as (_, listener):
            await until(lambda: bool(listener.down))
            assert not listener.seen


async def test_a_response_after_the_timeout_is_a_failure():
    async with Model().serving() as model:
        model.hang = True
        async with probing(config(model.port, "{path: /health, interval: 10ms, timeout: 20ms}")) as (
            _,
            listener,
        ):
            await until(lambda: bool(listener.down))


async def test_a_proxy_without_descriptors_blames_no_endpoint(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    connect, failed = dial.connect, 0

    async def without_descriptors(*_: object) -> None:
        nonlocal failed
        failed += 1
        raise OSError(errno.EMFILE, "Too many open files")

    async with Model().serving() as model, probing(config(model.port)) as (_, listener):
        await until(lambda: bool(listener.seen))
        monkeypatch.setattr(dial, "connect", without_descriptors)
        await until(lambda: failed > 10)
        assert not listener.down
        assert caplog.text.count("cannot be probed") == 1
        monkeypatch.setattr(dial, "connect", connect)
        model.status = 500
        await until(lambda: bool(listener.down))


@pytest.mark.parametrize("health", ["{interval: 10ms}", "{path: /health, interval: 10ms}"])
async def test_an_endpoint_goes_down_and_up_with_its_server(health):
    model = Model()
    async with model.serving():
        wanted = config(model.port, health)
    async with probing(wanted) as (_, listener):
        await until(lambda: bool(listener.down))
        assert not listener.seen
        async with model.serving(model.port):
            await until(lambda: not listener.down)
            assert listener.seen


async def test_a_response_that_is_not_http_is_a_failure():
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x00\xff nonsense\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    async with server, probing(config(server.sockets[0].getsockname()[1])) as (_, listener):
        await until(lambda: bool(listener.down))


async def test_a_reload_keeps_the_history_of_endpoints_that_stay():
    async with Model().serving() as model:
        model.status = 500
        async with probing(config(model.port)) as (prober, listener):
            await until(lambda: bool(listener.down))
            prober.configure(config(model.port, "{path: /health, interval: 20ms}"))
            asked = model.asked
            await until(lambda: model.asked > asked + 3)
            assert len(listener.heard) == 1


async def test_an_endpoint_that_is_no_longer_probed_is_up():
    async with Model().serving() as model:
        model.status = 500
        async with probing(config(model.port)) as (prober, listener):
            await until(lambda: bool(listener.down))
            prober.configure(config(model.port, "false"))
            await until(lambda: not listener.down)
            asked = model.asked
            await asyncio.sleep(0.05)
            assert model.asked <= asked + 1


async def test_a_change_that_was_not_applied_is_reported_again():
    async with Model().serving() as model, probing(config(model.port)) as (_, listener):
        listener.refuse = True
        await until(lambda: listener.refused > 1)
        listener.refuse = False
        await until(lambda: bool(listener.seen))


async def test_a_change_that_was_not_applied_and_is_undone_since_is_reported():
    """Who refused it may have applied a part of it."""
    async with Model().serving() as model, probing(config(model.port)) as (prober, listener):
        await until(lambda: bool(listener.seen))
        listener.refuse, model.status = True, 500
        await until(lambda: listener.refused > 0)
        model.status = 200
        await until(lambda: all(history.up for history in prober.histories.values()))
        heard, listener.refuse = len(listener.heard), False
        await until(lambda: len(listener.heard) > heard)
        assert not listener.down
        assert not prober.owed


async def test_close_ends_every_task():
    async with Model().serving() as model:
        before = asyncio.all_tasks()
        async with probing(config(model.port)):
            await until(lambda: model.asked > 2)
        assert asyncio.all_tasks() == before


# ── over TLS, at unix sockets, by names ───────────────────────────────────────────────────────────


def written(endpoint: str, more: str = "") -> Loaded:
    text = f"""
    listen: 127.0.0.1:0
    backends:
      v2: {{endpoints: ["{endpoint}"], health: {{path: /health, interval: 10ms, timeout: 2s}}{more}}}
    routes:
      - {{name: r, match: {{prefix: /}}, split: {{v2: 100%}}}}
    """
    return load(textwrap.dedent(text), "routing.yaml", {}, examine)


async def test_probes_verify_certificates_as_requests_do(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    authority = Authority(tmp_path)
    model = TlsModel("v2", authority.server("models.internal", clients=authority))
    cert, key = authority.files("proxy.internal")
    good = f", tls: {{ca: {authority.file}, cert: {cert}, key: {key}, server_name: models.internal}}"
    async with model.serving() as port:
        at = f"https://127.0.0.1:{port}"
        async with probing(written(at, good)) as (prober, listener):
            await until(lambda: ("v2", at) in listener.seen)
            assert b"GET /health HTTP/1.1\r\n" in model.requests[0]
            with caplog.at_level(logging.INFO):
                prober.configure(written(at, f", tls: {{ca: {authority.file}, cert: {cert}, key: {key}}}"))
                await until(lambda: ("v2", at) in listener.down)
            assert f"{at} of v2 is down: [SSL: CERTIFICATE_VERIFY_FAILED]" in caplog.text
            prober.configure(written(at, good))
            await until(lambda: not listener.down)


async def test_the_end_of_an_endpoints_certificate_is_noted_while_it_is_asked_over_tls(
    tmp_path: Path,
) -> None:
    authority = Authority(tmp_path)
    cert, key = authority.files("models.internal")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    async with TlsModel("v2", context).serving() as port:
        at = f"https://127.0.0.1:{port}"
        async with probing(written(at, ", tls: {verify: false}")) as (prober, listener):
            await until(lambda: bool(listener.certificate_ends))
            assert list(listener.certificate_ends.values()) == [end_in(cert)]
            prober.configure(written(f"http://127.0.0.1:{port}"))
            assert not listener.certificate_ends


async def test_a_unix_socket_is_probed(tmp_path: Path) -> None:
    model = TlsModel("v2", None)
    at = f"unix://{tmp_path}/model.sock"
    async with probing(written(at)) as (_, listener):
        await until(lambda: ("v2", at) in listener.down)
        async with model.serving(f"{tmp_path}/model.sock"):
            await until(lambda: not listener.down)
            assert b"\r\nHost: localhost\r\n" in model.requests[0]
        await until(lambda: ("v2", at) in listener.down)


async def test_a_name_is_up_while_one_of_its_addresses_succeeds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last addresses stay while it cannot be looked up."""
    found = [Addresses(("127.0.0.1", "127.0.0.2"))]

    async def look_up(host: str) -> Addresses:
        if not found:
            raise OSError("not now")
        return found[0]

    monkeypatch.setattr(dial, "look_up", look_up)
    async with Model().serving() as model:  # at 127.0.0.1 alone
        name = ("v2", f"model:{model.port}")
        async with probing(written(f"http://model:{model.port}", ", resolve: 1ms")) as (_, listener):
            await until(lambda: name in listener.seen)
            found.clear()
            asked = model.asked
            await until(lambda: model.asked > asked + 5)
            assert not listener.down
            found.append(Addresses(("127.0.0.2",)))
            await until(lambda: name in listener.down)
            found[0] = Addresses(("127.0.0.2",), ("127.0.0.1",))
            await until(lambda: not listener.down)


async def test_an_endpoint_whose_name_has_no_address_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    async def look_up(host: str) -> Addresses:
        raise OSError("no such name")

    monkeypatch.setattr(dial, "look_up", look_up)
    async with probing(written("http://model:1")) as (_, listener):
        await until(lambda: ("v2", "model:1") in listener.down)


@pytest.mark.parametrize(
    ("raw", "well"),
    [
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", True),  # its body is of no interest
        (b"HTTP/1.0 200 OK\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nContent-", False),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000, False),
        (b"HTTP/1.1 200\nOK\r\n\r\n", False),
        (b"", False),
    ],
)
async def test_only_a_complete_response_head_is_a_response(raw: bytes, well: bool) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(raw)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with probing(written(f"http://127.0.0.1:{port}")) as (_, listener):
            await until(lambda: bool(listener.heard))
            assert bool(listener.seen) is well
