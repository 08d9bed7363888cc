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
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import uvloop

from crossfade import log_lines
from crossfade.admin.access import Access
from crossfade.admin.api import admin_app
from crossfade.admin.connections import AdminSite, admin_runner
from crossfade.coalescing import end_of
from crossfade.config.load import Loaded
from crossfade.config.problem import ConfigError, without_credentials
from crossfade.control.beside import Beside
from crossfade.control.configurations import Configurations, Next, Order
from crossfade.control.controller import Controller
from crossfade.control.database import StoreError, path_of
from crossfade.control.prober import Prober
from crossfade.control.refusal import Refused
from crossfade.control.registered_versions import RegisteredVersions
from crossfade.control.store import Store
from crossfade.files import read_config
from crossfade.log_lines import facts, log_to_stderr, printable
from crossfade.stats.counts import CountsTable
from crossfade.workers import systemd
from crossfade.workers.config_file import ConfigFile
from crossfade.workers.ending import REPORTED, TICK, Ending, wait_for
from crossfade.workers.handover import Successor
from crossfade.workers.serving import AllCredentials, Serving, credentials_of
from crossfade.workers.sockets import raise_descriptor_limit
from crossfade.workers.start_error import StartError
from crossfade.workers.succession import Succession
from crossfade.workers.takeover import rehearse
from crossfade.workers.tls_files import Renewal, TlsFiles

log = logging.getLogger("crossfade")

REGISTRY = "registry"  # the actor where the registry names another version: what is in force is read again
RESUME_AGAIN = 5.0  # seconds, where the state cannot be opened after a successor failed


def serve(path: str, taking_over: bool = False) -> int:
    """Run until a signal. Exit code 0 after a drain, 1 when the proxy cannot start."""
    log_to_stderr()
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    raise_descriptor_limit()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the loop catches it: the file is yet to be read
    try:
        uvloop.run(App(Path(path), taking_over).run())
    except ConfigError as error:
        for problem in error.problems:
            print(printable(str(problem)), file=sys.stderr)
        return 1
    except (StartError, StoreError, Refused) as error:
        print(printable(f"crossfade: {without_credentials(str(error))}"), file=sys.stderr)
        return 1
    return 0


class App:
    """The running proxy. It is also the `ProxyPort` of the admin API."""

    controller: Controller
    prober: Prober
    beside: Beside

    def __init__(self, path: Path, taking_over: bool) -> None:
        self.taking_over = taking_over
        self.counts = CountsTable()  # of the workers, until the next tick takes them
        self.versions = RegisteredVersions()
        self.configurations = Configurations(
            str(path), lambda: read_config(str(path)), os.environ, lambda: self.versions.known
        )
        self.read_versions()
        # Tokens are the file's: no configuration that is applied or restored gives anybody access, or gives it back.
        is_local = self.loaded.config.admin.listen.is_loopback
        self.access = Access(lambda: self.configurations.file.config.admin, is_local)
        self.use_log(self.loaded)
        self.credentials: AllCredentials = {}
        self.serving: Serving | None = None
        self.store: Store | None = None
        self.supervising: asyncio.Future[None] | None = None
        self.file = ConfigFile(str(path), self.try_reload)
        self.ending = Ending()
        self.stopping = self.ending.stopping
        self.succession = Succession(self.counts, self.stopping.set)
        self.tls_files = TlsFiles(lambda: self.loaded, self.use_renewal, self.refuse_renewal)
        self.renewal_error = ""  # the latest
        self.drained: asyncio.Future[None] | None = None
        self.is_ready = False  # its workers have served
        self.is_left = False  # to a successor

    # ── configuration ─────────────────────────────────────────────────────────────────────────

    @property
    def loaded(self) -> Loaded:
        """The configuration in force; before the start the one of the file."""
        return self.configurations.loaded

    def read_versions(self) -> None:
        """Those that the registry has named, and the configuration with them. It blocks."""
        if self.loaded.challengers and self.versions.open(path_of(self.loaded.config.state)):
            self.configurations.refresh()

    def text(self) -> str:
        """The text of the configuration in force, with its secrets as `***`."""
        return self.loaded.shown

    def check(self, text: str) -> Loaded:
        """For clients of the admin API: they may read neither the environment nor files."""
        return self.configurations.check(text)

    async def reload(self, order: Order) -> None:
        """Load the file as it is now. Raises ConfigError, Refused or Changed; then nothing has changed."""
        await asyncio.to_thread(self.file.look)
        await self.configurations.reload(self.controller, self.use, order)
        await self.controller.publisher.served()

    async def apply(self, text: str, order: Order) -> None:
        await self.configurations.apply(self.controller, self.use, text, order)
        await self.controller.publisher.served()

    async def restore(self, number: int, order: Order) -> None:
        await self.configurations.restore(self.controller, self.use, number, order)
        await self.controller.publisher.served()

    async def use(self, to: Next, order: Order) -> None:
        """Put it in force. Raises Refused."""
        loaded = to.loaded
        if self.serving is not None:
            self.serving.renew_tls()
        await self.controller.load(loaded, order.actor, order.at, order.force, to.differs)
        for key in self.controller.views.config().restart_needed:
            log.warning("`%s` differs from the last start: it takes effect at the next start", key)
        for change in self.controller.views.last_changes():
            if change.route is None:
                log.info("%s", change.reason)
        self.prober.configure(loaded)
        self.beside.configure(loaded)
        if self.serving is not None:
            self.serving.seam.drain = loaded.config.drain.timeout
        self.use_log(loaded)
        differing = "; it differs from the file" if to.differs else ""
        known = facts("reload", ok=True, actor=order.actor, config_hash=loaded.hash, differs=to.differs)
        log.info("configuration %s loaded by %s%s", loaded.hash[:12], order.actor, differing, extra=known)

    def use_log(self, loaded: Loaded) -> None:
        """Of the file and of what is applied in its place no secret is shown."""
        secrets = loaded.secrets | self.configurations.file.secrets
        log_lines.use(loaded.config.log.format, loaded.config.log.level, secrets)

    def use_renewal(self, renewal: Renewal) -> None:
        """The files of the configuration in force have changed, and can be used."""
        log.info("TLS files have changed: new connections use what they hold now")
        if self.serving is not None:
            self.serving.renew_tls()
        self.configurations.loaded = replace(self.loaded, stamps=renewal.stamps)
        self.controller.renew(renewal.stamps, self.renewal_error)
        self.prober.configure(self.loaded)

    def refuse_renewal(self, renewal: Renewal) -> None:
        self.renewal_error = "TLS files not renewed, the old ones stay: " + "; ".join(renewal.faults)
        log.error("%s", self.renewal_error)
        self.controller.refuse_config(self.renewal_error)

    async def try_reload(self, actor: str) -> None:
        """A reload without a caller: problems go to the log, and the old configuration stays."""
        order = Order(actor, time.time())
        try:
            if actor == REGISTRY:
                await self.configurations.reload(self.controller, self.use, order, anew=True)
                await self.controller.publisher.served()
            else:
                await self.reload(order)
        except ConfigError as error:
            for problem in error.problems:
                log.error("%s", problem)
        except Refused:
            pass  # it is in the log

    def ready(self) -> tuple[bool, str]:
        if self.ending.is_told or self.stopping.is_set():
            return False, "draining"
        if not self.is_ready:
            return False, "starting"
        if not any(worker.up for worker in self.controller.seam.workers()):
            return False, "no worker is up"
        return True, "ready"

    # ── life ──────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """A start that fails, or is stopped by a signal, leaves everything as it was (law 16)."""
        self.ending.catch_signals(self.on_told_to_end)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self.file.hang_up.set)
        self.credentials = credentials_of(self.loaded.config)
        self.file.look()
        try:
            if await self.ending.unless_stopped(self.start()) and self.serving is not None:
                await self.serve(self.serving)
        finally:
            await self.end()
        if self.supervising is not None and (failed := self.supervising.exception()) is not None:
            raise StartError(f"the workers are no longer supervised: {failed!r}")

    def on_told_to_end(self) -> float:
        """By a signal. Returns the seconds in which this proxy serves on."""
        self.succession.admit_nobody()
        if not self.is_ready or self.serving is None:
            return 0.0
        systemd.notify("STOPPING=1\nSTATUS=draining")
        self.serving.seam.close_after_answers()
        return self.loaded.config.drain.delay

    async def start(self) -> None:
        """Bind all and start the workers; only then the proxy before leaves the state to this one."""
        try:
            self.serving = serving = await self.bind_all()
        except OSError as error:  # no descriptors, say
            raise StartError(str(error)) from error
        self.supervising = asyncio.ensure_future(serving.seam.run())
        self.supervising.add_done_callback(lambda _: self.stopping.set())
        await serving.seam.started()
        if self.succession.predecessor is not None:
            await asyncio.to_thread(rehearse, self.loaded.config.state)
        await self.succession.predecessor_leaves()
        await self.open_state(serving, self.succession.generation)
        self.succession.publish(serving.seam.snapshot)
        await serving.seam.ready()

    async def bind_all(self) -> Serving:
        await self.succession.begin(path_of(self.loaded.config.state), self.taking_over)
        return Serving(self.loaded.config, self.credentials, self.succession, self.counts)

    async def open_state(self, serving: Serving, generation: int) -> None:
        """Decide from now on. Raises StoreError or Refused. `generation`: snapshots are numbered above it."""
        with contextlib.suppress(ConfigError):  # the file was changed meanwhile, and is read again soon
            await asyncio.to_thread(self.read_versions)  # the proxy before may have taken a new one
        store = Store.open(self.loaded.config.state)
        try:
            self.controller = Controller(store, serving.seam)
        except StoreError:
            store.close()
            raise
        self.store = store
        self.controller.state.generation = generation
        await self.configurations.begin(self.controller, time.time())

    async def close_state(self) -> bool:
        """Saves the evidence. False if the disk hangs, and something is still being written."""
        store, self.store = self.store, None
        if store is None:
            return True
        has_closed = await self.controller.close()
        return store.close() and has_closed

    async def serve(self, serving: Serving) -> None:
        """Until a signal ends it, or a successor serves."""
        await self.decide(serving)
        while self.drained is None and self.succession.successor is not None:
            self.is_left = await self.hand_over(serving, self.succession.successor)
            if self.is_left or not await self.resume(serving):
                return
            await self.decide(serving)

    async def hand_over(self, serving: Serving, successor: Successor) -> bool:
        """Leave the state to the successor, then the workers, once its own serve. Whether it got so far."""
        has_closed = await self.close_state()
        counts, logged = self.counts.take(), self.succession.leaving.logged.take().batches
        if has_closed:  # else the successor does not wait for ever
            with contextlib.suppress(OSError):  # it has ended; `outcome` says so
                await successor.tell(counts, logged)
        if not await successor.outcome():
            self.counts.add(counts)
            self.succession.leaving.logged.add(logged)
            return False
        await serving.seam.release()
        await successor.end(self.counts.take(), self.succession.leaving.logged.take().batches)
        systemd.notify(f"MAINPID={successor.pid}")
        log.info("hand-over done: the proxy with pid %d holds the state", successor.pid)
        return True

    async def resume(self, serving: Serving) -> bool:
        """The successor has ended before its workers served. Whether this process is to decide again."""
        log.error("the successor ended before its workers served; this proxy goes on")
        while True:
            self.stopping.clear()
            try:
                await self.open_state(serving, serving.generation)
            except (StoreError, Refused) as error:
                log.error("nothing is decided, the workers serve on: %s", error)
                await self.close_state()
                if self.ending.is_told or await wait_for(self.stopping, RESUME_AGAIN):
                    return False
            else:
                self.succession.go_on(serving.pids)
                if self.ending.is_told:
                    self.stopping.set()
                return True

    async def end(self) -> None:
        """Workers end before the lock is released; but a start that failed first frees the state."""
        if self.is_left:
            self.succession.leave()
        elif not self.is_ready:
            await self.close_state()
            self.succession.give_up()
        if self.serving is not None and self.supervising is not None:
            await self.end_serving(self.serving, self.supervising)
        if self.serving is not None:
            self.serving.admin.remove()
        if self.is_ready and not self.is_left:
            await self.close_state()
            self.succession.end()

    async def end_serving(self, serving: Serving, supervising: asyncio.Future[None]) -> None:
        if self.is_left:
            serving.close_copies()
            await asyncio.wait([supervising], timeout=1.0)
            await serving.seam.serve_detached()
        else:
            await self.drain(serving, lambda: None)
            await asyncio.wait([supervising])

    async def drain(self, serving: Serving, tick: Callable[[], None]) -> None:
        """Returns when all workers have ended; the admin API answers meanwhile."""
        if self.drained is None:
            log.info("draining")
            serving.close_copies()
            timeout = 0.0 if self.ending.at_once.is_set() else self.loaded.config.drain.timeout
            self.drained = asyncio.ensure_future(serving.seam.stop(timeout))
        await self.ending.wait(self.drained, tick, serving.seam.hurry)

    async def decide(self, serving: Serving) -> None:
        """Prober, poller, admin API and health loop, until a signal or a successor ends them."""
        config = self.loaded.config
        self.prober = Prober(self.controller.endpoints_changed, self.controller.state.certificate_ends)
        self.prober.configure(self.loaded)
        runner = admin_runner(admin_app(self.controller, self, self.access))
        await runner.setup()
        environment = serving.admin.environment(self.access.own_token)
        self.beside = Beside(self.controller, self.versions, lambda: self.try_reload(REGISTRY), environment)
        try:
            await AdminSite(runner, serving.admin.sock.dup(), serving.admin_context).start()
            self.beside.begin(self.loaded, serving.admin.url)
            if not self.is_ready:
                self.succession.serving(config.drain.timeout, serving.pids, serving.offer)
                self.announce(serving)
            await self.run_loop()
            if self.succession.successor is None:
                await self.drain(serving, lambda: self.controller.tick(time.time()))
        finally:
            for each in (self.beside, self.prober):
                await each.close()
            await runner.cleanup()

    def announce(self, serving: Serving) -> None:
        self.is_ready = True
        for address in serving.addresses:
            log.info("listening on %s://%s:%d", *address)
        log.info("admin on %s", serving.admin.shown)
        for warning in self.loaded.warnings:
            log.warning("%s", warning)
        systemd.notify("READY=1\nSTATUS=serving")

    async def run_loop(self) -> None:
        """Tick and follow the configuration until a signal or a successor ends it."""
        async with asyncio.TaskGroup() as tasks:
            repeated = self.tick_on(), self.file.follow(), self.tls_files.follow()
            running = [tasks.create_task(each) for each in repeated]
            await self.stopping.wait()
            for task in running:
                task.cancel()

    async def tick_on(self) -> None:
        while True:
            self.controller.tick(time.time())
            await end_of(TICK, after=REPORTED)
