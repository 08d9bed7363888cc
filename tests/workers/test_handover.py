"""The lock holder's side of a succession: detached workers, and proxies that want to take over."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from crossfade.control.logged_batches import LoggedBatches
from crossfade.quality.logged import LoggedBatch
from crossfade.routing.snapshot import Snapshot
from crossfade.stats.counts import Cell, Counts, CountsTable
from crossfade.workers import handover, local_socket
from crossfade.workers.handover import Handover, Offer
from crossfade.workers.link import LeavingWorkers
from crossfade.workers.messages import (
    DOWNWARD,
    Drain,
    Hello,
    Leave,
    Publish,
    Report,
    read_frame,
    write_frame,
)
from crossfade.workers.start_error import StartError
from crossfade.workers.state_lock import StateLock, name_of, socket_of
from crossfade.workers.takeover import Predecessor, ask
from tests.dataplane.plane import SNAPSHOT
from tests.dataplane.wire import wait_until
from tests.workers.test_local_socket import PeerIs

COUNTS = Counts([Cell("r", "v2", "champion", 3, requests=5)])
ROWS = LoggedBatch("r", 1, b"one")


class Holder:
    """The proxy that holds the state at `database`."""

    def __init__(self, database: str) -> None:
        self.database = database
        self.lock = StateLock(database)
        self.counts = CountsTable()
        self.leaving = LeavingWorkers(self.counts)
        self.asked = 0  # how often it was told to leave
        self.published: list[Snapshot] = []
        sock = local_socket.listen_at(socket_of(self.lock.path))
        self.handover = Handover(self.lock, sock, self.leaving, self.leave)

    def leave(self) -> None:
        self.asked += 1

    def serves(self, *listening: socket.socket) -> None:
        """It serves from these sockets; one of them is as good an admin socket as any."""
        self.handover.release(4.5, listening)
        self.handover.offer = lambda: Offer(self.published.append, 7, listening[0], listening)

    async def knows(self, workers: int) -> None:
        await wait_until(lambda: len(self.leaving.links) == workers, f"{workers} workers are known")

    async def close(self) -> None:
        self.handover.close()
        self.lock.release()
        await asyncio.sleep(0)


@pytest.fixture
async def holder(tmp_path: Path) -> AsyncIterator[Holder]:
    made = Holder(str(tmp_path / "state.db"))
    made.handover.listen()
    yield made
    await made.close()


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield sock


class Detached:
    """A worker whose control process has ended."""

    def __init__(self, holder: Holder, *sockets: socket.socket, pid: int = 0) -> None:
        self.sock = local_socket.connect_to(socket_of(holder.lock.path))
        hello = Hello("detached", pid or os.getpid(), 5)
        local_socket.send(self.sock, msgspec.json.encode(hello), [s.fileno() for s in sockets])

    async def order(self) -> Publish | Drain | object:
        self.reader, self.writer = await asyncio.open_unix_connection(sock=self.sock)
        return await self.next_order()

    async def next_order(self) -> object:
        return DOWNWARD.decode(await read_frame(self.reader))


def said_to(holder: Holder, data: bytes) -> socket.socket:
    sock = local_socket.connect_to(socket_of(holder.lock.path))
    sock.send(data)
    return sock


def is_closed(sock: socket.socket) -> bool:
    """From the other side, at once: without a look at what was sent on it."""
    try:
        return sock.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


# ── who is listened to ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("what", ["detached", "successor"])
async def test_who_is_of_another_user_is_not_listened_to(
    holder: Holder, listening: socket.socket, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    holder.serves(listening)
    with local_socket.connect_to(socket_of(holder.lock.path)) as other:
        monkeypatch.setattr(os, "getuid", lambda: 1000)
        monkeypatch.setattr(local_socket, "CREDENTIALS", PeerIs(0, 1000))
        local_socket.send(other, msgspec.json.encode({"what": what, "pid": 1}))
        await wait_until(lambda: is_closed(other), "it is closed")
        assert (holder.leaving.links, holder.asked) == (set(), 0)


async def test_nonsense_and_silence_are_refused_and_others_are_still_heard(
    holder: Holder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(handover, "TIMEOUT", 0.05)
    head = local_socket.HEAD.pack
    for said in (head(3, 0) + b"abc", head(27, 0) + b'{"what": "king", "pid": 12}', b"", head(0, 1)):
        with said_to(holder, said) as other:
            await wait_until(partial(is_closed, other), "it is closed")
    assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 4
    worker = Detached(holder)
    await holder.knows(1)
    worker.sock.close()


async def test_an_accept_that_fails_is_tried_again(
    holder: Holder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """For want of descriptors, say: one such failure must not close the way in for ever."""
    monkeypatch.setattr(handover, "ACCEPT_AGAIN", 0.01)
    holder.handover.pause()
    attempts = 0

    class Loop:
        async def sock_accept(self, sock: socket.socket) -> tuple[socket.socket, object]:
            nonlocal attempts
            attempts += 1
            if attempts < 4:
                raise OSError(24, "Too many open files")
            return await asyncio.get_event_loop().sock_accept(sock)

    monkeypatch.setattr(asyncio, "get_running_loop", Loop)
    accepting = asyncio.ensure_future(holder.handover._accept())
    await asyncio.sleep(0)
    monkeypatch.undo()
    monkeypatch.setattr(handover, "ACCEPT_AGAIN", 0.01)
    worker = Detached(holder)
    await holder.knows(1)
    assert caplog.text.count("no connection can be accepted") == 1, "one line for a row of failures"
    accepting.cancel()
    worker.sock.close()


# ── workers that outlived their control process ───────────────────────────────────────────────────


async def test_a_detached_worker_hands_in_its_sockets_and_its_counts(
    holder: Holder, listening: socket.socket
) -> None:
    holder.lock.left_behind = [name_of(os.getpid())]
    worker = Detached(holder, listening)
    (copy,) = await holder.handover.gather()
    assert copy.getsockname() == listening.getsockname()
    assert not copy.get_inheritable()
    assert holder.handover.missing() == []
    holder.leaving.publish(replace(SNAPSHOT, generation=9))
    assert await worker.order() == Publish(replace(SNAPSHOT, generation=9)), "it serves what is decided now"
    write_frame(worker.writer, Report(9, COUNTS, 0, 0.0, {}))
    await wait_until(lambda: holder.counts.cells, "its counts are added")
    assert holder.counts.take().cells == COUNTS.cells
    holder.handover.release(4.5, [copy])
    assert await worker.next_order() == Drain(4.5, inherited=True)
    holder.leaving.publish(replace(SNAPSHOT, generation=10))
    assert await worker.next_order() == Publish(replace(SNAPSHOT, generation=10)), "until it has ended"
    copy.close()
    worker.writer.close()
    await holder.knows(0)


@pytest.mark.parametrize("known", [True, False])
async def test_one_that_comes_later_drains_and_keeps_the_sockets_that_nobody_else_has(
    holder: Holder, listening: socket.socket, known: bool
) -> None:
    with socket.socket() as another:
        holder.serves(listening if known else another)
        worker = Detached(holder, listening)
        assert await worker.order() == Drain(4.5, inherited=known)
        with socket.create_connection(listening.getsockname()):
            accepted, _ = listening.accept()
            accepted.close()
        worker.writer.close()
        await holder.knows(0)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process
        process.kill()


async def test_a_worker_that_lives_and_does_not_answer_is_waited_for_and_told(
    holder: Holder,
    sleeper: subprocess.Popen[bytes],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its sockets are still listened on, so the ports cannot be told from those of another proxy."""
    monkeypatch.setattr(handover, "TIMEOUT", 0.05)
    name = name_of(sleeper.pid)
    holder.lock.left_behind = [name]
    assert await holder.handover.gather() == []
    assert holder.handover.missing() == [name]
    assert f"workers ['{name}'] of the proxy before" in caplog.text


async def test_one_that_still_does_not_answer_when_ours_serve_is_ended(
    holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By SIGTERM, and where that does nothing by SIGKILL: a share of new connections would wait for it."""
    monkeypatch.setattr(handover, "TIMEOUT", 0.0)
    monkeypatch.setattr(handover, "LOST", 0.1)
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, sign: sent.append((pid, sign)))
    holder.lock.left_behind = [name_of(os.getpid()), f"{os.getpid()}:1"]
    await holder.handover.end_missing()
    assert sent == [(os.getpid(), signal.SIGTERM), (os.getpid(), signal.SIGKILL)]


async def test_the_lock_file_names_our_workers_and_those_of_the_proxy_before(
    holder: Holder, sleeper: subprocess.Popen[bytes]
) -> None:
    worker = Detached(holder)
    await holder.knows(1)
    holder.lock.left_behind = [name_of(sleeper.pid), "11:5"]
    holder.handover.name_workers([os.getppid()])
    assert named(holder) == [str(os.getpid()), *map(name_of, (sleeper.pid, os.getpid(), os.getppid()))]
    worker.sock.close()
    await holder.knows(0)
    holder.lock.left_behind = []
    holder.handover.name_workers([os.getppid()])
    assert named(holder) == [str(os.getpid()), name_of(os.getppid())]


def named(holder: Holder) -> list[str]:
    return Path(holder.lock.path).read_text().split()


async def test_who_is_connected_when_it_closes_looks_for_the_next_holder(holder: Holder) -> None:
    worker = Detached(holder)
    await holder.knows(1)
    holder.handover.close()
    await wait_until(lambda: is_closed(worker.sock), "it is told")
    worker.sock.close()
    with pytest.raises(ConnectionRefusedError):
        Detached(holder)


# ── a proxy that is told to take over ─────────────────────────────────────────────────────────────


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
