"""TLS between client and proxy: certificates, their renewal, client certificates, and protocol versions."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
from pathlib import Path

import aiohttp
import pytest

from tests.scenarios.conftest import routing
from tests.scenarios.harness import Model, Proxy, running, wait_until

TLS = Path(__file__).parent / "tls"  # a self-signed certificate for localhost, only for tests


async def test_requests_over_tls_are_answered(tmp_path: Path, models: dict[str, Model]) -> None:
    tls = f"tls: {{cert: {TLS}/cert.pem, key: {TLS}/key.pem}}\n"
    proxy = Proxy(tmp_path, tls + routing(models, "    split: {v2: 100%}\n"))
    trusting = ssl.create_default_context(cafile=str(TLS / "cert.pem"))
    async with running(proxy), aiohttp.ClientSession() as session:
        for _ in range(3):
            async with session.post(
                f"https://localhost:{proxy.port}/predict", json={"customer_id": 1}, ssl=trusting
            ) as response:
                assert (response.status, await response.text()) == (200, "v2")
        with pytest.raises(aiohttp.ClientError):
            await session.get(f"{proxy.url}/predict")
        assert "https" in proxy.output


async def test_a_missing_certificate_is_named(tmp_path: Path, models: dict[str, Model]) -> None:
    tls = f"tls: {{cert: {tmp_path}/none.pem, key: {tmp_path}/none.key}}\n"
    proxy = Proxy(tmp_path, tls + routing(models, "    split: {v2: 100%}\n"))
    with pytest.raises(AssertionError, match=r"tls\.cert: cannot be read"):
        async with running(proxy):
            pass
    assert proxy.child.returncode == 1


def certificate(folder: Path, name: str, *signed_by: str) -> None:
    """Writes `name`.pem and `name`.key for localhost: self-signed, or signed by another one of the folder."""
    signing = (
        ["-CA", f"{folder}/{signed_by[0]}.pem", "-CAkey", f"{folder}/{signed_by[0]}.key"] if signed_by else []
    )
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
         "-keyout", f"{folder}/{name}.key", "-out", f"{folder}/{name}.pem", *signing],
        check=True, capture_output=True,
    )  # fmt: skip


def certificate_name(port: int, context: ssl.SSLContext | None = None) -> str:
    """The name in the server certificate of a new connection. Raises OSError."""
    if context is None:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", port), timeout=30) as sock,
        context.wrap_socket(sock, server_hostname="localhost") as tls,
    ):
        tls.sendall(b"GET /predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        first = tls.recv(12)  # with TLS 1.3 a client learns only here that it was refused
        if not first:
            raise ConnectionError("the client was refused")
        assert first == b"HTTP/1.1 200"
        der = tls.getpeercert(binary_form=True)
        assert der is not None
        found = subprocess.run(
            ["openssl", "x509", "-inform", "DER", "-noout", "-subject", "-nameopt", "multiline"],
            input=der, capture_output=True, check=True,
        )  # fmt: skip
        return found.stdout.decode().split("= ")[1].strip()


def install(folder: Path, name: str) -> None:
    """Replaces `served.key` and `served.pem` atomically."""
    for kind in ("key", "pem"):
        (folder / "new").write_bytes((folder / f"{name}.{kind}").read_bytes())
        (folder / "new").replace(folder / f"served.{kind}")


@pytest.mark.parametrize("workers", [2, 0])
async def test_a_certificate_is_renewed_without_a_restart(
    tmp_path: Path, models: dict[str, Model], workers: int
) -> None:
    """A change of the file is enough. Invalid files change nothing and are logged."""
    for name in ("first", "second"):
        certificate(tmp_path, name)
    install(tmp_path, "first")
    tls = f"tls: {{cert: {tmp_path}/served.pem, key: {tmp_path}/served.key}}\n"
    proxy = Proxy(tmp_path, tls + routing(models, "    split: {v2: 100%}\n"), workers)
    async with running(proxy):
        assert await asyncio.to_thread(certificate_name, proxy.port) == "first"
        (tmp_path / "served.pem").write_text("no certificate")
        await wait_until(
            lambda: "TLS files not renewed, the old ones stay: tls.key: " in proxy.output,
            "the log line about the invalid certificate",
        )
        assert await asyncio.to_thread(certificate_name, proxy.port) == "first"
        install(tmp_path, "second")

        async def renewed() -> bool:
            return {await asyncio.to_thread(certificate_name, proxy.port) for _ in range(4)} == {"second"}

        await wait_until(renewed, "the second certificate")


@pytest.mark.parametrize("required", [True, False])
async def test_only_clients_with_a_known_certificate_are_accepted(
    tmp_path: Path, models: dict[str, Model], required: bool
) -> None:
    for name, signed_by in (("ca", ()), ("known", ("ca",)), ("stranger", ())):
        certificate(tmp_path, name, *signed_by)
    tls = (
        f"tls: {{cert: {TLS}/cert.pem, key: {TLS}/key.pem, client_ca: {tmp_path}/ca.pem, "
        f"client_auth: {'required' if required else 'optional'}}}\n"
    )
    proxy = Proxy(tmp_path, tls + routing(models, "    split: {v2: 100%}\n"))

    def client(name: str | None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(TLS / "cert.pem"))
        if name is not None:
            context.load_cert_chain(tmp_path / f"{name}.pem", tmp_path / f"{name}.key")
        return context

    async with running(proxy):
        await asyncio.to_thread(certificate_name, proxy.port, client("known"))
        with pytest.raises(OSError):
            await asyncio.to_thread(certificate_name, proxy.port, client("stranger"))
        if required:
            with pytest.raises(OSError):
                await asyncio.to_thread(certificate_name, proxy.port, client(None))
        else:
            await asyncio.to_thread(certificate_name, proxy.port, client(None))


async def test_http_1_1_is_negotiated_and_tls_1_1_is_refused(
    tmp_path: Path, models: dict[str, Model]
) -> None:
    """HTTP/1.1 by ALPN, and no version before TLS 1.2."""
    tls = f"tls: {{cert: {TLS}/cert.pem, key: {TLS}/key.pem}}\n"
    proxy = Proxy(tmp_path, tls + routing(models, "    split: {v2: 100%}\n"))
    async with running(proxy):
        for wanted, expected in (("-tls1_3", "TLSv1.3"), ("-tls1_2", "TLSv1.2"), ("-tls1_1", "")):
            process = await asyncio.create_subprocess_exec(
                "openssl", "s_client", "-connect", f"127.0.0.1:{proxy.port}", wanted, "-alpn", "h2,http/1.1",
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
            output = (await process.communicate())[0].decode()
            if expected:
                assert f"New, {expected}, Cipher is" in output
                assert "ALPN protocol: http/1.1" in output
            else:
                assert "Cipher is (NONE)" in output
