"""Who trains is told of each order: signed, again after a failure, with the same id, and never of another URL."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from crossfade.control import retrain_runner
from crossfade.control.retrain_runner import RetrainRunner
from crossfade.control.views import RetrainView
from crossfade.control.webhook import MAX_ANSWER
from tests.control.harness import CANARY, HEAD, Harness
from tests.control.pauses import without_pauses

SECRET = "a secret of the webhook"
TIMEOUT = 60.0


class Trainer:
    """A webhook. `answers`: status and body of each call; the last one goes on."""

    def __init__(self, *answers: tuple[int, str]) -> None:
        self.answers = list(answers) or [(202, '{"version": "v5"}')]
        self.calls: list[tuple[dict[str, str], bytes]] = []
        self.hold = asyncio.Event()
        self.hold.set()

    async def answer(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.calls.append((headers, await request.read()))
        await self.hold.wait()
        status, text = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        headers = {"Location": "/elsewhere"} if status == 302 else {}
        return web.Response(status=status, text=text, headers=headers)

    @property
    def orders(self) -> list[Any]:
        return [json.loads(body) for _, body in self.calls]


@asynccontextmanager
async def webhook(trainer: Trainer) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/hooks/7f3a9c", trainer.answer)
    server = TestServer(app, host="127.0.0.1")
    await server.start_server()
    try:
        yield f"http://127.0.0.1:{server.port}/hooks/7f3a9c"
    finally:
        trainer.hold.set()
        await server.close()


@asynccontextmanager
async def running(harness: Harness) -> AsyncIterator[RetrainRunner]:
    runner = RetrainRunner(harness.controller.retrain)
    runner.begin("http://127.0.0.1:9901")
    try:
        yield runner
    finally:
        await runner.close()


def retrain(way: str, more: str = "") -> str:
    return f"{CANARY}    retrain: {{on: data_drift, {way}{more}}}\n"


def command(code: str, *more: str) -> str:
    return f"command: {json.dumps([sys.executable, '-c', code, *more])}"


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(TIMEOUT):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    return without_pauses(monkeypatch, retrain_runner)


async def ended(yaml: str, evidence: Any = None) -> tuple[Harness, RetrainView]:
    harness = Harness()
    await harness.load(yaml)
    async with running(harness):
        assert harness.controller.retrain.trigger("churn", "data_drift", evidence)
        await until(lambda: harness.controller.retrain.view("churn").last)
    return harness, harness.controller.retrain.view("churn")


async def outcome(yaml: str) -> tuple[str, str]:
    _, view = await ended(yaml)
    assert view.last is not None
    return view.last.outcome, view.last.detail


async def test_a_webhook_gets_the_order_and_its_answer_is_kept():
    trainer = Trainer()
    async with webhook(trainer) as url:
        harness, view = await ended(retrain(f"webhook: {url}"), {"age": 0.4})
    (order,) = trainer.orders
    assert order == {
        "id": view.last.id if view.last else None,
        "route": "churn",
        "reason": "data_drift",
        "at": harness.now,
        "evidence": {"age": 0.4},
        "champion": {"backend": "v2", "version": None},
        "predictions": "http://127.0.0.1:9901/api/v1/predictions/churn?labelled=true",
    }
    headers, _ = trainer.calls[0]
    assert headers["idempotency-key"] == order["id"]
    assert "x-crossfade-signature" not in headers
    assert view.last is not None
    assert (view.last.outcome, view.last.answer) == ("succeeded", {"version": "v5"})


async def test_the_rows_are_ripe_and_the_champion_is_named_by_the_registry():
    trainer = Trainer()
    head = HEAD.replace("9002], health: false", "9002], health: false, registry: churn/2")
    async with webhook(trainer) as url:
        harness = Harness()
        yaml = retrain(f"webhook: {url}") + "    feedback: {horizon: 7d}\n"
        await harness.load(yaml, "\nregistry: {kind: folder, uri: models}" + head)
        async with running(harness):
            assert harness.controller.retrain.trigger("churn", "data_drift", None)
            await until(lambda: harness.controller.retrain.view("churn").last)
    (order,) = trainer.orders
    ripe = harness.now - 7 * 86_400
    assert order["predictions"].endswith(f"/api/v1/predictions/churn?labelled=true&until={ripe:.3f}")
    assert order["champion"] == {"backend": "v2", "version": "churn/2"}


async def test_the_signature_is_of_the_time_and_the_body():
    trainer = Trainer()
    async with webhook(trainer) as url:
        await ended(retrain(f"webhook: {url}", f", secret: {SECRET}"))
    headers, body = trainer.calls[0]
    at, digest = (part.partition("=")[2] for part in headers["x-crossfade-signature"].split(","))
    assert abs(int(at) - time.time()) < TIMEOUT
    assert digest == hmac.new(SECRET.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()


async def test_a_failure_is_tried_again_with_the_same_id(no_pauses: list[float]):
    trainer = Trainer((503, "not now"), (429, ""), (202, "accepted"))
    async with webhook(trainer) as url:
        harness, view = await ended(retrain(f"webhook: {url}"))
    assert len({order["id"] for order in trainer.orders}) == 1
    assert (len(trainer.orders), no_pauses) == (3, [1.0, 2.0])
    assert view.last is not None and view.last.answer == "accepted"
    assert (await harness.decisions())[-1].evidence["attempts"] == 3
    assert harness.controller.retrain.counts()["churn", "retried"] == 2


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((404, "no such hook"), "the webhook answered 404: no such hook"),
        ((302, ""), "the webhook answered 302"),
    ],
)
async def test_an_answer_that_stays_is_not_tried_again(answer: tuple[int, str], said: str):
    trainer = Trainer(answer)
    async with webhook(trainer) as url:
        assert await outcome(retrain(f"webhook: {url}")) == ("failed", said)
    assert len(trainer.calls) == 1


async def test_all_attempts_fail_and_the_url_is_said_nowhere(caplog: pytest.LogCaptureFixture):
    yaml = retrain("webhook: 'http://127.0.0.1:1/hooks/7f3a9c'", ", attempts: 3")
    harness, view = await ended(yaml)
    assert view.last is not None
    assert (view.last.outcome, view.last.detail) == (
        "failed", "the webhook cannot be reached (connection refused)",
    )  # fmt: skip
    assert harness.controller.retrain.counts()["churn", "retried"] == 2
    assert "7f3a9c" not in caplog.text + str(await harness.decisions())


async def test_an_answer_that_does_not_come_in_time():
    trainer = Trainer()
    trainer.hold.clear()
    async with webhook(trainer) as url:
        found = await outcome(retrain(f"webhook: {url}", ", timeout: 50ms, attempts: 1"))
    assert found == ("failed", "no answer within 0.05s")


async def test_an_answer_without_end_is_cut():
    trainer = Trainer((200, "x" * 1_000_000))
    async with webhook(trainer) as url:
        _, view = await ended(retrain(f"webhook: {url}"))
    assert view.last is not None and len(view.last.answer) <= MAX_ANSWER


async def test_a_command_reads_the_order_and_its_last_line_is_the_answer():
    code = (
        "import json, os, sys; order = json.load(sys.stdin); print('training'); "
        "print(json.dumps([order['reason'], os.environ['CROSSFADE_ADMIN_URL'], os.environ['CROSSFADE_ORDER'] == order['id']]))"
    )
    _, view = await ended(retrain(command(code), ", api: 'http://proxy:9901'"))
    assert view.last is not None
    assert (view.last.outcome, view.last.answer) == ("succeeded", ["data_drift", "http://proxy:9901", True])


@pytest.mark.parametrize(
    ("way", "said"),
    [
        (command("import sys; sys.exit('no rows')"), "the command ended with 1: no rows"),
        (command("import os; os.close(0); os.kill(os.getpid(), 9)"), "the command ended with -9"),
        ("command: /nothing/there", "the command cannot be run: No such file or directory"),
    ],
)
async def test_a_command_that_fails(way: str, said: str):
    assert await outcome(retrain(way, ", attempts: 1")) == ("failed", said)


async def test_what_a_command_leaves_behind_ends_with_it(tmp_path: Path):
    """Its time is over, and so are the processes that it has started."""
    mark = tmp_path / "pid"
    child = f"import os, time; open({str(mark)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
    harness = Harness()
    await harness.load(retrain(command(code, child), ", timeout: 60s, attempts: 1"))
    async with running(harness):
        harness.controller.retrain.trigger("churn", "data_drift", None)
        await until(lambda: mark.exists() and mark.read_text())
    pid = int(mark.read_text())
    await until(lambda: not is_alive(pid))
    assert harness.controller.retrain.view("churn").order is not None  # the next start tries it again


def is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_a_runner_carries_out_what_one_before_has_left():
    trainer = Trainer((503, ""))
    harness = Harness()
    async with webhook(trainer) as url:
        yaml = retrain(f"webhook: {url}", ", attempts: 1000000")
        await harness.load(yaml)
        async with running(harness):
            harness.controller.retrain.trigger("churn", "data_drift", None)
            await until(lambda: trainer.calls)
        trainer.answers = [(200, "")]
        again = Harness(harness.store)
        again.now = harness.now
        await again.load(yaml)
        async with running(again):
            await until(lambda: again.controller.retrain.view("churn").last)
        assert len({order["id"] for order in trainer.orders}) == 1
        assert await again.actions() == ["start", "retrain", "retrained"]


async def test_the_end_of_an_order_waits_for_the_disk_and_nobody_is_told_again(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(retrain_runner, "WRITE_AGAIN", 0.01)
    trainer = Trainer()
    trainer.hold.clear()
    harness = Harness()
    async with webhook(trainer) as url:
        await harness.load(retrain(f"webhook: {url}"))
        journal, tries = harness.controller.journal, []
        write = journal.write_first

        async def fail(*what: Any) -> None:
            tries.append(what)

        async with running(harness):
            harness.controller.retrain.trigger("churn", "data_drift", None)
            await until(lambda: trainer.calls)
            monkeypatch.setattr(journal, "write_first", fail)
            trainer.hold.set()
            await until(lambda: len(tries) > 3)
            monkeypatch.setattr(journal, "write_first", write)
            await until(lambda: harness.controller.retrain.view("churn").last)
    assert len(trainer.calls) == 1


async def test_a_webhook_that_the_file_changes_gets_the_next_attempt():
    first, second = Trainer((503, "")), Trainer()
    harness = Harness()
    async with webhook(first) as old, webhook(second) as new:
        await harness.load(retrain(f"webhook: {old}", ", attempts: 1000000"))
        async with running(harness):
            harness.controller.retrain.trigger("churn", "data_drift", None)
            await until(lambda: first.calls)
            await harness.load(retrain(f"webhook: {new}"))
            await until(lambda: harness.controller.retrain.view("churn").last)
    assert second.orders[0]["id"] == first.orders[0]["id"]
