"""Visitors without a key: the cookie that the proxy assigns is valid in each worker and after a restart."""

from __future__ import annotations

import signal
from pathlib import Path

import aiohttp

from tests.scenarios.conftest import routing
from tests.scenarios.harness import Model, Proxy, running

SPLIT = "    split: {v2: 50%, v3: 50%}\n"
VISITORS = 10


def assigning(models: dict[str, Model], more: str = "") -> str:
    written = routing(models, SPLIT).replace(
        "sticky: {json: customer_id}", f"sticky: [{{json: customer_id}}, {{assign: {{cookie: cf_id{more}}}}}]"
    )
    assert "assign" in written
    return written


async def visit(proxy: Proxy, cookie: str = "", body: bytes = b"{}") -> tuple[str, str]:
    """The backend, and the value of the cookie that the answer gives, over a connection of its own."""
    headers = {"Cookie": f"cf_id={cookie}"} if cookie else {}
    async with (
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
        session.post(f"{proxy.url}/predict", data=body, headers=headers) as response,
    ):
        assert response.status == 200
        given = response.cookies.get("cf_id")
        return response.headers["x-crossfade-backend"], given.value if given is not None else ""


async def test_visitors_keep_their_backend_in_all_workers_and_after_a_restart(
    tmp_path: Path, models: dict[str, Model]
) -> None:
    proxy = Proxy(tmp_path, assigning(models), workers=3)
    async with running(proxy):
        visitors = [await visit(proxy) for _ in range(VISITORS)]
        assert all(cookie for _, cookie in visitors)
        for _ in range(3):
            for backend, cookie in visitors:
                assert await visit(proxy, cookie) == (backend, "")
        assert (await visit(proxy, body=b'{"customer_id": 7}'))[1] == "", "the body has a key"

        await proxy.stop(signal.SIGINT)
        await proxy.start()
        for backend, cookie in visitors:
            assert await visit(proxy, cookie) == (backend, "")
        decided = len(await proxy.get("/api/v1/decisions"))

        proxy.write(assigning(models, ", max_age: 1h, same_site: strict"))  # an edit acts, and moves nobody
        assert (await proxy.call("POST", "/api/v1/reload"))[0] in (200, 204)
        for backend, cookie in visitors:
            assert (await visit(proxy, cookie))[0] == backend
        assert len(await proxy.get("/api/v1/decisions")) == decided
        async with aiohttp.ClientSession() as session, session.post(f"{proxy.url}/predict") as response:
            (field,) = response.headers.getall("Set-Cookie")
            assert field.endswith("; Max-Age=3600; Path=/; HttpOnly; SameSite=Strict")
        secret = "a secret that all replicas have"
        proxy.write(f"cookie_secrets: {secret}\n" + assigning(models))
        assert (await proxy.call("POST", "/api/v1/reload"))[0] in (200, 204)
        assert (await visit(proxy, visitors[0][1]))[1] != "", "another secret: a new id"
        for path in ("/api/v1/config", "/api/v1/status", "/api/v1/routes/churn"):
            assert secret not in str(await proxy.call("GET", path))
