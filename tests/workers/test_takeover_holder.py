"""The lock holder's side of a takeover: a proxy that is told to take over gets all that the holder has, once it serves."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path

import pytest

from crossfade.control.logged_batches import LoggedBatches
from crossfade.quality.logged import LoggedBatch
from crossfade.stats.counts import Cell, Counts, CountsTable
from crossfade.workers import handover
from crossfade.workers.messages import Leave, write_frame
from crossfade.workers.start_error import StartError
from crossfade.workers.takeover import Predecessor, ask
from tests.dataplane.plane import SNAPSHOT
from tests.dataplane.wire import wait_until
from tests.workers.holder import COUNTS, Holder

ROWS = LoggedBatch("r", 1, b"one")


async def asked(holder: Holder, counts: CountsTable, logged: LoggedBatches | None = None) -> Predecessor:
    predecessor = await ask(holder.database, counts, logged or LoggedBatches())
    assert predecessor is not None
    return predecessor


def closed(predecessor: Predecessor) -> None:
    predecessor.close()
    os.close(predecessor.lock_fd)
    for sock in (predecessor.sock, predecessor.admin, *predecessor.listening):
        sock.close()


async def test_where_there_is_no_proxy_nothing_is_taken_over(tmp_path: Path) -> None:
    assert await ask(str(tmp_path / "state.db"), CountsTable(), LoggedBatches()) is None


async def test_a_successor_gets_all_descriptors_and_the_holder_goes_on_until_it_serves(
    holder: Holder, listening: socket.socket
) -> None:
    counts, logged = CountsTable(), LoggedBatches()
    holder.serves(listening)
    successor = await asked(holder, counts, logged)
    assert (successor.pid, successor.generation, holder.asked) == (os.getpid(), 7, 0)
    assert [sock.getsockname() for sock in successor.listening] == [listening.getsockname()]
    assert successor.sock.getsockname() == holder.handover.sock.getsockname()
    assert os.path.samestat(os.fstat(successor.lock_fd), os.fstat(holder.lock.fd))
    leaving = asyncio.ensure_future(successor.leave())
    await wait_until(lambda: holder.asked, "it is asked to leave")
    assert holder.handover.successor is not None
    await holder.handover.successor.tell(COUNTS, [ROWS])
    await leaving
    assert (counts.take().cells, logged.take().batches) == (COUNTS.cells, [ROWS])
    successor.publish(SNAPSHOT)
    await wait_until(lambda: holder.published, "its snapshot is passed on")
    assert holder.published == [SNAPSHOT]
    outcome = asyncio.ensure_future(holder.handover.successor.outcome())
    await asyncio.sleep(0.01)
    assert not outcome.done()
    successor.serving()
    assert await outcome
    await holder.handover.successor.end(COUNTS, [ROWS])
    await wait_until(lambda: counts.cells, "the last counts too")
    assert (counts.take().cells, logged.take().batches) == (COUNTS.cells, [ROWS])
    closed(successor)


async def test_more_counts_than_a_socket_holds_do_not_stop_the_holder(
    holder: Holder, listening: socket.socket
) -> None:
    given = Counts([Cell("r", f"v{n}", "champion", 3, requests=1) for n in range(5000)])
    counts = CountsTable()
    holder.serves(listening)
    successor = await asked(holder, counts)
    leaving = asyncio.ensure_future(successor.leave())
    await wait_until(lambda: holder.asked, "it is asked to leave")
    assert holder.handover.successor is not None
    await holder.handover.successor.tell(given, [])
    await leaving
    assert counts.take().cells == given.cells
    closed(successor)


@pytest.mark.parametrize("asks", [False, True], ids=["before it asks", "after it asked"])
async def test_a_successor_that_ends_before_it_serves_leaves_the_holder_as_it_was(
    holder: Holder, listening: socket.socket, asks: bool
) -> None:
    holder.serves(listening)
    first = await asked(holder, CountsTable())
    if asks:
        write_frame(first.writer, Leave())
        await wait_until(lambda: holder.asked, "it is asked to leave")
        assert holder.handover.successor is not None
        closed(first)
        assert not await holder.handover.successor.outcome()
        holder.handover.go_on()
    else:
        closed(first)
    second = await asked(holder, CountsTable())
    write_frame(second.writer, Leave())
    await wait_until(lambda: holder.asked == 1 + asks, "the next one can take over")
    closed(second)


async def test_a_successor_that_neither_serves_nor_ends_is_killed(
    holder: Holder, listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes must not decide; and the workers must not be without one."""
    monkeypatch.setattr(handover, "PATIENCE", 0.05)
    holder.serves(listening)
    successor = await asked(holder, CountsTable())
    sent: list[tuple[int, int]] = []

    def kill(pid: int, sign: int) -> None:
        sent.append((pid, sign))
        closed(successor)

    monkeypatch.setattr(os, "kill", kill)
    write_frame(successor.writer, Leave())
    await wait_until(lambda: holder.asked, "it is asked to leave")
    assert holder.handover.successor is not None
    assert not await holder.handover.successor.outcome()
    assert sent == [(os.getpid(), signal.SIGKILL)]


async def test_one_successor_at_a_time_and_none_while_it_starts(
    holder: Holder, listening: socket.socket
) -> None:
    with pytest.raises(StartError, match="cannot leave: it is starting or ending"):
        await ask(holder.database, CountsTable(), LoggedBatches())
    holder.serves(listening)
    first, second = await asked(holder, CountsTable()), await asked(holder, CountsTable())
    write_frame(first.writer, Leave())
    await wait_until(lambda: holder.asked, "it is asked to leave")
    with pytest.raises(StartError, match="did not leave"):
        await second.leave()
    assert holder.asked == 1
    closed(first)
    closed(second)


async def test_a_holder_that_does_not_answer_is_not_waited_for_for_ever(
    holder: Holder, listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crossfade.workers import takeover

    monkeypatch.setattr(takeover, "ANSWER_WITHIN", 0.05)
    monkeypatch.setattr(takeover, "LEAVE_WITHIN", 0.05)
    holder.handover.pause()
    with pytest.raises(StartError, match=r"the running proxy stays: no answer within 0.05 s"):
        await ask(holder.database, CountsTable(), LoggedBatches())
    holder.serves(listening)
    monkeypatch.setattr(takeover, "ANSWER_WITHIN", 10.0)
    holder.handover.listen()
    successor = await asked(holder, CountsTable())
    with pytest.raises(StartError, match="did not leave"):
        await successor.leave()
    closed(successor)
    await wait_until(
        lambda: holder.handover.successor and holder.handover.successor.serves.done(), "it is noticed"
    )
