"""The keeper of the workers: what each is given at its start, and a snapshot counts once every worker serves from it.

The workers are played by the test, but for the last tests: those are processes.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path

import pytest
from msgspec.structs import replace

import crossfade
from crossfade.stats.counts import Counts, CountsTable
from crossfade.workers import pool as pool_module
from crossfade.workers.link import LeavingWorkers
from crossfade.workers.messages import Listening, Publish, WorkerOptions
from crossfade.workers.place_keeper import PlaceKeeper
from crossfade.workers.pool import WorkerPool
from tests.dataplane.plane import SNAPSHOT
from tests.dataplane.wire import wait_until
from tests.workers.stage import COUNTS, Stage, serving

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
