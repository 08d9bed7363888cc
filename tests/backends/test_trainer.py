"""The webhook of the pipeline: what it accepts, and that an accepted order is carried out once, whatever happens."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestServer

from crossfade_backends.trainer import MAX_AGE, Trainer, is_signed, listen
from tests.backends.predictions import as_lines, rows, serving
from tests.backends.test_retrain import ENOUGH, order

SECRET = "0123456789abcdef"
TIMEOUT = 200.0


def signed(body: bytes, at: float, secret: str = SECRET) -> str:
    digest = hmac.new(secret.encode(), f"{int(at)}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={int(at)},v1={digest}"


@asynccontextmanager
async def answering(registry: Path, secret: str = "") -> AsyncIterator[ClientSession]:
    server = TestServer(Trainer(registry, secret, ["--registry", str(registry)]).app(), host="127.0.0.1")
    await server.start_server()
    try:
        async with ClientSession(f"http://127.0.0.1:{server.port}") as session:
            yield session
    finally:
        await server.close()


async def post(session: ClientSession, body: str, **headers: str) -> tuple[int, Any]:
    async with session.post("/retrain", data=body, headers=headers) as answer:
        return answer.status, await answer.json()


async def ended(session: ClientSession, name: str) -> Any:
    async with asyncio.timeout(TIMEOUT):
        while True:
            async with session.get(f"/orders/{name}") as answer:
                found = await answer.json()
            if found["state"] != "waiting":
                return found
            await asyncio.sleep(0.05)


async def test_an_accepted_order_is_carried_out_and_accepted_again(tmp_path: Path, registry: Path):
    root = tmp_path / "models"
    await asyncio.to_thread(shutil.copytree, registry, root)
    with serving(as_lines(rows(ENOUGH))) as log:
        async with answering(root) as session:
            assert await post(session, order(log.url)) == (202, {"order": "1764276000-3", "accepted": "now"})
            found = await ended(session, "1764276000-3")
            assert (found["state"], found["version"], found["stage"]) == (
                "succeeded", "r1764276000-3", "staging",
            )  # fmt: skip
            assert (await post(session, order(log.url)))[0] == 200
            assert len(log.asked) == 1


async def test_a_trainer_goes_on_with_what_one_before_had_accepted(tmp_path: Path):
    root = tmp_path / "models"
    trainer = Trainer(root, "", ["--registry", str(root)])
    with serving(b"") as log:
        assert await asyncio.to_thread(trainer._keep, "7", order(log.url, id="7").encode())
        async with answering(root) as session:
            found = await ended(session, "7")
            assert (found["state"], "0 rows to train on" in found["detail"]) == ("failed", True)
        async with answering(root) as session:
            assert (await ended(session, "7"))["state"] == "failed"
            assert len(log.asked) == 1


async def test_what_is_not_signed_or_no_order_is_refused(tmp_path: Path):
    body = order("http://127.0.0.1:1/")
    async with answering(tmp_path, SECRET) as session:
        assert (await post(session, body))[0] == 401
        wrong = signed(body.encode(), time.time(), "another secret, as long")
        assert (await post(session, body, **{"X-Crossfade-Signature": wrong}))[0] == 401
        right = signed(body.encode(), time.time())
        assert (await post(session, body, **{"X-Crossfade-Signature": right}))[0] == 202
        foreign = '{"id": "x"}'
        header = signed(foreign.encode(), time.time())
        status, said = await post(session, foreign, **{"X-Crossfade-Signature": header})
        assert (status, said["detail"]) == (422, "no order: predictions: Field required")
        async with session.get("/orders/nothing") as answer:
            assert answer.status == 404


@pytest.mark.parametrize(
    ("given", "ok"),
    [
        (signed(b"x", 1000), True),
        (signed(b"x", 1000 - MAX_AGE), True),
        (signed(b"x", 999 - MAX_AGE), False),
        (signed(b"x", 1001 + MAX_AGE), False),
        (signed(b"y", 1000), False),
        ("", False),
        ("t=,v1=", False),
        ("t=1000", False),
        (f"t={'9' * 5000},v1=a", False),
        ("t=1000,v1=é", False),
    ],
)
def test_signatures(given: str, ok: bool):
    assert is_signed(SECRET, given, b"x", 1000.0) is ok


def test_a_place_without_a_port_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert listen("8100", tmp_path, "", []) == 2
    assert "must be HOST:PORT" in capsys.readouterr().err


@pytest.mark.parametrize(("host", "token"), [("0.0.0.0", ""), ("127.0.0.1", "abc")])
def test_orders_of_anybody_are_refused_where_they_could_do_harm(
    host: str, token: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("CROSSFADE_ADMIN_TOKEN", token)
    assert listen(f"{host}:0", tmp_path, "", []) == 2
    assert "needs CROSSFADE_RETRAIN_SECRET" in capsys.readouterr().err


def test_an_order_on_disk_is_what_came(tmp_path: Path):
    trainer = Trainer(tmp_path, "", [])
    assert trainer._keep("a", b'{"id": "a"}')
    assert not trainer._keep("a", b"{}")
    assert json.loads(trainer._path("a", "order").read_bytes()) == {"id": "a"}
    assert trainer._left() == ["a"]
