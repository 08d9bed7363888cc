"""The observer as the control process has it: started when a route reads answers, and again when it ends.

Rule: serving and counting never wait for the observer. What it has no time for is dropped and counted: samples above
WAITING bytes, and those that it had when it ended. An observer that says nothing for SILENCE seconds is replaced.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sys
from asyncio.subprocess import DEVNULL, Process

import msgspec

from crossfade.coalescing import end_of
from crossfade.control.comparisons import Comparisons
from crossfade.control.logged_batches import LoggedBatches
from crossfade.observer.messages import FROM_OBSERVER, Batch, Observed, Use, Watch
from crossfade.quality.keep import Keep
from crossfade.quality.prediction import Prediction
from crossfade.quality.watching import Watched
from crossfade.routing.snapshot import Snapshot
from crossfade.stats.counts import Counts
from crossfade.workers.ending import wait_for
from crossfade.workers.messages import read_frame, write_frame
from crossfade.workers.package_path import environment

log = logging.getLogger("crossfade.observer")

WAITING = 16_777_216  # bytes of samples that wait for the observer
SILENCE = 30.0  # seconds without an answer to a sample
ENDING = 10.0  # seconds from `stop` until it is killed
RESTART_AFTER = 0.5  # seconds; twice as long each time that the observer ends without an answer
RESTART_AT_LEAST_EVERY = 30.0
DROPPED = "observer"  # the reason, in the counts


def routes_of(snapshot: Snapshot) -> dict[str, Prediction]:
    """Those whose answers are read."""
    return {route.name: route.prediction for route in snapshot.routes if route.prediction is not None}


def kept_of(snapshot: Snapshot) -> dict[str, Keep]:
    """Where the pairs of routes are kept."""
    return {route.name: route.keep for route in snapshot.routes if route.keep is not None}


def logged_of(snapshot: Snapshot) -> dict[str, bool]:
    """Routes with a prediction log whose answers are read, and whether it keeps inputs."""
    return {
        route.name: route.inputs for route in snapshot.routes if route.logs and route.prediction is not None
    }


def add_pairs(comparisons: Comparisons, observed: Observed, now: float) -> None:
    """`now`: wall time."""
    for each in observed.pairs:
        if not comparisons.is_late(each.route, each.challenger, each.as_read, each.version):
            comparisons.add(each.route, each.challenger, each.champion, each.table, now)


class ObserverProcess:
    """Call `run`, then `stop`. `logged`: gets the outputs for the prediction logs as they come; it has a limit."""

    def __init__(self, logged: LoggedBatches | None = None) -> None:
        self.logged = LoggedBatches() if logged is None else logged
        self.how = Use({})
        self.watched = Watch({})
        self.needed = asyncio.Event()
        self.stopping = asyncio.Event()
        self.process: Process | None = None
        self.writer: asyncio.StreamWriter | None = None
        self.observed = Observed()
        self.pending = 0  # samples that it has not answered
        self.heard_at = 0.0  # of the loop's clock
        self.failures = 0  # ends in a row without an answer
        self.restarts = 0

    # ── the seam's side ───────────────────────────────────────────────────────────────────────

    def use(self, snapshot: Snapshot) -> None:
        how_to_log = snapshot.log.format, snapshot.log.level
        kept, logged = kept_of(snapshot), logged_of(snapshot)
        use = Use(routes_of(snapshot), kept, logged, how_to_log, snapshot.tracing)
        if use != self.how:
            self.how = use
            writer = self.taking
            if writer is not None:
                write_frame(writer, use)
        if use.routes or use.tracing is not None:
            self.needed.set()

    def use_drift(self, watched: dict[str, Watched]) -> None:
        """Compare these routes from now on. The same object again costs nothing."""
        if watched is not self.watched.routes:
            self.watched = Watch(watched)
            if self.writer is not None:
                write_frame(self.writer, self.watched)

    def read(self, samples: bytes, n: int) -> None:
        """`samples`: of one report, encoded."""
        if not n:
            return
        writer = self.taking
        if writer is None or writer.transport.get_write_buffer_size() + len(samples) > WAITING:
            self.drop(n)
            return
        if not self.pending:
            self.heard_at = asyncio.get_running_loop().time()
        self.pending += n
        write_frame(writer, Batch(samples, n))

    @property
    def taking(self) -> asyncio.StreamWriter | None:
        """None where it takes nothing."""
        ends = self.writer is None or self.writer.is_closing() or self.stopping.is_set()
        return None if ends else self.writer

    def drop(self, n: int) -> None:
        self.observed.add(Observed(0, Counts(dropped={DROPPED: n})))

    def take(self) -> Observed:
        """What has been read since the last call."""
        taken, self.observed = self.observed, Observed()
        return taken

    # ── life ──────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Until `stop`. Cancelling it kills the process."""
        while await self.wait_for_need():
            try:
                await self.start()
            except OSError as error:
                self.note_failure(f"cannot be started: {error}")
            else:
                await self.follow()
            await wait_for(self.stopping, min(RESTART_AFTER * 2**self.failures, RESTART_AT_LEAST_EVERY))

    async def wait_for_need(self) -> bool:
        """False at the end."""
        ends = [asyncio.ensure_future(event.wait()) for event in (self.needed, self.stopping)]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()
        return not self.stopping.is_set()

    async def start(self) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", "crossfade", "observer", str(theirs.fileno()),
                stdin=DEVNULL, env=environment(), pass_fds=[theirs.fileno()],
            )  # fmt: skip
            self.reader, self.writer = await asyncio.open_unix_connection(sock=ours.dup())
        write_frame(self.writer, self.how)
        write_frame(self.writer, self.watched)

    async def follow(self) -> None:
        """Returns when the process has ended, or hangs."""
        assert self.process is not None and self.writer is not None
        watching = [
            asyncio.ensure_future(each) for each in (self.watch(), self.let_end(self.process, self.writer))
        ]
        try:
            await self.take_answers()
        finally:
            for each in watching:
                each.cancel()
            self.writer.close()
            self.writer = None
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
        code = await self.process.wait()
        self.drop(self.pending)
        if not self.stopping.is_set():
            self.restarts += 1
            self.note_failure(f"ended with exit code {code}; {self.pending} samples are lost")
        self.pending = 0

    async def take_answers(self) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                data = await read_frame(self.reader)
                try:
                    observed = FROM_OBSERVER.decode(data)
                except msgspec.MsgspecError as error:
                    log.error("the observer sends what cannot be read: %s", error)
                    return
                self.failures = 0
                self.heard_at = asyncio.get_running_loop().time()
                self.pending -= observed.n
                self.logged.add(observed.outputs)
                observed.outputs = []
                self.observed.add(observed)

    async def watch(self) -> None:
        """Kill an observer that does not answer."""
        loop = asyncio.get_running_loop()
        while True:
            await end_of(SILENCE / 20)
            if self.pending and loop.time() - self.heard_at > SILENCE and self.process is not None:
                log.error(
                    "the observer (pid %d) hangs: no answer for %g s; replacing it", self.process.pid, SILENCE
                )
                with contextlib.suppress(ProcessLookupError):
                    self.process.kill()
                return

    async def let_end(self, process: Process, writer: asyncio.StreamWriter) -> None:
        """It ends by itself when it has read what it was given, and has ended its files."""
        await self.stopping.wait()
        with contextlib.suppress(OSError, RuntimeError):  # it has ended already
            writer.write_eof()
        await asyncio.sleep(ENDING)
        log.error("the observer (pid %d) does not end; killing it", process.pid)
        with contextlib.suppress(ProcessLookupError):
            process.kill()

    def note_failure(self, fault: str) -> None:
        """One line for a row of failures."""
        if not self.failures:
            log.error("the observer %s; starting it again and again", fault)
        self.failures = min(self.failures + 1, 16)

    def stop(self) -> None:
        """`run` returns when it has ended."""
        self.stopping.set()
