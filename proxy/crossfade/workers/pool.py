"""Starts and replaces the workers, in the control process. It is the controller's seam.

A worker that dies or hangs is replaced. Its counts since its last report, at most 0.25 s before, are lost, and nothing else;
restarts are counted. A worker that gets SIGTERM serves until its replacement serves. Where no worker can be started
(no descriptors, no processes), the others serve on, and the start is tried again and again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sys
from collections.abc import Callable, Iterable, Sequence
from time import time
from typing import Any

import msgspec
from msgspec.structs import replace

from crossfade import shared_rates
from crossfade.coalescing import until_next
from crossfade.control.background import Background
from crossfade.control.comparisons import Comparisons
from crossfade.control.drift_channel import DriftChannel
from crossfade.control.logged_batches import Taken
from crossfade.control.observations import LatestObservations
from crossfade.control.seam import WorkerStatus
from crossfade.log_lines import facts
from crossfade.routing.snapshot import Snapshot
from crossfade.stats.counts import Counts, CountsTable, sum_of_waiting
from crossfade.workers.link import LeavingWorkers, WorkerLink
from crossfade.workers.messages import (
    Closing,
    Drain,
    Listening,
    Publish,
    Release,
    Renew,
    Report,
    WorkerOptions,
)
from crossfade.workers.observer_process import ObserverProcess, add_pairs
from crossfade.workers.package_path import environment
from crossfade.workers.place_keeper import PlaceKeeper
from crossfade.workers.start_error import StartError

log = logging.getLogger("crossfade.workers")

SILENCE = 10.0  # seconds without a report: the worker hangs and is replaced
START = 60.0  # seconds from the start of a worker to its first report
RESPAWN_AFTER = (
    0.2  # seconds between the end of a worker and the start of the next; twice as long each time that fails
)
RESPAWN_AT_LEAST_EVERY = 10.0
# glibc would map and unmap memory for each read of a TLS connection: the event loop asks for 256 KiB, and gives back what was
# not read. An operator's own values stay.
_MALLOC = {"MALLOC_MMAP_THRESHOLD_": "1048576", "MALLOC_TRIM_THRESHOLD_": "4194304"}
GRACE = 2.0  # seconds for a worker whose drain is over to end by itself


class WorkerPool:
    """Call `run`, then `started` and `ready`, then `stop` or `release`."""

    def __init__(
        self,
        listening: Sequence[Sequence[tuple[socket.socket, Listening]]],
        options: WorkerOptions,
        table: CountsTable,
        leaving: LeavingWorkers,
        on_start: Callable[[], None],
        drain: float,
        keeper: PlaceKeeper,
    ) -> None:
        """`listening[i]`: the sockets of worker i. `on_start` is called when a worker has started.

        `drain`: seconds for a worker that is replaced to finish in.
        """
        self.listening = listening
        self.rates_fd = shared_rates.new_memory()
        self.keeper = keeper
        self.options = replace(options, rates_fd=self.rates_fd, places_fd=keeper.fd, workers=len(listening))
        self.table = table
        self.leaving = leaving
        self.observations = LatestObservations()
        self.comparisons = Comparisons()
        self.drift = DriftChannel()
        self.observer = ObserverProcess(leaving.logged)
        self.on_start = on_start
        self.links: dict[int, WorkerLink] = {}
        self.restarts = [0] * len(listening)
        self.failures = [0] * len(listening)  # starts in a row that led to no worker that served
        self.fault = ""  # of the last start that failed
        self.killed: WorkerLink | None = None  # because it hangs; until its replacement serves
        self.snapshot: Snapshot | None = None
        self.drain = drain
        self.closing = False  # the proxy will end, and none is started for one that is leaving
        self.patience: asyncio.Timeout | None = None  # of `stop`
        self.stopping = asyncio.Event()
        self.background = Background()

    # ── supervision ───────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Supervise each worker until `stop` or `release`. Cancelling it kills the workers; an error of its own does not."""
        self.stopped = asyncio.ensure_future(self.stopping.wait())
        tasks: list[asyncio.Future[Any]] = [self.stopped]
        tasks += [asyncio.ensure_future(self.supervise(n)) for n in range(len(self.listening))]
        tasks.append(asyncio.ensure_future(self.watch()))
        tasks.append(asyncio.ensure_future(self.observer.run()))
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        except asyncio.CancelledError:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise
        for task in done:
            task.result()

    async def supervise(self, number: int) -> None:
        while not self.stopping.is_set():
            try:
                link = await self.start(number)
            except Exception as error:  # also MemoryError: whatever it is, the others serve on
                self.note_failure(number, f"cannot be started: {str(error) or repr(error)}")
            else:
                self.links[number] = link
                self.on_start()
                if self.stopping.is_set():
                    link.kill()
                await self.follow(link)
            await self.pause(min(RESPAWN_AFTER * 2 ** self.failures[number], RESPAWN_AT_LEAST_EVERY))

    def note_failure(self, number: int, fault: str) -> None:
        """One line for a row of failures."""
        self.fault = f"worker {number} {fault}"
        if not self.failures[number]:
            known = facts("worker", worker=number, state="failed")
            log.error("%s; trying again and again", self.fault, extra=known)
        self.failures[number] = min(self.failures[number] + 1, 16)

    async def pause(self, seconds: float) -> None:
        """Until `stop` or `release` at most. One task waits for both as long as the pool runs: `wait_for` costs more each time."""
        await asyncio.wait([self.stopped], timeout=seconds)

    async def start(self, number: int) -> WorkerLink:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            listening = [replace(at, fd=sock.fileno()) for sock, at in self.listening[number]]
            options = replace(self.options, seam_fd=theirs.fileno(), listening=listening)
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", "crossfade", "worker", msgspec.json.encode(options).decode(),
                stdin=asyncio.subprocess.DEVNULL, env={**_MALLOC, **environment()},
                pass_fds=[theirs.fileno(), *(at.fd for at in listening), self.rates_fd, self.keeper.fd],
            )  # fmt: skip
            try:
                streams = await asyncio.open_unix_connection(sock=ours.dup())
            except BaseException:
                process.kill()
                raise
        before = self.links.get(number)
        queues = {} if before is None else {n: replace(q, length=0) for n, q in before.status.queues.items()}
        status = WorkerStatus(number, process.pid, False, 0, 0, 0.0, {}, self.restarts[number], queues)
        link = WorkerLink(status, streams, process)
        if self.snapshot is not None:
            link.tell(Publish(self.snapshot))
        if self.closing:
            link.tell(Closing())
        return link

    async def follow(self, link: WorkerLink) -> None:
        """Returns when the worker is to be replaced: it has ended, or it is leaving."""
        assert link.process is not None
        reading = self.background.task(link.read(self.take_report))
        number, pid = link.name
        try:
            await link.until(lambda: link.leaving and not self.closing)
            if link.leaving and not link.ended:
                known = facts("worker", worker=number, worker_pid=pid, state="leaving")
                log.info("worker %d (pid %d) was told to end; starting another", number, pid, extra=known)
                self.background.spawn(self.leave(link, reading))
                return
            await reading
            code = 0 if self.stopping.is_set() else await link.process.wait()
            if not self.stopping.is_set():
                self.keeper.clear(pid)
        except asyncio.CancelledError:
            link.kill()
            raise
        if self.stopping.is_set():
            return
        self.restarts[number] += 1
        if not link.status.generation:
            self.note_failure(number, f"ended with exit code {code} before it served")
        else:
            log.error(
                "worker %d (pid %d) ended with exit code %d; starting another. "
                "Its counts since its last report are lost", number, pid, code,
                extra=facts("worker", worker=number, worker_pid=pid, state="ended", exit_code=code),
            )  # fmt: skip

    async def leave(self, link: WorkerLink, reading: asyncio.Task[None]) -> None:
        """It serves until its replacement does."""
        assert link.process is not None
        self.leaving.links.add(link)
        try:
            await reading
            await link.process.wait()
            self.keeper.clear(link.status.pid)
        finally:
            self.leaving.links.discard(link)

    def take_report(self, link: WorkerLink, report: Report) -> None:
        number = link.status.worker
        self.table.add(report.counts)
        self.leaving.logged.add(report.logged)
        self.observer.read(report.samples, report.sampled)
        if report.generation and self.links.get(number) is link and not link.leaving:
            if self.failures[number]:
                log.info(
                    "worker %d serves again", number, extra=facts("worker", worker=number, state="serves")
                )
                self.failures[number] = 0
            self.dismiss(number)

    def dismiss(self, number: int) -> None:
        """Workers that left before this one serves from their sockets."""
        replaced = [old for old in self.leaving.links if old.status.worker == number]
        self.leaving.drain(self.drain, replaced)

    # ── workers that hang ─────────────────────────────────────────────────────────────────────

    async def watch(self) -> None:
        """Kill a worker that is silent, one at a time.

        Silence is added up in short parts, and between two of them this process reads what workers have said. So a
        time in which this process itself stood still, or was busy, counts as one part.
        """
        loop = asyncio.get_running_loop()
        before = loop.time()
        while not self.stopping.is_set():
            await self.pause(until_next(loop.time(), SILENCE / 20))
            now = loop.time()
            passed, before = min(now - before, SILENCE / 10), now
            for link in self.all_links():
                link.silent += passed
            self.kill_silent()
            self.keeper.clear_ended()

    def all_links(self) -> list[WorkerLink]:
        return list(dict.fromkeys([*self.links.values(), *self.leaving.links]))

    def kill_silent(self) -> None:
        if self.killed is not None and self.is_missing(self.killed):
            return
        self.killed = None
        for link in self.all_links():
            limit = SILENCE if link.heard else START
            if link.silent >= limit and not link.ended:
                number, pid = link.name
                known = facts("worker", worker=number, worker_pid=pid, state="hangs")
                log.error(
                    "worker %d (pid %d) hangs: no answer for %g s; replacing it",
                    number,
                    pid,
                    limit,
                    extra=known,
                )
                self.killed = link
                link.kill()
                return

    def is_missing(self, killed: WorkerLink) -> bool:
        """Whether nobody serves in its place."""
        if not killed.ended:
            return True
        present = self.links.get(killed.status.worker)
        return present is killed or (present is not None and not present.status.up)

    # ── the seam ──────────────────────────────────────────────────────────────────────────────

    def publish(self, snapshot: Snapshot) -> asyncio.Future[None]:
        self.snapshot = snapshot
        self.observer.use(snapshot)
        links = list(self.links.values())
        for link in links:
            link.tell(Publish(snapshot))
        links += self.leaving.publish(snapshot)
        return self.background.task(self.acknowledged(links, snapshot.generation))

    async def acknowledged(self, links: Sequence[WorkerLink], generation: int) -> None:
        """Ends for each worker when it serves from this generation, or has ended; `watch` ends those that hang."""
        await asyncio.gather(*(link.serves(generation) for link in links))

    def renew(self) -> None:
        """Make all workers read their certificates again."""
        for link in self.all_links():
            link.tell(Renew())

    def take(self) -> Counts:
        observed = self.observer.take()
        self.table.add(observed.counts)
        self.observations.add(observed.observations)
        add_pairs(self.comparisons, observed, time())
        self.drift.seen.add(observed.seen)
        self.observer.use_drift(self.drift.wanted)
        counts = self.table.take()
        counts.waiting = sum_of_waiting(link.waiting for link in self.all_links())
        return counts

    def take_logged(self) -> Taken:
        return self.leaving.logged.take()

    def workers(self) -> list[WorkerStatus]:
        return [link.status for _, link in sorted(self.links.items())]

    def leaving_workers(self) -> list[WorkerStatus]:
        ours = list(self.links.values())
        return [link.status for link in self.leaving.links if link not in ours]

    # ── start and end ─────────────────────────────────────────────────────────────────────────

    async def started(self) -> None:
        """Returns when every worker has told that it is there. Raises StartError."""
        await self.all_are(lambda link: link.heard)

    async def ready(self) -> None:
        """Returns when every worker serves from the published snapshot. Raises StartError."""
        await self.all_are(lambda link: link.status.up)

    async def all_are(self, condition: Callable[[WorkerLink], bool]) -> None:
        """A worker that cannot be started, or ends before it serves, ends the wait: the start of the proxy has failed."""
        try:
            async with asyncio.timeout(START):
                while len(self.links) < len(self.listening) or not all(map(condition, self.links.values())):
                    if self.fault:
                        raise StartError(self.fault)
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise StartError(f"the workers do not serve after {START:g} s") from None

    def close_after_answers(self) -> None:
        """Answers close their connections from now on, so that clients go elsewhere; `stop` follows.

        A service manager sends TERM to workers too. They serve on, and none is started in their place.
        """
        self.closing = True
        for link in self.all_links():
            link.tell(Closing())

    async def stop(self, timeout: float) -> None:
        """Let workers finish the requests in flight, for at most `timeout` seconds; then kill them.

        Returns when their last reports have arrived.
        """
        self.stopping.set()
        self.observer.stop()
        links = [link for link in self.all_links() if link.process is not None]
        for link in links:
            link.tell(Drain(timeout))
        ends = asyncio.gather(*[link.process.wait() for link in links if link.process is not None])
        try:
            async with asyncio.timeout(timeout + GRACE) as self.patience:
                await ends
        except TimeoutError:
            for link in links:
                link.kill()
        await self._last_reports(links)

    def hurry(self) -> None:
        """`stop` waits for no request any more."""
        for link in self.all_links():
            link.tell(Drain(0.0))
        if self.patience is not None and not self.patience.expired():
            self.patience.reschedule(asyncio.get_running_loop().time() + GRACE)

    async def release(self) -> None:
        """Leave the workers to a successor. Returns when their last reports have arrived."""
        self.stopping.set()
        self.observer.stop()
        links = list(self.all_links())
        for link in links:
            link.tell(Release())
        await self._last_reports(links)

    async def _last_reports(self, links: Iterable[WorkerLink]) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SILENCE):
                await asyncio.gather(*(link.until(lambda: False) for link in links))

    async def serve_detached(self) -> None:
        """The workers do, without this process."""
