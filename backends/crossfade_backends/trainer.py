"""Answers the proxy's retraining webhook: accepts an order, and carries it out in a process of its own.

Rule: an order is on disk before it is accepted, so a trainer that was killed goes on with it. One order is carried out at a time; an id
that was accepted before is accepted again and begins nothing. With a secret, a body that is not signed with it is refused.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import uvloop
from aiohttp import web

from crossfade_backends.orders import ORDERS, read_order
from crossfade_backends.registry import write_whole

MAX_BODY = 1 << 20
MAX_AGE = 300.0  # seconds; an older signature is refused
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_SHOWN = 2000  # characters of what went wrong


def is_signed(secret: str, given: str, body: bytes, now: float) -> bool:
    """`given`: `t=UNIX TIME,v1=HEX`, of HMAC-SHA-256 over the time, a dot and the body."""
    parts = dict(part.partition("=")[::2] for part in given.split(","))
    at, digest = parts.get("t", ""), parts.get("v1", "")
    if not at.isdecimal() or len(at) > 12 or abs(now - int(at)) > MAX_AGE:
        return False
    wanted = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(wanted.encode(), digest.encode())


class Trainer:
    """`arguments`: of the command that carries out an order. `secret`: "" accepts what is not signed."""

    def __init__(self, registry: Path, secret: str, arguments: Sequence[str]) -> None:
        self.folder = registry / ORDERS
        self.secret, self.arguments = secret, arguments
        self.waiting: asyncio.Queue[str] = asyncio.Queue()

    def app(self) -> web.Application:
        app = web.Application(client_max_size=MAX_BODY)
        app.add_routes(
            [
                web.post("/retrain", self.accept),
                web.get("/orders/{order}", self.show),
                web.get("/health", self.health),
            ]
        )
        app.cleanup_ctx.append(self._work)
        return app

    async def accept(self, request: web.Request) -> web.Response:
        body = await request.read()
        signed = request.headers.get("X-Crossfade-Signature", "")
        if self.secret and not is_signed(self.secret, signed, body, time.time()):
            return web.json_response({"detail": "not signed with the secret, or too long ago"}, status=401)
        try:
            order = read_order(body)
        except ValueError as error:
            return web.json_response({"detail": str(error)}, status=422)
        if not await asyncio.to_thread(self._keep, order.id, body):
            return web.json_response({"order": order.id, "accepted": "before"})
        self.waiting.put_nowait(order.id)
        return web.json_response({"order": order.id, "accepted": "now"}, status=202)

    async def show(self, request: web.Request) -> web.Response:
        name = request.match_info["order"]
        found = await asyncio.to_thread(self._state, name)
        if found is None:
            return web.json_response({"detail": f"no order {name}"}, status=404)
        return web.json_response({"order": name, **found})

    async def health(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "healthy", "waiting": self.waiting.qsize()})

    def _path(self, order: str, kind: str) -> Path:
        return self.folder / f"{order}.{kind}.json"

    def _keep(self, order: str, body: bytes) -> bool:
        """False if it was accepted before."""
        path = self._path(order, "order")
        if path.exists():
            return False
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, body)
        return True

    def _state(self, order: str) -> dict[str, Any] | None:
        if not any(path.name == f"{order}.order.json" for path in self.folder.glob("*.order.json")):
            return None
        ended = self._path(order, "end")
        return json.loads(ended.read_bytes()) if ended.exists() else {"state": "waiting"}

    def _left(self) -> list[str]:
        """Accepted and not ended, as they came."""
        found = sorted(self.folder.glob("*.order.json"), key=lambda path: path.stat().st_mtime)
        names = [path.name.removesuffix(".order.json") for path in found]
        return [name for name in names if not self._path(name, "end").exists()]

    async def _work(self, app: web.Application) -> AsyncIterator[None]:
        for name in await asyncio.to_thread(self._left):
            self.waiting.put_nowait(name)
        working = asyncio.create_task(self._carry_out_all())  # noqa: TID251 - awaited below
        yield
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)

    async def _carry_out_all(self) -> None:
        while True:
            name = await self.waiting.get()
            ended = await self._carried_out(name)
            print(f"order {name}: {json.dumps(ended)}", flush=True)
            await asyncio.to_thread(write_whole, self._path(name, "end"), json.dumps(ended).encode())

    async def _carried_out(self, name: str) -> dict[str, Any]:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "crossfade_backends.retrain",
            *self.arguments,
            "--order",
            str(self._path(name, "order")),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            output, said = await child.communicate()
        finally:
            if child.returncode is None:  # this trainer ends; the next one carries the order out
                child.kill()
                await asyncio.shield(child.communicate())
        if child.returncode:
            return {"state": "failed", "detail": said.decode(errors="replace")[-_SHOWN:].strip()}
        return {"state": "succeeded", **json.loads(output.splitlines()[-1])}


def listen(place: str, registry: Path, secret: str, arguments: Sequence[str]) -> int:
    """Serves until SIGTERM or SIGINT. `arguments`: of this command, without `--listen`."""
    host, _, port = place.rpartition(":")
    if not host or not port.isdecimal():
        print(f"error: --listen {place}: must be HOST:PORT", file=sys.stderr)
        return 2
    if not secret and (host not in _LOOPBACK or os.environ.get("CROSSFADE_ADMIN_TOKEN")):
        # An order names the URL that gets the token, and the rows that the model learns from.
        print("error: --listen needs CROSSFADE_RETRAIN_SECRET, off loopback or with a token", file=sys.stderr)
        return 2
    rest = [word for n, word in enumerate(arguments) if not _is_listen(arguments, n)]
    return uvloop.run(_serve(Trainer(registry, secret, rest), host, int(port)))


def _is_listen(arguments: Sequence[str], n: int) -> bool:
    """Whether this word is of the option `--listen`."""
    return arguments[n].startswith("--listen") or (n > 0 and arguments[n - 1] == "--listen")


async def _serve(trainer: Trainer, host: str, port: int) -> int:
    runner = web.AppRunner(trainer.app(), access_log=None)
    await runner.setup()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    try:
        await web.TCPSite(runner, host, port).start()
        print(f"listening on http://{host}:{runner.addresses[0][1]}", flush=True)
        await stopped.wait()
    except OSError as error:
        print(f"error: cannot listen on {host}:{port}: {error.strerror}", file=sys.stderr)
        return 1
    finally:
        await runner.cleanup()
    return 0
