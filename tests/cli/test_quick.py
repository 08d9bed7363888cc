"""`crossfade quick`: the configuration that it makes, and that it serves."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import aiohttp
import pytest

from crossfade.config.load import load
from loadtests.ports import free_port
from tests.cli.conftest import Shell
from tests.cli.test_init import serving

TIMEOUT = 60.0  # seconds


@pytest.mark.parametrize(
    ("versions", "split"),
    [
        (("v1=http://a:1",), {"v1": 10_000}),
        (("v1=http://a:1", "v2=http://b:1"), {"v1": 5000, "v2": 5000}),
        (("v1=http://a:1", "v2=http://b:1@10%"), {"v1": 9000, "v2": 1000}),
        (("v1=http://a:1", "v2=http://b:1", "v3=http://c:1"), {"v1": 3334, "v2": 3333, "v3": 3333}),
        (("v1=http://a:1@70%", "v2=http://b:1@30%"), {"v1": 7000, "v2": 3000}),
    ],
)
async def test_versions_share_the_traffic(
    shell: Shell, versions: tuple[str, ...], split: dict[str, int]
) -> None:
    words = [word for version in versions for word in ("--to", version)]
    shown = await shell.run("quick", *words, "--sticky", "json:customer_id", "--print")
    assert shown.code == 0, shown.err
    (route,) = load(shown.out, "quick.yaml", {}).config.routes
    assert (route.split, route.sticky[0].name) == (split, "customer_id")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--to", "v1=ftp://a:1"), 1, "endpoints"),
        (("--to", "v1="), 2, "give each version once"),
        (("--to", "v1=http://a:1", "--to", "v1=http://b:1"), 2, "give each version once"),
        (("--to", "v1=http://a:1@60%", "--to", "v2=http://b:1@60%"), 2, "add up to 100%, not 120%"),
        (("--to", "v1=http://a:1@60%"), 2, "add up to 100%, not 60%"),
        (("--to", "v1=http://a:1", "--sticky", "x"), 2, "must be client_ip"),
    ],
)
async def test_what_cannot_be_served_is_said(
    shell: Shell, words: tuple[str, ...], code: int, said: str
) -> None:
    result = await shell.run("quick", *words, "--print")
    assert (result.code, said in result.err) == (code, True), result.err


async def test_a_proxy_without_a_file_serves_and_leaves_nothing(tmp_path: Path) -> None:
    port, admin = free_port(), free_port()
    async with serving({"/predict": {"from": "v1"}}) as url:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "crossfade", "quick", "--to", f"v1={url}"),
            *("--listen", f"127.0.0.1:{port}", "--admin-listen", f"127.0.0.1:{admin}"),
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "TMPDIR": str(tmp_path)},
        )
        try:
            async with asyncio.timeout(TIMEOUT), aiohttp.ClientSession() as session:
                while True:
                    try:
                        async with session.get(f"http://127.0.0.1:{port}/predict") as response:
                            if response.status == 200:
                                assert response.headers["x-crossfade-backend"] == "v1"
                                break
                    except aiohttp.ClientError:
                        pass
                    await asyncio.sleep(0.05)
        finally:
            process.send_signal(signal.SIGTERM)
            _, errors = await asyncio.wait_for(process.communicate(), TIMEOUT)
    assert process.returncode == 0, errors.decode()
    assert f"serving at http://127.0.0.1:{port}" in errors.decode()
    assert os.listdir(tmp_path) == []
