"""Endpoints that are killed and restarted, use TLS, a unix socket, or start late."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import aiohttp
import pytest

from tests.certificates import Authority
from tests.dataplane.model_over_tls import TlsModel
from tests.scenarios.harness import Load, Model, Proxy, running, wait_until

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


async def test_no_request_fails_when_replicas_are_killed_and_restarted(tmp_path: Path) -> None:
    first, second = Model("v2"), Model("v2")
    urls = [f"http://127.0.0.1:{model.port}" for model in (first, second)]
    proxy = Proxy(tmp_path, backend(*urls, more="    slow_start: 200ms\n"))

    async def kill(model: Model, expected: list[bool]) -> None:
        await model.stop(signal.SIGKILL)

        async def detected() -> bool:
            return await up(proxy) == expected

        await wait_until(detected, "the proxy to detect the killed endpoint")

    async def restart(model: Model) -> Model:
        restarted = Model("v2", model.port)
        await restarted.start()

        async def is_up() -> bool:
            return all(await up(proxy))

        await wait_until(is_up, "the proxy to detect the restarted endpoint")
        return restarted

    async with running(first, second, proxy), Load(proxy.url) as load:
        await load.wait_for_answers(200)
        await kill(first, [False, True])
        await load.wait_for_answers(200)
        first_again = await restart(first)
        await load.wait_for_answers(200)
        await kill(second, [True, False])
        await load.wait_for_answers(200)
        second_again = await restart(second)
        await load.wait_for_answers(200)
        for model in (first_again, second_again):
            await load.wait_for_answers(1)
            assert model.child.returncode is None
        load.stopping = True
        assert load.failures == []
        for model in (first_again, second_again):
            await model.stop()
            model.log.close()


async def predict(proxy: Proxy) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.post(f"{proxy.url}/predict", data="x") as answer:
        return answer.status, await answer.text()


async def test_the_ca_of_a_backend_is_verified_and_reloaded(tmp_path: Path) -> None:
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
            assert await predict(proxy) == (200, "v2")
            assert "proxy.internal" in str(model.shown[-1])
            shutil.copy(stranger.file, trusted)
            assert (await proxy.call("POST", "/api/v1/reload"))[0] == 200

            async def is_down() -> bool:
                return await up(proxy) == [False]

            await wait_until(is_down, "the probes to fail")
            status, text = await predict(proxy)
            assert (status, "TLS handshake" in text) == (502, True)  # panic: it is tried all the same
            assert f"{at} of v2 is down: [SSL: CERTIFICATE_VERIFY_FAILED]" in proxy.output
            shutil.copy(authority.file, trusted)
            assert (await proxy.call("POST", "/api/v1/reload"))[0] == 200

            async def is_up() -> bool:
                return await up(proxy) == [True]

            await wait_until(is_up, "the endpoint to be verified again")
            assert await predict(proxy) == (200, "v2")

            Path(cert).write_text("no certificate")  # noqa: ASYNC240
            status, answer = await proxy.call("POST", "/api/v1/reload")
            assert status == 422, answer
            assert "backends.v2.tls" in str(answer)
            assert await predict(proxy) == (200, "v2")


async def test_a_model_on_a_unix_socket_is_served(tmp_path: Path) -> None:
    path = tmp_path / "model.sock"
    model = TlsModel("v2", None)
    proxy = Proxy(tmp_path, backend(f"unix://{path}"))
    async with model.serving(str(path)), running(proxy):
        assert await predict(proxy) == (200, "v2")
        assert await up(proxy) == [True]
        page = (await proxy.call("GET", "/metrics"))[1]
        assert f'endpoint="unix://{path}"' in page


@pytest.mark.parametrize("path", ["/health", None], ids=["get", "connect"])
async def test_a_model_that_starts_late_is_up_at_its_first_good_probe(
    tmp_path: Path, path: str | None
) -> None:
    """`healthy_after` applies only to an endpoint that was up before."""
    model = TlsModel("v2", None)
    socket = tmp_path / "model.sock"
    how = f"path: {path}, " if path else ""
    more = f"    health: {{{how}interval: 50ms, unhealthy_after: 1, healthy_after: 1000000}}\n"
    text = backend(f"unix://{socket}").replace("    health: {interval: 100ms}\n", more)
    proxy = Proxy(tmp_path, text)
    async with running(proxy):

        async def is_down() -> bool:
            return await up(proxy) == [False]

        await wait_until(is_down, "the endpoint to be down")
        async with model.serving(str(socket)):

            async def is_served() -> bool:
                return await predict(proxy) == (200, "v2")

            await wait_until(is_served, "the endpoint to be up")
