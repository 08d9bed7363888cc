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
import resource
import signal
import socket
import sys
import time
from hashlib import blake2b
from itertools import chain
from pathlib import Path

import uvloop
from aiohttp import web

from crossfade.admin.api import admin_app
from crossfade.config.address import ListenConfig
from crossfade.config.load import Loaded, load
from crossfade.config.model import Config
from crossfade.config.problem import ConfigError, Problem
from crossfade.control.controller import Controller
from crossfade.control.prober import Prober
from crossfade.control.prometheus_poller import PrometheusPoller
from crossfade.control.refusal import Refused
from crossfade.control.store import Store, StoreError
from crossfade.dial import examine
from crossfade.stats.counts import CountsTable
from crossfade.workers import sockets
from crossfade.workers.handover import Handover, pid_of, take_over
from crossfade.workers.messages import Certificate, Listening, WorkerOptions
from crossfade.workers.pool import WorkerPool
from crossfade.workers.tls import Credentials

log = logging.getLogger("crossfade")

TICK = 0.25  # seconds between looks of the health loop
WATCH = 1.0  # seconds between looks at the file; polling is what works on every mount and editor


class StartError(Exception):
    """The proxy cannot start; the message says why and is meant for the operator."""


def serve(path: str, taking_over: bool = False) -> int:
    """Run until told to stop. Exit code 0 after a drain, 1 when it cannot start."""
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    open_limits()
    try:
        uvloop.run(App(Path(path), taking_over).run())
    except ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return 1
    except (StartError, StoreError) as error:
        print(f"crossfade: {error}", file=sys.stderr)
        return 1
    return 0


def open_limits() -> None:
    """As many descriptors as the system grants: the soft limit is often 1024, for programs that use select(2)."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class App:
    """The running proxy. It is also the reload port of the admin API."""

    controller: Controller
    prober: Prober
    asker: PrometheusPoller

    def __init__(self, path: Path, taking_over: bool) -> None:
        self.path = path
        self.taking_over = taking_over
        self.inherited: list[socket.socket] = []  # that others listened on before
        self.listens_at: list[tuple[str, int]] = []
        self.counts = CountsTable()  # what workers have counted and the health loop has not taken yet
        self.content, self.loaded = self.read()
        self.credentials: Credentials | None = None
        self.pool: WorkerPool | None = None
        self.seen = b""
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
            return blake2b(b"".join(path.read_bytes() for path in self.watched())).digest()
        return b""

    def watched(self) -> list[Path]:
        """The configuration, and the certificates' files."""
        files = self.credentials.files if self.credentials else None
        named = (files.cert, files.key, files.client_ca) if files else ()
        return [self.path, *(Path(name) for name in named if name)]

    async def reload(self, actor: str) -> None:
        """Take the file as it is now. Raises ConfigError or Refused, and then nothing has changed."""
        async with self.reloading:
            self.seen = await asyncio.to_thread(self.fingerprint)
            try:
                content, loaded = await asyncio.to_thread(self.read)
            except ConfigError as error:
                self.controller.refuse_config(str(error))
                raise
            self.renew_tls()
            for key in ("listen", "admin", "workers", "state", "tls"):
                if getattr(loaded.config, key) != getattr(self.loaded.config, key):
                    log.warning("a change of `%s` takes effect at the next start", key)
            await self.controller.load(loaded, actor, time.time())
            self.content, self.loaded = content, loaded
            self.prober.configure(loaded)
            self.asker.configure(loaded.config)
            log.info("configuration %s loaded, asked for by %s", loaded.hash[:12], actor)

    def renew_tls(self) -> None:
        """New connections get what is in the files now; where that is no good, what was in force before."""
        if self.credentials is None:
            return
        try:
            self.credentials.renew()
        except OSError as error:
            log.error("tls: %s; the certificate before stays in force", error)
        else:
            if self.pool is not None:
                self.pool.renew()

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
        self.credentials = self.load_tls()
        self.seen = self.fingerprint()
        if self.taking_over:
            await self.take_over(config)
        self.inherited += sockets.from_systemd()
        store = Store.open(config.state)
        self.handover = Handover(store.lock_file, self.counts, self.stopping.set)
        try:
            self.inherited += await self.handover.gather(store.left_behind)
            if config.workers == 0:
                await self.run_inline(config, store)
            else:
                await self.run_workers(config, store)
        finally:
            self.handover.close()
            store.close()

    def load_tls(self) -> Credentials | None:
        """Also in the control process, so that bad files are found before any worker sees them."""
        tls = self.loaded.config.tls
        if tls is None:
            return None
        files = Certificate(tls.cert, tls.key, tls.client_ca, tls.client_auth == "required")
        try:
            return Credentials(files)
        except OSError as error:
            raise StartError(f"tls: {error}") from error

    async def take_over(self, config: Config) -> None:
        """Have the proxy that holds the state leave it, and its workers, to this one."""
        path = config.state.partition(":")[2]
        if os.path.exists(path):  # noqa: ASYNC240 - nothing else is going on yet
            with contextlib.closing(Store.read(path)) as state:
                state.records()  # raises StoreError if this version cannot use it: then the other proxy stays
        if not await take_over(f"{path}.lock", self.inherited, self.counts):
            log.warning("there is no other proxy to take over from")

    async def run_workers(self, config: Config, store: Store) -> None:
        count = len(os.sched_getaffinity(0)) if config.workers == "auto" else int(config.workers)
        listening = self.listen(config, count)
        options = WorkerOptions(seam_fd=-1, listening=[], lock_file=store.lock_file)
        self.pool = pool = WorkerPool(
            listening,
            options,
            self.counts,
            lambda pids: store.name_workers([*self.handover.detached_workers, *pids]),
        )
        self.controller = Controller(store, pool, count)
        await self.controller.load(self.loaded, "file", time.time())
        running = asyncio.create_task(pool.run())  # noqa: TID251 - a group would wrap our StartError
        try:
            await pool.ready()
            self.handover.release(config.drain)
            store.name_workers([status.pid for status in pool.workers()])
            await self.serve_until_stopped(config)
            # Or their queues would outlive the workers' copies.
            sockets.close(sock for sock, _ in chain.from_iterable(listening))
            if self.handover.successor is None:
                await pool.stop(config.drain)
            else:
                self.handover.close()
                await pool.release()
                self.leave(store)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def run_inline(self, config: Config, store: Store) -> None:
        from crossfade.dataplane.listener import DataPlane  # here alone: with workers, it is not loaded
        from crossfade.workers.direct import DirectSeam
        from crossfade.workers.worker import Worker

        plane = DataPlane()
        plane.recorder.counts = self.counts
        self.controller = Controller(store, DirectSeam(plane), 1)
        await self.controller.load(self.loaded, "file", time.time())
        for sock, _ in self.listen(config, 1)[0]:
            await plane.listen(sock, self.credentials.context if self.credentials else None)
        self.handover.release(config.drain)
        store.name_workers([os.getpid()])
        await self.serve_until_stopped(config)
        if self.handover.successor is None:
            await plane.drain(config.drain)
        else:
            worker = Worker(plane, store.lock_file)
            plane.recorder.flush()
            self.handover.close()
            self.leave(store)
            await worker.run(None)

    def bind(self, at: ListenConfig, workers: int) -> list[list[socket.socket]]:
        try:
            return sockets.bind(at.host, at.port, workers, self.inherited, self.handover.is_deserted)
        except OSError as error:
            raise StartError(f"cannot listen on {at.authority}: {error.strerror or error}") from error

    def leave(self, store: Store) -> None:
        """Keep what is known, and give the state to whoever asked for it."""
        self.controller.kept_at = 0.0
        self.controller.keep_evidence(time.time())
        store.leave()
        self.handover.hand_over([self.admin], self.counts.take())
        log.info("another proxy has taken over")

    def listen(self, config: Config, workers: int) -> list[list[tuple[socket.socket, Listening]]]:
        """For each worker, the sockets it is to listen on, and how."""
        tls = self.credentials.files if self.credentials else None
        found: list[list[tuple[socket.socket, Listening]]] = [[] for _ in range(workers)]
        for address in config.listen:
            each = self.bind(address, workers)
            self.listens_at.append(each[0][0].getsockname()[:2])
            for mine, socks in zip(found, each, strict=True):
                mine += [(sock, Listening(sock.fileno(), tls)) for sock in socks]
        return found

    async def serve_until_stopped(self, config: Config) -> None:
        self.prober = Prober(self.controller.endpoints_changed)
        self.prober.configure(self.loaded)
        self.asker = PrometheusPoller()
        self.asker.configure(config)
        self.controller.readings = self.asker.readings
        runner = web.AppRunner(
            admin_app(self.controller, self, config.admin.token), access_log=None, shutdown_timeout=2
        )
        await runner.setup()
        try:
            (self.admin,) = self.bind(config.admin.listen, 1)[0]
            await web.SockSite(runner, self.admin.dup()).start()
            sockets.close(self.inherited)  # nothing is configured there any more
            self.announce(runner)
            await self.tend()
        finally:
            await self.prober.close()
            await self.asker.close()
            await runner.cleanup()

    def announce(self, runner: web.AppRunner) -> None:
        self.is_ready = True
        scheme = "https" if self.loaded.config.tls else "http"
        for host, port in self.listens_at:
            log.info("listening on %s://%s:%d", scheme, host, port)
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
                if await asyncio.to_thread(self.fingerprint) not in (self.seen, b""):
                    await self.try_reload("file")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK):
                    await self.stopping.wait()
        if self.handover.successor is None:
            notify("STOPPING=1\nSTATUS=draining")
            log.info("draining")
        else:
            notify(f"MAINPID={pid_of(self.handover.successor)}")


def notify(state: str) -> None:
    """Tell systemd (sd_notify(3)), where it listens."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(state.encode(), "\0" + address[1:] if address[0] == "@" else address)
