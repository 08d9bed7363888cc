"""Endpoints of a backend that die, come back and speak TLS, with the whole proxy."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import aiohttp
import pytest

from tests.certificates import Authority
from tests.dataplane.model_over_tls import TlsModel
from tests.scenarios.stagehands import Load, Model, Proxy, running, wait_until

ROUTES = """\
routes:
  - {name: churn, match: {path: /predict}, split: {v2: 100%}, retry: {pure: true}}
"""


def backend(*endpoints: str, more: str = "") -> str:
    listed = ", ".join(endpoints)
    return f"backends:\n  v2:\n    endpoints: [{listed}]\n    health: {{interval: 100ms}}\n{more}{ROUTES}"


async def up(proxy: Proxy) -> list[bool]:
    found = await proxy.get("/api/v1/backends/v2")
    return [endpoint["up"] for endpoint in found["endpoints"]]


async def test_replicas_die_and_come_back_and_no_client_notices(tmp_path: Path) -> None:
    first, second = Model("v2"), Model("v2")
    urls = [f"http://127.0.0.1:{model.port}" for model in (first, second)]
    proxy = Proxy(tmp_path, backend(*urls, more="    slow_start: 200ms\n"))

    async def dies(model: Model, then: list[bool]) -> None:
        await model.stop(signal.SIGKILL)

        async def is_so() -> bool:
            return await up(proxy) == then

        await wait_until(is_so, "the proxy knows")

    async def comes_back(model: Model) -> Model:
        again = Model("v2", model.port)
        await again.start()

        async def is_up() -> bool:
            return all(await up(proxy))

        await wait_until(is_up, "the proxy knows")
        return again

    async with running(first, second, proxy), Load(proxy.url) as load:
        await load.more(200)
        await dies(first, [False, True])
        await load.more(200)
        first_again = await comes_back(first)
        await load.more(200)
        await dies(second, [True, False])
        await load.more(200)
        second_again = await comes_back(second)
        await load.more(200)
        for model in (first_again, second_again):
            await load.more(1)
            assert model.child.returncode is None
        load.stopping = True
        assert load.failures == []
        for model in (first_again, second_again):
            await model.stop()
            model.log.close()


async def asked(proxy: Proxy) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.post(f"{proxy.url}/predict", data="x") as answer:
        return answer.status, await answer.text()


async def test_certificates_are_checked_shown_and_read_anew(tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path), Authority(tmp_path, "stranger")
    model = TlsModel("v2", authority.server("127.0.0.1", clients=authority))
    cert, key = authority.files("proxy.internal")
    trusted = tmp_path / "trusted.pem"
    shutil.copy(authority.file, trusted)
    tls = f"    tls: {{ca: {trusted}, cert: {cert}, key: {key}}}\n"
    async with model.serving() as port:
        at = f"https://127.0.0.1:{port}"
        proxy = Proxy(tmp_path, backend(at, more=tls))
        async with running(proxy):
            assert await asked(proxy) == (200, "v2")
            assert "proxy.internal" in str(model.shown[-1])
            shutil.copy(stranger.file, trusted)
            assert (await proxy.call("POST", "/api/v1/reload"))[0] == 200

            async def is_down() -> bool:
                return await up(proxy) == [False]

            await wait_until(is_down, "its probes fail too")
            status, text = await asked(proxy)
            assert (status, "endpoint" in text) == (503, True)
            assert f"{at} of v2 is down: [SSL: CERTIFICATE_VERIFY_FAILED]" in proxy.output
            shutil.copy(authority.file, trusted)
            assert (await proxy.call("POST", "/api/v1/reload"))[0] == 200

            async def is_up() -> bool:
                return await up(proxy) == [True]

            await wait_until(is_up, "it is verified again")
            assert await asked(proxy) == (200, "v2")

            Path(cert).write_text("no certificate")  # noqa: ASYNC240
            status, answer = await proxy.call("POST", "/api/v1/reload")
            assert status == 422, answer
            assert "backends.v2.tls" in str(answer)
            assert await asked(proxy) == (200, "v2")


async def test_a_model_at_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "model.sock"
    model = TlsModel("v2", None)
    proxy = Proxy(tmp_path, backend(f"unix://{path}"))
    async with model.serving(str(path)), running(proxy):
        assert await asked(proxy) == (200, "v2")
        assert await up(proxy) == [True]
        page = (await proxy.call("GET", "/metrics"))[1]
        assert f'endpoint="unix://{path}"' in page


@pytest.mark.parametrize("path", ["/health", None], ids=["get", "connect"])
async def test_a_model_that_starts_late_is_up_at_its_first_good_probe(
    tmp_path: Path, path: str | None
) -> None:
    """However many successes an endpoint that was up before would need."""
    model = TlsModel("v2", None)
    socket = tmp_path / "model.sock"
    how = f"path: {path}, " if path else ""
    more = f"    health: {{{how}interval: 50ms, unhealthy_after: 1, healthy_after: 1000000}}\n"
    text = backend(f"unix://{socket}").replace("    health: {interval: 100ms}\n", more)
    proxy = Proxy(tmp_path, text)
    async with running(proxy):

        async def is_down() -> bool:
            return await up(proxy) == [False]

        await wait_until(is_down, "nobody is there")
        async with model.serving(str(socket)):

            async def answers() -> bool:
                return await asked(proxy) == (200, "v2")

            await wait_until(answers, "it is up")
