"""TLS to backends: files that are renewed act on new connections without a HUP, of requests, mirrors and probes."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from tests.certificates import Authority
from tests.scenarios.harness import Proxy, running, wait_until


class SecureModel:
    """It answers over TLS. `asked`: the subjects of its clients' certificates."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context
        self.asked: list[str] = []
        self.copies = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        shown = writer.get_extra_info("peercert") or {}
        subject = dict(name[0] for name in shown.get("subject", ())).get("commonName", "")
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.asked.append(subject)
                self.copies += b"x-crossfade-mirror" in head
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        except (asyncio.IncompleteReadError, OSError):
            writer.close()


def server_context(authority: Authority, clients: Authority | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.files("localhost"))
    if clients is not None:
        context.load_verify_locations(clients.file)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


@pytest.fixture
async def models(tmp_path: Path) -> AsyncIterator[dict[str, tuple[SecureModel, int]]]:
    """`v2` and its shadow `v4`, of the same authority."""
    made, servers = {}, []
    authority = Authority(tmp_path, "first")
    for name in ("v2", "v4"):
        model = SecureModel(server_context(authority))
        servers.append(await asyncio.start_server(model.answer, "127.0.0.1", 0, ssl=model.context))
        made[name] = (model, servers[-1].sockets[0].getsockname()[1])
    authority.ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    yield made
    for server in servers:
        server.close()


def routing(models: dict[str, tuple[SecureModel, int]], ca: Path, more: str = "") -> str:
    backends = "".join(
        f"  {name}: {{endpoints: https://127.0.0.1:{port}, health: {{path: /, interval: 100ms, timeout: 5s}}, "
        f"tls: {{ca: {ca}, server_name: localhost{more}}}}}\n"
        for name, (_, port) in models.items()
    )
    return (
        f"backends:\n{backends}"
        "routes: [{name: churn, match: {prefix: /}, split: {v2: 100%}, mirror: [{to: v4, sample: 100%, safe: true}]}]\n"
    )


async def status(session: aiohttp.ClientSession, proxy: Proxy) -> int:
    async with session.get(proxy.url) as response:
        return response.status


def rotate(folder: Path, models: dict[str, tuple[SecureModel, int]], ca: Path) -> None:
    """Another authority for all."""
    other = Authority(folder, "second")
    for model, _ in models.values():
        model.context.load_cert_chain(*other.files("localhost"))
    ca.write_bytes(Path(other.file).read_bytes())


async def metric(proxy: Proxy, name: str) -> list[str]:
    text = await proxy.get("/metrics")
    return [line for line in text.splitlines() if line.startswith(name)]


async def reload_succeeded(proxy: Proxy) -> bool:
    return (await metric(proxy, "crossfade_config_last_reload_successful")) == [
        "crossfade_config_last_reload_successful 1.0"
    ]


@pytest.mark.parametrize("workers", [0, 2])
async def test_a_rotated_ca_is_used_without_a_signal_also_if_the_configuration_is_broken(
    tmp_path: Path, models: dict[str, tuple[SecureModel, int]], workers: int
) -> None:
    ca = tmp_path / "ca.pem"
    proxy = Proxy(tmp_path, routing(models, ca), workers)
    async with running(proxy), aiohttp.ClientSession() as session:
        assert await status(session, proxy) == 200
        proxy.file.write_text(proxy.file.read_text() + "broken: true\n")
        await wait_until(lambda: "configuration not reloaded" in proxy.output, "the file is refused")
        copies = models["v4"][0].copies
        rotate(tmp_path, models, ca)

        async def serves() -> bool:
            return await status(session, proxy) == 200

        await wait_until(lambda: "TLS files have changed" in proxy.output, "the files are seen")
        await wait_until(serves, "requests succeed")

        async def copied() -> bool:
            return await serves() and models["v4"][0].copies > copies

        await wait_until(copied, "copies arrive")

        async def probes_succeed() -> bool:
            up = await metric(proxy, "crossfade_endpoint_up")
            return len(up) == 2 and all(line.endswith(" 1.0") for line in up)

        await wait_until(probes_succeed, "probes succeed")
        assert not await reload_succeeded(proxy), "the configuration file is still broken"


async def test_a_broken_renewal_keeps_what_was_and_says_so(
    tmp_path: Path, models: dict[str, tuple[SecureModel, int]]
) -> None:
    """A key of another certificate, a half-written file, a missing file; then all is well again."""
    cert, key, good, contents = with_client_certificates(tmp_path, models)
    proxy = Proxy(tmp_path, routing(models, tmp_path / "ca.pem", f", cert: {cert}, key: {key}"))
    async with running(proxy), aiohttp.ClientSession() as session:
        assert await status(session, proxy) == 200
        await wait_until(lambda: models["v4"][0].copies, "a copy has been sent")
        for n, (content, said) in enumerate(contents):
            if content is None:
                key.unlink()
            else:
                key.write_bytes(content)
            await wait_until(partial(has_said, proxy, n + 1, said), f"it says {said}")
            assert "backends.v2.tls.key" in proxy.output
            assert await status(session, proxy) == 200
            assert not await reload_succeeded(proxy)
        key.write_bytes(good)
        await wait_until(lambda: reload_succeeded(proxy), "all is well")
        assert await status(session, proxy) == 200


def with_client_certificates(
    folder: Path, models: dict[str, tuple[SecureModel, int]]
) -> tuple[Path, Path, bytes, list[tuple[bytes | None, str]]]:
    """A certificate, its key, the key's content, and contents that cannot be used with what is said of each."""
    clients = Authority(folder, "clients")
    for model, _ in models.values():
        model.context.load_verify_locations(clients.file)
        model.context.verify_mode = ssl.CERT_OPTIONAL
    cert, key = (Path(path) for path in clients.files("one"))
    good, other = key.read_bytes(), Path(clients.files("two")[1]).read_bytes()
    return (
        cert,
        key,
        good,
        [(other, "key values mismatch"), (good[:60], "cannot be used: "), (None, "cannot be read")],
    )


def has_said(proxy: Proxy, times: int, last: str) -> bool:
    lines = [line for line in proxy.output.splitlines() if "TLS files not renewed, the old ones stay" in line]
    return len(lines) == times and last in lines[-1]
