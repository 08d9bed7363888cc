"""Several listeners: plain, with TLS of their own, with several certificates; renewed, and spoken to in plain HTTP."""

from __future__ import annotations

import asyncio
import signal
import ssl
from pathlib import Path

import pytest

from loadtests.ports import free_port
from tests.certificates import Authority
from tests.scenarios.conftest import routing
from tests.scenarios.harness import Model, Proxy, running, wait_until

REQUEST = b"GET /predict HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


async def names_shown(port: int, authority: Authority, name: str) -> list[str]:
    """In the certificate that a client gets that asks for this name; the request is answered."""
    context = ssl.create_default_context(cafile=authority.file)
    context.check_hostname = False
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)
    try:
        writer.write(REQUEST)
        assert (await reader.read()).startswith(b"HTTP/1.1 200")
        shown = writer.get_extra_info("peercert")
        return [value for kind, value in shown["subjectAltName"] if kind == "DNS"]
    finally:
        writer.close()


async def plain(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(REQUEST)
    answer = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    return answer


def replace_files(files: tuple[str, str], by: tuple[str, str]) -> None:
    for old, new in zip(files, by, strict=True):
        Path(new).replace(old)


@pytest.mark.parametrize("workers", [0, 2])
async def test_each_listener_has_its_own_tls_which_is_renewed(
    tmp_path: Path, models: dict[str, Model], workers: int
) -> None:
    authority, secure = Authority(tmp_path), free_port()
    first, second = authority.files("a.test"), authority.files("b.test", "*.b.test")
    certificates = ", ".join(f"{{cert: {cert}, key: {key}}}" for cert, key in (first, second))
    proxy = Proxy(tmp_path, routing(models, "    split: {v2: 100%}\n"), workers)
    text = proxy.file.read_text().replace(
        f"listen: 127.0.0.1:{proxy.port}\n",
        f"listen:\n  - 127.0.0.1:{proxy.port}\n"
        f"  - {{address: 127.0.0.1:{secure}, tls: {{certificates: [{certificates}]}}}}\n",
    )
    proxy.file.write_text(text)
    async with running(proxy):
        assert f"listening on http://127.0.0.1:{proxy.port}" in proxy.output
        assert f"listening on https://127.0.0.1:{secure}" in proxy.output
        assert (await plain(proxy.port)).startswith(b"HTTP/1.1 200")
        for name, shown in (
            ("a.test", ["a.test"]),
            ("x.b.test", ["b.test", "*.b.test"]),
            ("c.test", ["a.test"]),
        ):
            assert await names_shown(secure, authority, name) == shown
        answer = await plain(secure)
        assert answer.startswith(b"HTTP/1.1 308") and b"Location: https://localhost/predict" in answer
        await asyncio.to_thread(replace_files, second, authority.files("renewed.test"))

        async def is_renewed() -> bool:
            return await names_shown(secure, authority, "renewed.test") == ["renewed.test"]

        await wait_until(is_renewed, "the second certificate is renewed")
        assert await names_shown(secure, authority, "b.test") == ["a.test"], "nobody has this name any more"


@pytest.mark.parametrize("workers", [0, 1])
async def test_a_term_in_the_middle_of_a_handshake_delays_nothing(
    tmp_path: Path, models: dict[str, Model], workers: int
) -> None:
    authority = Authority(tmp_path)
    cert, key = authority.files("localhost")
    proxy = Proxy(
        tmp_path, f"tls: {{cert: {cert}, key: {key}}}\n" + routing(models, "    split: {v2: 100%}\n"), workers
    )
    proxy.file.write_text(proxy.file.read_text().replace("drain: 5s", "drain: {delay: 0s, timeout: 1000s}"))
    async with running(proxy):
        assert await names_shown(proxy.port, authority, "localhost") == ["localhost"]
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"\x16\x03\x01\x02\x00\x01")  # the begin of a ClientHello
        await asyncio.sleep(0.1)
        proxy.child.send_signal(signal.SIGTERM)
        assert await proxy.child.wait() == 0
        assert await reader.read() == b""
        writer.close()
