"""The keeper of the workers: who dies or hangs is replaced, and a snapshot counts once every worker serves from it.

The workers are played by the test, but for the last tests: those are processes.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

import crossfade
from crossfade.stats.counts import Cell, Counts, CountsTable
from crossfade.workers import pool as pool_module
from crossfade.workers.link import LeavingWorkers
from crossfade.workers.messages import (
    DOWNWARD,
    Closing,
    Drain,
    Listening,
    Publish,
    Release,
    Renew,
    Report,
    WorkerOptions,
    read_frame,
    write_frame,
)
from crossfade.workers.place_keeper import PlaceKeeper
from crossfade.workers.pool import WorkerPool
from crossfade.workers.start_error import StartError
from tests.dataplane.plane import SNAPSHOT
from tests.dataplane.wire import wait_until

COUNTS = Counts([Cell("r", "v2", "champion", 3, requests=5)])


class Played:
    """A worker process as the pool sees it, and the test at its other end."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def __init__(self, pid: int, options: WorkerOptions, passed: list[int]) -> None:
        self.is_connected = False
        self.pid = pid
        self.options = options
        self.passed = passed
        self.returncode: int | None = None
        self.ended = asyncio.Event()
        self.kills = 0
        self.sock = socket.socket(fileno=os.dup(options.seam_fd))

    async def connect(self) -> None:
        self.reader, self.writer = await asyncio.open_unix_connection(sock=self.sock)
        self.is_connected = True

    # ── what the pool calls ───────────────────────────────────────────────────────────────────

    def kill(self) -> None:
        self.kills += 1
        self.end(-signal.SIGKILL)

    async def wait(self) -> int:
        await self.ended.wait()
        assert self.returncode is not None
        return self.returncode

    # ── what a worker does ────────────────────────────────────────────────────────────────────

    def report(
        self,
        generation: int = 1,
        counts: Counts | None = None,
        connections: int = 0,
        leaving: bool = False,
    ) -> None:
        load = {"v2": 2}
        told = Report(generation, counts or Counts(), connections, 0.5, load, leaving=leaving)
        write_frame(self.writer, told)

    async def order(self) -> Publish | Closing | Drain | Release | Renew:
        return DOWNWARD.decode(await read_frame(self.reader))

    def end(self, code: int) -> None:
        if self.returncode is None:
            self.returncode = code
            self.ended.set()
            # A pool that is cancelled while it starts a worker leaves one that has not connected.
            (self.writer if self.is_connected else self.sock).close()


class Stage:
    """A pool of two whose workers are played.

    `started` are all there ever were, `told` the pids at each call of `on_start`; a start raises `fault`.
    """

    def __init__(self, count: int = 2) -> None:
        self.started: list[Played] = []
        self.told: list[list[int]] = []
        self.environments: list[dict[str, str]] = []
        self.fault: Exception | None = None
        self.attempts = 0
        self.table = CountsTable()
        self.leaving = LeavingWorkers(self.table)
        self.sockets = [socket.socket() for _ in range(count)]
        listening = [[(sock, Listening(-1))] for sock in self.sockets]
        options = WorkerOptions(-1, [], lock_file="lock")
        self.pool = WorkerPool(
            listening, options, self.table, self.leaving, self.note_start, 4.0, PlaceKeeper()
        )
        self.running = asyncio.create_task(self.pool.run())

    def note_start(self) -> None:
        self.told.append([status.pid for status in self.pool.workers()])

    async def spawn(self, *command: Any, **options: Any) -> Played:
        """In place of asyncio.create_subprocess_exec."""
        self.attempts += 1
        if self.fault is not None:
            raise self.fault
        given = msgspec.json.decode(command[-1], type=WorkerOptions)
        made = Played(100 + len(self.started), given, options["pass_fds"])
        self.started.append(made)
        self.environments.append(options["env"])
        await made.connect()
        return made

    async def has_started(self, count: int) -> list[Played]:
        await wait_until(
            lambda: len(self.started) == count and len(self.told) == count, f"{count} workers were started"
        )
        return self.started

    async def restarted(self, worker: int, times: int) -> None:
        await wait_until(
            lambda: self.pool.restarts[worker] == times, f"worker {worker} was lost {times} times"
        )

    async def close(self) -> None:
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)
        for worker in self.started:
            worker.end(0)
        for sock in self.sockets:
            sock.close()
        os.close(self.pool.rates_fd)
        self.pool.keeper.close()
        await asyncio.sleep(0)


@pytest.fixture
async def stage(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    monkeypatch.setattr(pool_module, "RESPAWN_AFTER", 0.0)
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setenv("HOME", "/home")
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1")
    monkeypatch.delenv("MALLOC_MMAP_THRESHOLD_", raising=False)
    made = Stage()
    monkeypatch.setattr(asyncio, "create_subprocess_exec", made.spawn)
    yield made
    await made.close()


async def serving(stage: Stage) -> list[Played]:
    """Both workers, which have reported once that they serve from generation 1."""
    _ = stage.pool.publish(SNAPSHOT)
    workers = list(await stage.has_started(2))
    for worker in workers:
        worker.report()
    await stage.pool.ready()
    return workers


# ── start ─────────────────────────────────────────────────────────────────────────────────────────


async def test_each_worker_is_given_its_seam_its_sockets_and_the_rates(stage: Stage) -> None:
    workers = await stage.has_started(2)
    for worker, sock in zip(workers, stage.sockets, strict=True):
        options = worker.options
        assert [at.fd for at in options.listening] == [sock.fileno()]
        assert (options.rates_fd, options.lock_file) == (stage.pool.rates_fd, "lock")
        assert worker.passed == [options.seam_fd, sock.fileno(), stage.pool.rates_fd, stage.pool.keeper.fd]
        assert (options.places_fd, options.workers) == (stage.pool.keeper.fd, 2)
    assert stage.told == [[100], [100, 101]]


async def test_a_worker_that_starts_later_is_given_the_snapshot_that_was_published(stage: Stage) -> None:
    _ = stage.pool.publish(SNAPSHOT)
    for worker in await stage.has_started(2):
        assert await worker.order() == Publish(SNAPSHOT)


async def test_it_is_ready_once_every_worker_has_reported(stage: Stage) -> None:
    first, second = await stage.has_started(2)
    ready = asyncio.create_task(stage.pool.ready())
    first.report()
    await wait_until(lambda: stage.pool.workers()[0].up, "the first is up")
    await asyncio.sleep(0.05)
    assert [status.up for status in stage.pool.workers()] == [True, False]
    assert not ready.done()
    second.report()
    await ready


async def test_a_report_is_the_worker_s_status_and_its_counts_add_up(stage: Stage) -> None:
    first, second = await serving(stage)
    first.report(3, COUNTS, connections=7)
    second.report(2, COUNTS)
    await wait_until(lambda: [s.generation for s in stage.pool.workers()] == [3, 2], "both are heard")
    status = stage.pool.workers()[0]
    assert (status.worker, status.pid, status.connections) == (0, first.pid, 7)
    assert (status.loop_lag, status.in_flight, status.restarts) == (0.5, {"v2": 2}, 0)
    (cell,) = stage.pool.take().cells
    assert cell.requests == 10
    assert stage.pool.take().cells == []


def waiting(**requests: int) -> Counts:
    """A report's requests without a first byte, by backend, all routed in second 7."""
    return Counts(waiting={"r": {backend: {7: n} for backend, n in requests.items()}})


async def test_waiting_requests_are_those_of_the_latest_report_of_each_worker(stage: Stage) -> None:
    first, second = await serving(stage)
    first.report(2, waiting(v2=5))
    first.report(3, waiting(v2=2, v3=1))
    second.report(3, waiting(v2=1))
    await wait_until(lambda: [s.generation for s in stage.pool.workers()] == [3, 3], "both are heard")
    together = {"r": {"v2": {7: 3}, "v3": {7: 1}}}
    assert stage.pool.take().waiting == together
    assert stage.pool.take().waiting == together, "a state, until another report"
    assert CountsTable().take().waiting == {}
    first.report(4)
    await wait_until(lambda: stage.pool.workers()[0].generation == 4, "it is heard")
    assert stage.pool.take().waiting == {"r": {"v2": {7: 1}}}


async def test_no_request_waits_at_a_worker_that_has_ended(stage: Stage) -> None:
    first, second = await serving(stage)
    first.report(2, waiting(v2=5))
    second.report(2, waiting(v2=1), leaving=True)
    await stage.has_started(3)
    await wait_until(lambda: stage.pool.take().waiting == {"r": {"v2": {7: 6}}}, "also one that leaves waits")
    second.end(0)
    await wait_until(lambda: stage.pool.take().waiting == {"r": {"v2": {7: 5}}}, "it has ended")
    first.end(1)
    await stage.restarted(0, 1)
    assert stage.pool.take().waiting == {}


async def test_it_finds_the_package_that_runs_here(stage: Stage) -> None:
    """Whatever lies in the working directory, or is in PYTHONPATH."""
    await stage.has_started(2)
    first, *rest = stage.environments[0]["PYTHONPATH"].split(os.pathsep)
    assert first == str(Path(crossfade.__file__).parents[1])
    assert rest == ["/elsewhere"]
    assert stage.environments[0]["HOME"] == os.environ["HOME"]


async def test_reads_over_tls_map_no_memory_unless_the_operator_wants_it(stage: Stage) -> None:
    await stage.has_started(2)
    given = stage.environments[0]
    assert int(given["MALLOC_MMAP_THRESHOLD_"]) > 256 * 1024  # what the event loop asks for
    assert given["MALLOC_TRIM_THRESHOLD_"] == "1"  # the operator's


# ── acknowledgements ──────────────────────────────────────────────────────────────────────────────


async def test_a_snapshot_is_published_once_every_worker_serves_from_it(stage: Stage) -> None:
    first, second = await serving(stage)
    publishing = stage.pool.publish(replace(SNAPSHOT, generation=4))
    for worker in (first, second):
        assert await worker.order() == Publish(SNAPSHOT)
        assert await worker.order() == Publish(replace(SNAPSHOT, generation=4))
    first.report(4)
    second.report(3)  # of a snapshot before
    await wait_until(lambda: [s.generation for s in stage.pool.workers()] == [4, 3], "both are heard")
    assert not publishing.done()
    second.report(5)  # of one after it, which is as good
    await publishing
    assert (first.kills, second.kills) == (0, 0)


async def test_a_worker_that_dies_is_not_waited_for(stage: Stage) -> None:
    first, second = await serving(stage)
    publishing = stage.pool.publish(replace(SNAPSHOT, generation=4))
    first.report(4)
    second.end(1)
    await publishing
    assert second.kills == 0, "it was not given up for being silent"
    third = (await stage.has_started(3))[2]
    assert await third.order() == Publish(replace(SNAPSHOT, generation=4))


async def test_a_start_that_hangs_ends_with_another(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = await stage.has_started(2)
    second.report(0)
    monkeypatch.setattr(pool_module, "SILENCE", 0.5)
    monkeypatch.setattr(pool_module, "START", 0.05)
    publishing = stage.pool.publish(SNAPSHOT)
    third = (await stage.has_started(3))[2]
    assert (first.returncode, second.returncode) == (-signal.SIGKILL, None)
    assert await third.order() == Publish(SNAPSHOT)
    second.report()
    await publishing


# ── who dies, and who hangs ───────────────────────────────────────────────────────────────────────


async def test_a_worker_that_dies_is_replaced_on_the_same_sockets(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = await serving(stage)
    first.report(1, COUNTS)
    await wait_until(lambda: stage.table.cells, "it is heard")
    first.end(7)
    third = (await stage.has_started(3))[2]
    assert third.options.listening == first.options.listening
    assert stage.told[-1] == [third.pid, second.pid]
    assert stage.pool.restarts == [1, 0]
    fresh = stage.pool.workers()[0]
    assert (fresh.worker, fresh.pid, fresh.up, fresh.restarts) == (0, third.pid, False, 1)
    assert "worker 0 (pid 100) ended with exit code 7" in caplog.text
    assert stage.pool.take().cells == COUNTS.cells, "what it had reported is kept"
    third.report()
    await stage.pool.ready()


async def test_while_it_is_replaced_a_dead_worker_is_not_up(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that dies at each start must not keep a core busy: there is a pause before the next."""
    monkeypatch.setattr(pool_module, "RESPAWN_AFTER", 3600.0)
    first, _ = await serving(stage)
    first.end(1)
    await stage.restarted(0, 1)
    await asyncio.sleep(0.05)
    assert len(stage.started) == 2
    assert [status.up for status in stage.pool.workers()] == [False, True]


async def test_a_worker_that_closes_the_seam_and_lives_on_is_waited_for(stage: Stage) -> None:
    """There must never be two on one socket's queue, of which one is not known of."""
    first, _ = await serving(stage)
    first.writer.close()
    await asyncio.sleep(0.05)
    assert (len(stage.started), stage.pool.restarts[0]) == (2, 0)
    first.end(0)
    await stage.has_started(3)


async def test_a_silent_worker_is_killed_and_replaced(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pool_module, "SILENCE", 0.2)
    first, second = await serving(stage)

    async def go_on() -> None:
        while True:
            second.report()
            await asyncio.sleep(0.01)

    talking = asyncio.create_task(go_on())
    await stage.has_started(3)
    talking.cancel()
    assert (first.returncode, first.kills) == (-signal.SIGKILL, 1)
    assert (second.returncode, stage.pool.restarts) == (None, [1, 0])
    assert "worker 0 (pid 100) hangs: no answer for 0.2 s; replacing it" in caplog.text


async def test_a_worker_that_has_not_begun_to_serve_is_not_called_silent(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start may take longer."""
    monkeypatch.setattr(pool_module, "SILENCE", 0.02)
    workers = await stage.has_started(2)
    await asyncio.sleep(0.1)
    assert [worker.kills for worker in workers] == [0, 0]


async def test_of_workers_that_hang_one_is_replaced_before_the_next_is_killed(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = await serving(stage)
    monkeypatch.setattr(pool_module, "SILENCE", 0.05)
    third = (await stage.has_started(3))[2]
    await asyncio.sleep(0.2)
    assert (first.kills + second.kills, third.kills) == (1, 0), "the third does not serve yet"
    third.report()
    await wait_until(lambda: first.kills + second.kills == 2, "now the other one")


async def test_a_pool_that_was_late_itself_first_hears_what_its_workers_said(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was stopped, or busy, for longer than the silence that it allows; they reported all the time, or nearly."""
    monkeypatch.setattr(pool_module, "SILENCE", 0.2)
    first, second = await serving(stage)

    async def go_on() -> None:
        while True:
            first.report()
            second.report()
            await asyncio.sleep(0.01)

    talking = asyncio.create_task(go_on())
    for _ in range(3):
        await asyncio.sleep(0.03)
        await stand_still(0.5)
    assert (first.kills, second.kills) == (0, 0)
    talking.cancel()


async def stand_still(seconds: float) -> None:
    """The loop does nothing meanwhile, as in a process that was stopped."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while time.monotonic() < end:
        pass


async def test_a_worker_that_sends_nonsense_is_replaced(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = await serving(stage)
    first.writer.write(b"\0\0\0\x03abc")
    await stage.has_started(3)
    assert (first.kills, second.kills) == (1, 0)
    assert "worker 0 (pid 100) sends what cannot be read" in caplog.text


# ── who cannot be started ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("fault", [OSError(24, "Too many open files"), MemoryError("no memory")])
async def test_a_start_that_fails_is_tried_again_and_the_others_serve_on(
    stage: Stage, caplog: pytest.LogCaptureFixture, fault: Exception
) -> None:
    caplog.set_level(logging.INFO)
    first, second = await serving(stage)
    stage.fault = fault
    first.end(1)
    await wait_until(lambda: stage.attempts > 5, "it is tried again and again")
    assert second.kills == 0
    assert [status.up for status in stage.pool.workers()] == [False, True]
    stage.fault = None
    third = (await stage.has_started(3))[2]
    third.report()
    await stage.restarted(0, 1)
    await wait_until(lambda: stage.pool.workers()[0].up, "it serves")
    lines = [record.message for record in caplog.records if "cannot be started" in record.message]
    assert lines == [f"worker 0 cannot be started: {fault}; trying again and again"], "one line"
    assert "worker 0 serves again" in caplog.text
    assert not stage.running.done()


async def test_the_pause_grows_with_each_start_that_fails(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(pool_module, "RESPAWN_AFTER", 0.2)
    first, _ = await serving(stage)

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        await asyncio.sleep(0)

    monkeypatch.setattr(stage.pool, "pause", pause)
    stage.fault = OSError(11, "Resource temporarily unavailable")
    first.end(1)
    await wait_until(lambda: len(pauses) > 8, "it is tried again and again")
    assert pauses[:9] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0, 10.0]


async def test_one_of_the_first_that_ends_fails_the_start(stage: Stage) -> None:
    """Who waits for the start of the proxy is told at once."""
    first, _ = await stage.has_started(2)
    first.end(3)
    with pytest.raises(StartError, match="worker 0 ended with exit code 3 before it served"):
        await stage.pool.ready()


async def test_one_of_the_first_that_cannot_be_started_fails_the_start(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    another = Stage()
    another.fault = OSError(12, "Cannot allocate memory")
    monkeypatch.setattr(asyncio, "create_subprocess_exec", another.spawn)
    with pytest.raises(StartError, match=r"cannot be started: \[Errno 12\] Cannot allocate memory"):
        await another.pool.ready()
    await another.close()


async def test_workers_have_started_once_each_has_reported(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = await stage.has_started(2)
    started = asyncio.create_task(stage.pool.started())
    first.report(0)
    await asyncio.sleep(0.05)
    assert not started.done()
    second.report(0)
    await started
    assert [status.up for status in stage.pool.workers()] == [False, False], "none has a snapshot"
    monkeypatch.setattr(pool_module, "START", 0.05)
    with pytest.raises(StartError, match=r"do not serve after 0.05 s"):
        await stage.pool.ready()


# ── who is told by a signal to end ────────────────────────────────────────────────────────────────


async def test_a_worker_that_got_a_signal_serves_until_its_replacement_does(stage: Stage) -> None:
    first, second = await serving(stage)
    first.report(leaving=True)
    third = (await stage.has_started(3))[2]
    assert third.options.listening == first.options.listening
    publishing = stage.pool.publish(replace(SNAPSHOT, generation=4))
    for worker in (first, second):
        assert await worker.order() == Publish(SNAPSHOT)
        assert await worker.order() == Publish(replace(SNAPSHOT, generation=4)), "what is taken back, for all"
    third.report(4)
    assert await first.order() == Drain(4.0, inherited=True)
    first.report(4, COUNTS, leaving=True)
    second.report(4)
    await publishing
    await wait_until(lambda: stage.table.cells, "its counts still count")
    assert stage.pool.restarts == [0, 0]
    first.end(0)
    await wait_until(lambda: not stage.leaving.links, "it has ended")
    assert len(stage.started) == 3


async def test_at_the_end_one_that_is_leaving_is_told_to_drain_too(stage: Stage) -> None:
    """A service manager sends the signal to all processes at once."""
    first, second = await serving(stage)
    first.report(leaving=True)
    await wait_until(lambda: stage.leaving.links, "it wants to leave")
    stopping = asyncio.create_task(stage.pool.stop(3.0))
    for worker in (first, second):
        assert await worker.order() == Publish(SNAPSHOT)
        assert await worker.order() == Drain(3.0)
        worker.end(0)
    await wait_until(lambda: stopping.done() or len(stage.started) == 3, "it ends")
    for worker in stage.started[2:]:
        worker.end(0)
    await stopping
    await stage.running


# ── the end ───────────────────────────────────────────────────────────────────────────────────────


async def test_before_the_end_answers_close_and_none_is_started_for_one_that_wants_to_leave(
    stage: Stage,
) -> None:
    """A service manager sends TERM to all processes at once, and the delay of the drain has just begun."""
    first, second = await serving(stage)
    stage.pool.close_after_answers()
    for worker in (first, second):
        assert await worker.order() == Publish(SNAPSHOT)
        assert await worker.order() == Closing()
        worker.report(leaving=True)
    await wait_until(lambda: all(link.leaving for link in stage.pool.links.values()), "they want to leave")
    first.end(1)
    await wait_until(lambda: len(stage.started) == 3, "one that died is replaced all the same")
    third = stage.started[2]
    assert await third.order() == Publish(SNAPSHOT)
    assert await third.order() == Closing()
    stopping = asyncio.create_task(stage.pool.stop(3.0))
    for worker in (second, third):
        assert await worker.order() == Drain(3.0)
        worker.end(0)
    await stopping
    await stage.running
    assert len(stage.started) == 3


async def test_after_a_second_signal_nobody_has_the_time_to_finish(stage: Stage) -> None:
    first, second = await serving(stage)
    stopping = asyncio.create_task(stage.pool.stop(1000.0))
    for worker in (first, second):
        assert await worker.order() == Publish(SNAPSHOT)
        assert await worker.order() == Drain(1000.0)
    stage.pool.hurry()
    for worker in (first, second):
        assert await worker.order() == Drain(0.0)
        worker.end(0)
    await stopping
    await stage.running


async def test_who_hangs_at_a_second_signal_is_killed(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "GRACE", 0.05)
    workers = await serving(stage)
    stopping = asyncio.create_task(stage.pool.stop(1000.0))
    await wait_until(stage.pool.stopping.is_set, "it stops")
    stage.pool.hurry()
    await stopping
    assert [worker.kills for worker in workers] == [1, 1]
    await stage.running


async def test_a_worker_that_is_silent_while_it_drains_is_not_killed_before_its_time(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "SILENCE", 0.05)
    workers = await serving(stage)
    stopping = asyncio.create_task(stage.pool.stop(30.0))
    for worker in workers:
        assert await worker.order() == Publish(SNAPSHOT)
        assert await worker.order() == Drain(30.0)
    await asyncio.sleep(0.15)
    assert [worker.kills for worker in workers] == [0, 0]
    for worker in workers:
        worker.report(1, COUNTS)
        worker.end(0)
    await stopping
    await stage.running
    assert (len(stage.started), stage.pool.restarts) == (2, [0, 0]), "none is started in their place"
    assert stage.pool.take().cells[0].requests == 10, "the last reports are counted"


async def test_who_has_not_ended_in_time_is_killed(stage: Stage) -> None:
    first, second = await serving(stage)
    stopping = asyncio.create_task(
        stage.pool.stop(-1.95)
    )  # two seconds are added for them to end by themselves
    await wait_until(stage.pool.stopping.is_set, "it stops")
    first.end(0)
    await stopping
    assert (first.kills, second.kills) == (0, 1)
    await stage.running


async def test_workers_are_left_to_a_successor_with_their_last_reports_heard(stage: Stage) -> None:
    workers = await serving(stage)
    leaving = asyncio.create_task(stage.pool.release())
    for worker in workers:
        assert await worker.order() == Publish(SNAPSHOT)
        assert await worker.order() == Release()
        worker.report(1, COUNTS)
    await wait_until(lambda: stage.table.cells, "they are heard")
    assert not leaving.done(), "until they have hung up"
    for worker in workers:
        worker.writer.close()
    await leaving
    await stage.running
    assert stage.pool.take().cells[0].requests == 10
    assert [(worker.kills, worker.returncode) for worker in workers] == [(0, None)] * 2
    assert len(stage.started) == 2


async def test_all_workers_are_told_to_read_their_certificates_again(stage: Stage) -> None:
    workers = await serving(stage)
    stage.pool.renew()
    for worker in workers:
        assert await worker.order() == Publish(SNAPSHOT)
        assert await worker.order() == Renew()


async def test_to_give_up_at_once_kills_them(stage: Stage) -> None:
    workers = await serving(stage)
    stage.running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stage.running
    assert [worker.kills for worker in workers] == [1, 1]


# ── processes ─────────────────────────────────────────────────────────────────────────────────────


async def test_a_worker_that_is_killed_leaves_its_socket_to_the_next() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        sock.setblocking(False)
        pids: list[list[int]] = []
        pool = WorkerPool(
            [[(sock, Listening(-1))]],
            WorkerOptions(-1, []),
            table := CountsTable(),
            LeavingWorkers(table),
            lambda: pids.append([status.pid for status in pool.workers()]),
            5.0,
            PlaceKeeper(),
        )
        running = asyncio.create_task(pool.run())
        _ = pool.publish(SNAPSHOT)
        await pool.ready()
        for generation in (2, 3):
            await pool.publish(replace(SNAPSHOT, generation=generation))
            assert [status.generation for status in pool.workers()] == [generation]
            assert b"404" in await answered(sock)
            if generation == 2:
                os.kill(pool.workers()[0].pid, signal.SIGKILL)
                await wait_until(lambda: pool.restarts == [1], "its death is seen")
                await wait_until(lambda: len(pids) == 2, "another is started")
                await pool.ready()
        await pool.stop(5.0)
        await running
        os.close(pool.rates_fd)
        pool.keeper.close()
    assert len({pid for (pid,) in pids}) == 2


async def answered(sock: socket.socket) -> bytes:
    reader, writer = await asyncio.open_connection(*sock.getsockname())
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer
