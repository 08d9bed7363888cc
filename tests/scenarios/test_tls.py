"""TLS towards clients, plain HTTP towards models; backends learn of it by X-Forwarded-Proto."""

from __future__ import annotations

import ssl
from pathlib import Path

import aiohttp
import pytest

from tests.scenarios.conftest import routing
from tests.scenarios.stagehands import Model, Proxy, running

TLS = Path(__file__).parent / "tls"  # a self-signed certificate for localhost, good for nothing else


async def test_a_client_speaks_tls(tmp_path: Path, models: dict[str, Model]) -> None:
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
    with pytest.raises(AssertionError, match=r"none\.pem"):
        async with running(proxy):
            pass
    assert proxy.child.returncode == 1
