"""Workers that are told to end, and the end of their pool; the workers are played by the test."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from crossfade.workers import pool as pool_module
from crossfade.workers.messages import Closing, Drain, Publish, Release, Renew
from tests.dataplane.plane import SNAPSHOT
from tests.dataplane.wire import wait_until
from tests.workers.stage import COUNTS, Stage, serving

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
