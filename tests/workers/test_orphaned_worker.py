"""A worker whose control process is gone serves on until the next holder, or an end in good order."""

from __future__ import annotations

import asyncio
import os

import pytest

from crossfade.stats.counts import CountsTable
from crossfade.workers import local_socket
from crossfade.workers import worker as worker_module
from crossfade.workers.handover import Handover
from crossfade.workers.link import LeavingWorkers
from crossfade.workers.messages import Release
from crossfade.workers.state_lock import StateLock, name_of, socket_of
from tests.dataplane.wire import wait_until
from tests.workers.kept_worker import Kept


@pytest.mark.parametrize("released", [True, False], ids=["released", "killed"])
async def test_without_a_state_to_wait_for_it_drains_when_its_control_process_is_gone(
    kept: Kept, released: bool
) -> None:
    await kept.serving()
    if released:
        await kept.ask()
        kept.tell(Release())
        assert await kept.refusals() == 1, "its last report is heard"
    kept.writer.close()
    await kept.ended()


@pytest.mark.parametrize("released", [True, False], ids=["released", "killed"])
async def test_it_serves_on_and_hands_in_its_sockets_to_the_next_holder(
    lock: StateLock, released: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was counted in between is told to that one, and nothing of it is lost or told twice."""
    monkeypatch.setattr(worker_module, "RETRY_AFTER", 0.01)
    kept = Kept(lock.path)
    await kept.start()
    await kept.serving()
    if released:
        kept.tell(Release())
        assert await kept.refusals() == 0
    kept.writer.close()
    await wait_until(lambda: kept.worker.writer is None, "it is alone")
    for _ in range(2):
        assert b"404" in await kept.ask(), "it serves on"
    counts = CountsTable()
    lock.left_behind = [name_of(os.getpid())]
    holder = holder_of(lock, counts)
    (copy,) = await holder.gather()
    assert copy.getsockname() == kept.sock.getsockname()
    await wait_until(lambda: sum(counts.refused.values()) == 2, "its counts are told")
    assert b"404" in await kept.ask()
    holder.release(5.0, [copy])
    await kept.ended()
    await wait_until(lambda: sum(counts.refused.values()) == 3, "its last counts too")
    assert kept.plane.draining and not kept.plane.hurrying, "a successor accepts from the same sockets"
    holder.close()
    copy.close()
    await kept.close()


async def test_what_is_counted_while_a_successor_dies_is_told_to_the_next(
    lock: StateLock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "RETRY_AFTER", 0.01)
    monkeypatch.setattr(worker_module, "REPORT_EVERY", 0.01)
    kept = Kept(lock.path)
    await kept.start()
    await kept.serving()
    kept.writer.close()
    first, second = CountsTable(), CountsTable()
    lock.left_behind = [name_of(os.getpid())]
    holder = holder_of(lock, first)
    for sock in await holder.gather():
        sock.close()
    holder.close()
    await wait_until(lambda: kept.worker.writer is None, "it has seen that end")
    for _ in range(3):
        await kept.ask()
        await asyncio.sleep(0.02)
    holder = holder_of(lock, second)
    gathered = await holder.gather()
    await wait_until(lambda: sum(second.refused.values()) == 3, "its counts are told")
    assert first.refused == {}
    holder.release(5.0, gathered)
    for sock in gathered:
        sock.close()
    await kept.ended()
    holder.close()
    await kept.close()


def holder_of(lock: StateLock, counts: CountsTable) -> Handover:
    return Handover(lock, local_socket.listen_at(socket_of(lock.path)), LeavingWorkers(counts), lambda: None)


async def test_alone_it_ends_at_a_signal(lock: StateLock) -> None:
    kept = Kept(lock.path)
    await kept.start()
    await kept.serving()
    kept.writer.close()
    await wait_until(lambda: kept.worker.writer is None, "it is alone")
    kept.worker.leave()
    await kept.ended()
    await kept.close()


async def test_alone_it_ends_when_the_last_holder_ended_in_good_order(
    lock: StateLock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "RETRY_AFTER", 0.01)
    kept = Kept(lock.path)
    await kept.start()
    await kept.serving()
    kept.writer.close()
    await wait_until(lambda: kept.worker.writer is None, "it is alone")
    assert b"404" in await kept.ask()
    lock.release()
    await kept.ended()
    await kept.close()
