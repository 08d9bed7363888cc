"""The composition root: read the configuration, build, wire, run, reload, drain.

One control process holds the state, the health loop, the prober and the admin API; the data plane
runs in worker processes (or, with `workers: 0`, in this one). A bad configuration never replaces a
good one: a failed reload changes only what status and metrics report about it (law 10).
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
from crossfade.admin.connections import AdminSite, admin_runner
from crossfade.config.address import ListenConfig
from crossfade.config.load import Loaded, load
from crossfade.config.model import Config
from crossfade.config.problem import ConfigError, without_credentials
from crossfade.control.controller import Controller
from crossfade.control.database import StoreError, path_of
from crossfade.control.prober import Prober
from crossfade.control.prometheus_poller import PrometheusPoller
from crossfade.control.refusal import Refused
from crossfade.control.store import Store
from crossfade.dial import examine
from crossfade.files import CONFIG_LIMIT, read_config, read_regular
from crossfade.log_lines import log_to_stderr
from crossfade.stats.counts import CountsTable
from crossfade.workers import sockets
from crossfade.workers.handover import Handover, pid_of, take_over
from crossfade.workers.messages import Certificate, Listening, WorkerOptions
from crossfade.workers.pool import WorkerPool
from crossfade.workers.state_lock import LockedError, StateLock
from crossfade.workers.tls import Credentials

log = logging.getLogger("crossfade")

TICK = 0.25  # seconds between two ticks of the health loop
WATCH = 1.0  # seconds between two checks of the files; polling works on every mount and with every editor


class StartError(Exception):
    """The proxy cannot start; the message is for the operator."""


def serve(path: str, taking_over: bool = False) -> int:
    """Run until a signal. Exit code 0 after a drain, 1 when the proxy cannot start."""
    log_to_stderr()
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    _raise_descriptor_limit()
    try:
        uvloop.run(App(Path(path), taking_over).run())
    except ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return 1
    except (StartError, StoreError, LockedError) as error:
        print(f"crossfade: {without_credentials(str(error))}", file=sys.stderr)
        return 1
    return 0


def _raise_descriptor_limit() -> None:
    """Raise the soft limit of descriptors to the hard limit: it is often 1024, for programs that use select(2)."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class App:
    """The running proxy. It is also the `ReloadPort` of the admin API."""

    controller: Controller
    prober: Prober
    poller: PrometheusPoller
    lock: StateLock | None

    def __init__(self, path: Path, taking_over: bool) -> None:
        self.path = path
        self.taking_over = taking_over
        self.inherited: list[socket.socket] = []  # listening sockets of the proxy before, or from systemd
        self.addresses: list[tuple[str, int]] = []  # that clients connect to
        self.counts = CountsTable()  # of the workers, until the next tick takes them
        self.loaded = self.read()
        self.credentials: Credentials | None = None
        self.pool: WorkerPool | None = None
        self.loaded_fingerprint = b""
        self.stopping = asyncio.Event()
        self.reloading = asyncio.Lock()
        self.is_ready = False

    # ── configuration ─────────────────────────────────────────────────────────────────────────

    def read(self) -> Loaded:
        return load(read_config(str(self.path)), str(self.path), os.environ, examine)

    def text(self) -> str:
        """The text of the configuration in force, with its secrets as `***`."""
        return self.loaded.shown

    def check(self, text: str) -> Loaded:
        """For clients of the admin API: they may read neither the environment nor files."""
        return load(text, str(self.path), os.environ, examine, self.loaded)

    def fingerprint(self) -> bytes:
        """A hash of the files' contents: editors and mounts replace files in too many ways to trust times or inodes."""
        with contextlib.suppress(OSError):
            contents = (read_regular(str(path), CONFIG_LIMIT) for path in self._watched_files())
            return blake2b(b"".join(contents)).digest()
        return b""

    def _watched_files(self) -> list[Path]:
        """The configuration and the certificate files."""
        files = self.credentials.files if self.credentials else None
        names = (files.cert, files.key, files.client_ca) if files else ()
        return [self.path, *(Path(name) for name in names if name)]

    async def reload(self, actor: str, force: bool = False) -> None:
        """Load the file as it is now. Raises ConfigError or Refused; then nothing has changed."""
        async with self.reloading:
            self.loaded_fingerprint = await asyncio.to_thread(self.fingerprint)
            try:
                loaded = await asyncio.to_thread(self.read)
            except ConfigError as error:
                self.controller.refuse_config(str(error))
                raise
            self.renew_tls()
            for key in ("listen", "admin", "workers", "state", "tls"):
                if getattr(loaded.config, key) != getattr(self.loaded.config, key):
                    log.warning("a change of `%s` takes effect at the next start", key)
            try:
                await self.controller.load(loaded, actor, time.time(), force)
            except Refused as error:
                self.controller.refuse_config(str(error))
                raise
            self.loaded = loaded
            self.prober.configure(loaded)
            self.poller.configure(loaded.config)
            log.info("configuration %s loaded by %s", loaded.hash[:12], actor)
        await self.controller.served()

    def renew_tls(self) -> None:
        """New connections get the certificate that is in the files now. If it cannot be used, the old one stays."""
        if self.credentials is None:
            return
        try:
            self.credentials.renew()
        except OSError as error:
            log.error("TLS certificate not renewed, the old one stays: %s", error)
        else:
            if self.pool is not None:
                self.pool.renew()

    async def try_reload(self, actor: str) -> None:
        """A reload without a caller: problems go to the log, and the old configuration stays."""
        try:
            await self.reload(actor)
        except ConfigError as error:
            for problem in error.problems:
                log.error("%s", problem)
            log.error("configuration not reloaded, the old one stays: %d problem(s)", len(error.problems))
        except Refused as error:
            log.error("configuration not reloaded, the old one stays: %s", error)

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
        self.loaded_fingerprint = self.fingerprint()
        if self.taking_over:
            await self.take_over(config)
        self.inherited += sockets.from_systemd()
        path = path_of(config.state)
        self.lock = StateLock(path) if path else None
        store = self.open_store(config)
        self.handover = Handover(self.lock, self.counts, self.stopping.set)
        try:
            self.inherited += await self.handover.gather()
            if config.workers == 0:
                await self.run_inline(config, store)
            else:
                await self.run_workers(config, store)
        finally:
            self.handover.close()
            store.close()
            if self.lock is not None:
                self.lock.release()

    def open_store(self, config: Config) -> Store:
        try:
            return Store.open(config.state)
        except StoreError:
            if self.lock is not None:
                self.lock.leave()  # workers of the proxy before may still serve
            raise

    @property
    def lock_file(self) -> str | None:
        return self.lock.path if self.lock else None

    def load_tls(self) -> Credentials | None:
        """Loaded in the control process too, so that bad files are found before a worker starts."""
        tls = self.loaded.config.tls
        if tls is None:
            return None
        files = Certificate(tls.cert, tls.key, tls.client_ca, tls.client_auth == "required")
        try:
            return Credentials(files)
        except OSError as error:
            raise StartError(f"tls: {error}") from error

    async def take_over(self, config: Config) -> None:
        """Make the running proxy hand over its state and its workers."""
        path = path_of(config.state)
        if path and os.path.exists(path):  # noqa: ASYNC240 - nothing else runs yet
            with contextlib.closing(Store.read(path)) as state:
                state.records()  # raises StoreError if this version cannot use it: then the running proxy stays
        if not path or not await take_over(f"{path}.lock", self.inherited, self.counts):
            log.warning("--takeover: no running proxy holds the state; starting without one")

    async def run_workers(self, config: Config, store: Store) -> None:
        count = len(os.sched_getaffinity(0)) if config.workers == "auto" else int(config.workers)
        listening = self.listen(config, count)
        options = WorkerOptions(seam_fd=-1, listening=[], lock_file=self.lock_file)
        self.pool = pool = WorkerPool(listening, options, self.counts, self.handover.name_workers)
        self.controller = Controller(store, pool, count)
        await self.controller.load(self.loaded, "file", time.time())
        running = asyncio.create_task(pool.run())  # noqa: TID251 - a group would wrap our StartError
        try:
            await pool.ready()
            self.handover.release(config.drain)
            self.handover.name_workers([status.pid for status in pool.workers()])
            await self.serve_until_stopped(config)
            # With our copies open, the kernel would queue connections that no worker accepts.
            sockets.close(sock for sock, _ in chain.from_iterable(listening))
            if self.handover.successor is None:
                await pool.stop(config.drain)
            else:
                self.handover.close()
                await pool.release()
                await self.leave(store)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await self.controller.close()

    async def run_inline(self, config: Config, store: Store) -> None:
        from crossfade.dataplane.listener import DataPlane  # here alone: with workers, it is not loaded
        from crossfade.workers.direct import DirectSeam
        from crossfade.workers.worker import Worker

        plane = DataPlane()
        plane.recorder.counts = self.counts
        self.controller = Controller(store, DirectSeam(plane), 1)
        try:
            await self.controller.load(self.loaded, "file", time.time())
            for sock, _ in self.listen(config, 1)[0]:
                await plane.listen(sock, self.credentials.context if self.credentials else None)
            self.handover.release(config.drain)
            self.handover.name_workers([os.getpid()])
            await self.serve_until_stopped(config)
            if self.handover.successor is None:
                await plane.drain(config.drain)
            else:
                worker = Worker(plane, self.lock_file)
                plane.recorder.flush()
                self.handover.close()
                await self.leave(store)
                await worker.run(None)
        finally:
            await self.controller.close()

    def bind(self, at: ListenConfig, workers: int) -> list[list[socket.socket]]:
        try:
            return sockets.bind(at.host, at.port, workers, self.inherited, self.handover.has_missing)
        except OSError as error:
            raise StartError(f"cannot listen on {at.authority}: {error.strerror or error}") from error

    async def leave(self, store: Store) -> None:
        """Save the evidence, and release the state to the successor."""
        await self.controller.close()
        store.close()
        self.handover.hand_over([self.admin], self.counts.take())
        log.info("hand-over done: another proxy holds the state")

    def listen(self, config: Config, workers: int) -> list[list[tuple[socket.socket, Listening]]]:
        """For each worker its listening sockets."""
        tls = self.credentials.files if self.credentials else None
        found: list[list[tuple[socket.socket, Listening]]] = [[] for _ in range(workers)]
        for address in config.listen:
            each = self.bind(address, workers)
            self.addresses.append(each[0][0].getsockname()[:2])
            for mine, socks in zip(found, each, strict=True):
                mine += [(sock, Listening(sock.fileno(), tls)) for sock in socks]
        return found

    async def serve_until_stopped(self, config: Config) -> None:
        self.prober = Prober(self.controller.endpoints_changed)
        self.prober.configure(self.loaded)
        self.poller = PrometheusPoller(lambda: self.controller.state.served)
        self.poller.configure(config)
        self.controller.readings = self.poller.readings
        runner = admin_runner(admin_app(self.controller, self, config.admin.token))
        await runner.setup()
        try:
            (self.admin,) = self.bind(config.admin.listen, 1)[0]
            await AdminSite(runner, self.admin.dup()).start()
            sockets.close(self.inherited)  # of addresses that are no longer configured
            self.announce(runner)
            await self.run_loop()
        finally:
            await self.prober.close()
            await self.poller.close()
            await runner.cleanup()

    def announce(self, runner: web.AppRunner) -> None:
        self.is_ready = True
        scheme = "https" if self.loaded.config.tls else "http"
        for host, port in self.addresses:
            log.info("listening on %s://%s:%d", scheme, host, port)
        log.info("admin on http://%s:%d", *runner.addresses[0][:2])
        for warning in self.loaded.warnings:
            log.warning("%s", warning)
        _notify_systemd("READY=1\nSTATUS=serving")

    async def run_loop(self) -> None:
        """Tick and follow the configuration until a signal or a successor ends it."""
        loop = asyncio.get_running_loop()
        for stop in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(stop, self.stopping.set)
        async with asyncio.TaskGroup() as tasks:
            following = tasks.create_task(self.follow_configuration())
            while not self.stopping.is_set():
                self.controller.tick(time.time())
                await _wait_for(self.stopping, TICK)
            following.cancel()
        if self.handover.successor is None:
            _notify_systemd("STOPPING=1\nSTATUS=draining")
            log.info("draining")
        else:
            _notify_systemd(f"MAINPID={pid_of(self.handover.successor)}")

    async def follow_configuration(self) -> None:
        """Reload after a SIGHUP or a change of the files. Ticks go on meanwhile."""
        hang_up = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hang_up.set)
        while True:
            if await _wait_for(hang_up, WATCH):
                hang_up.clear()
                await self.try_reload("signal")
            elif await asyncio.to_thread(self.fingerprint) not in (self.loaded_fingerprint, b""):
                await self.try_reload("file")


async def _wait_for(event: asyncio.Event, seconds: float) -> bool:
    """Whether the event was set within this time."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            return await event.wait()
    return False


def _notify_systemd(state: str) -> None:
    """sd_notify(3), where systemd asks for it."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(state.encode(), "\0" + address[1:] if address[0] == "@" else address)
