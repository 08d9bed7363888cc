"""The composition root: read the configuration, build, wire, run, reload, drain.

One control process holds the state, the health loop, the prober and the admin API; the data plane
runs in worker processes (or, with `workers: 0`, in this one). A bad configuration never replaces a
good one: a reload that fails changes nothing but what status and metrics say of it (law 10).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import ssl
import sys
import time
from hashlib import blake2b
from itertools import chain
from pathlib import Path

import uvloop
from aiohttp import web

from proxy.admin.api import admin_app
from proxy.config.load import Loaded, load
from proxy.config.model import Config
from proxy.config.problem import ConfigError, Problem
from proxy.control.asker import Asker
from proxy.control.controller import Controller
from proxy.control.prober import Prober
from proxy.control.refusal import Refused
from proxy.control.store import Store, StoreError
from proxy.dataplane.listener import DataPlane
from proxy.dial import examine
from proxy.workers import DirectSeam, WorkerOptions, WorkerPool, bind, load_tls

log = logging.getLogger("crossfade")

TICK = 0.25  # seconds between looks of the health loop
WATCH = 1.0  # seconds between looks at the file; polling is what works on every mount and editor


class StartError(Exception):
    """The proxy cannot start; the message says why and is meant for the operator."""


def serve(path: str) -> int:
    """Run until told to stop. Exit code 0 after a drain, 1 when it cannot start."""
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    try:
        uvloop.run(App(Path(path)).run())
    except ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return 1
    except (StartError, StoreError) as error:
        print(f"crossfade: {error}", file=sys.stderr)
        return 1
    return 0


class App:
    """The running proxy. It is also the reload port of the admin API."""

    controller: Controller
    prober: Prober
    asker: Asker

    def __init__(self, path: Path) -> None:
        self.path = path
        self.content, self.loaded = self.read()
        self.seen = self.fingerprint()
        self.stopping = asyncio.Event()
        self.reloading = asyncio.Lock()
        self.is_ready = False

    # ── configuration ─────────────────────────────────────────────────────────────────────────

    def read(self) -> tuple[str, Loaded]:
        try:
            text = self.path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            problem = Problem(str(self.path), 1, 1, "", f"cannot be read: {error}")
            raise ConfigError((problem,)) from error
        return text, self.check(text)

    def text(self) -> str:
        """The file as it was when the configuration in force was loaded."""
        return self.content

    def check(self, text: str) -> Loaded:
        return load(text, str(self.path), os.environ, examine)

    def fingerprint(self) -> bytes:
        """Of the file's content: editors and mounts replace files in too many ways to trust times or inodes."""
        with contextlib.suppress(OSError):
            return blake2b(self.path.read_bytes()).digest()
        return b""

    async def reload(self, actor: str) -> None:
        """Take the file as it is now. Raises ConfigError or Refused, and then nothing has changed."""
        async with self.reloading:
            self.seen = self.fingerprint()
            try:
                content, loaded = self.read()
            except ConfigError as error:
                self.controller.refuse_config(str(error))
                raise
            for key in ("listen", "admin", "workers", "state", "tls"):
                if getattr(loaded.config, key) != getattr(self.loaded.config, key):
                    log.warning("a change of `%s` takes effect at the next start", key)
            await self.controller.load(loaded, actor, time.time())
            self.content, self.loaded = content, loaded
            self.prober.configure(loaded)
            self.asker.configure(loaded.config)
            log.info("configuration %s loaded, asked for by %s", loaded.hash[:12], actor)

    async def try_reload(self, actor: str) -> None:
        """A reload nobody waits for: what is wrong goes to the log, and the old configuration stays."""
        try:
            await self.reload(actor)
        except ConfigError as error:
            for problem in error.problems:
                log.error("%s", problem)
            log.error("the configuration was not reloaded; the one before stays in force")
        except Refused as error:
            log.error("%s; the configuration before stays in force", error)

    def ready(self) -> tuple[bool, str]:
        if self.stopping.is_set():
            return False, "draining"
        if not self.is_ready:
            return False, "starting"
        if not any(worker.up for worker in self.controller.seam.workers()):
            return False, "no worker is up"
        return True, "ready"

    # ── life ──────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        config = self.loaded.config
        load_tls_or_fail(config)
        store = Store.open(config.state)
        try:
            if config.workers == 0:
                await self.run_inline(config, store)
            else:
                await self.run_workers(config, store)
        finally:
            store.close()

    async def run_workers(self, config: Config, store: Store) -> None:
        count = len(os.sched_getaffinity(0)) if config.workers == "auto" else int(config.workers)
        bound = [bind_or_fail(at.host, at.port, count, store.was_held) for at in config.listen]
        options = WorkerOptions(
            seam_fd=-1,
            listen_fds=[],
            control_pid=os.getpid(),
            lock_file=store.lock_file,
            certificate=config.tls.cert if config.tls else None,
            key=config.tls.key if config.tls else None,
        )
        pool = WorkerPool([list(one) for one in zip(*bound, strict=True)], options)
        self.controller = Controller(store, pool, count)
        await self.controller.load(self.loaded, "file", time.time())
        running = asyncio.create_task(pool.run())
        try:
            await pool.ready()
            await self.serve_until_stopped(config, bound)
            for sock in chain.from_iterable(bound):  # or their queues would outlive the workers' copies
                sock.close()
            await pool.stop(config.drain)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def run_inline(self, config: Config, store: Store) -> None:
        bound = [bind_or_fail(at.host, at.port, 1, False) for at in config.listen]
        plane = DataPlane()
        self.controller = Controller(store, DirectSeam(plane), 1)
        await self.controller.load(self.loaded, "file", time.time())
        tls = load_tls_or_fail(config)
        for (sock,) in bound:
            await plane.listen(sock, tls)
        await self.serve_until_stopped(config, bound)
        await plane.drain(config.drain)

    async def serve_until_stopped(self, config: Config, bound: list[list[socket.socket]]) -> None:
        self.prober = Prober(self.controller.endpoints_changed)
        self.prober.configure(self.loaded)
        self.asker = Asker()
        self.asker.configure(config)
        self.controller.readings = self.asker.readings
        runner = web.AppRunner(
            admin_app(self.controller, self, config.admin.token), access_log=None, shutdown_timeout=2
        )
        await runner.setup()
        try:
            admin = web.SockSite(
                runner, bind_or_fail(config.admin.listen.host, config.admin.listen.port, 1, False)[0]
            )
            await admin.start()
            self.announce(bound, runner)
            await self.tend()
        finally:
            await self.prober.close()
            await self.asker.close()
            await runner.cleanup()

    def announce(self, bound: list[list[socket.socket]], runner: web.AppRunner) -> None:
        self.is_ready = True
        scheme = "https" if self.loaded.config.tls else "http"
        for sockets in bound:
            log.info("listening on %s://%s:%d", scheme, *sockets[0].getsockname()[:2])
        log.info("admin on http://%s:%d", *runner.addresses[0][:2])
        for warning in self.loaded.warnings:
            log.warning("%s", warning)
        notify("READY=1\nSTATUS=serving")

    async def tend(self) -> None:
        """Tick, watch the file, obey signals; returns when it is time to drain."""
        loop = asyncio.get_running_loop()
        hang_up = asyncio.Event()
        loop.add_signal_handler(signal.SIGHUP, hang_up.set)
        for stop in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(stop, self.stopping.set)
        look_at = loop.time() + WATCH
        while not self.stopping.is_set():
            await self.controller.tick(time.time())
            if hang_up.is_set():
                hang_up.clear()
                await self.try_reload("signal")
            elif loop.time() >= look_at:
                look_at = loop.time() + WATCH
                if self.fingerprint() not in (self.seen, b""):
                    await self.try_reload("file")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK):
                    await self.stopping.wait()
        notify("STOPPING=1\nSTATUS=draining")
        log.info("draining")


def bind_or_fail(host: str, port: int, copies: int, beside_orphans: bool) -> list[socket.socket]:
    try:
        return bind(host, port, copies, beside_orphans)
    except OSError as error:
        raise StartError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error


def load_tls_or_fail(config: Config) -> ssl.SSLContext | None:
    """Also in the control process, so that a bad certificate is found before any worker starts."""
    if config.tls is None:
        return None
    try:
        return load_tls(config.tls.cert, config.tls.key)
    except (OSError, ssl.SSLError) as error:
        raise StartError(f"tls: cannot use {config.tls.cert} with {config.tls.key}: {error}") from error


def notify(state: str) -> None:
    """Tell systemd (sd_notify(3)), where it listens."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(state.encode(), "\0" + address[1:] if address[0] == "@" else address)
