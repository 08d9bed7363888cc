"""Who dies, hangs or cannot be started is replaced on the same sockets; the workers are played by the test."""

from __future__ import annotations

import asyncio
import logging
import signal
import time

import pytest

from crossfade.workers import pool as pool_module
from crossfade.workers.start_error import StartError
from tests.dataplane.wire import wait_until
from tests.workers.stage import COUNTS, Stage, serving

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
