"""From one control process to the next: sockets over SCM_RIGHTS, and who is not listened to."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest

from crossfade.stats.counts import Cell, Counts, CountsTable
from crossfade.workers import handover
from crossfade.workers.handover import (
    Handover,
    Hello,
    connect_to_holder,
    handover_address,
    pid_of,
    successors,
    take_over,
)
from crossfade.workers.messages import DOWNWARD, Drain, Report, read_frame, write_frame
from crossfade.workers.state_lock import StateLock
from tests.dataplane.wire import wait_until

COUNTS = Counts([Cell("r", "v2", "champion", 3, requests=5)])


@pytest.fixture
def lock(tmp_path: Path) -> Iterator[StateLock]:
    """On a state that this process holds."""
    made = StateLock(str(tmp_path / "state.db"))
    yield made
    made.release()


class Holder:
    """The proxy that holds the state."""

    def __init__(self, lock: StateLock | None) -> None:
        self.counts = CountsTable()
        self.asked = 0  # how often it was told to leave
        self.handover = Handover(lock, self.counts, self.leave)

    def leave(self) -> None:
        self.asked += 1

    async def told(self) -> None:
        await wait_until(lambda: self.asked, "it is asked to leave")

    async def knows(self, workers: int) -> None:
        known = self.handover.detached_workers
        await wait_until(lambda: len(known) == workers, f"{workers} workers are known")

    async def close(self) -> None:
        self.handover.close()
        for worker in self.handover.detached_workers.values():
            worker.writer.close()
            for sock in worker.sockets:
                sock.close()
        if self.handover.successor is not None:
            self.handover.successor.close()
        await asyncio.sleep(0)


@pytest.fixture
async def holder(lock: StateLock) -> AsyncIterator[Holder]:
    made = Holder(lock)
    yield made
    await made.close()


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield sock


class PeerIs:
    """In place of the credentials that the kernel knows of a peer."""

    size = 12

    def __init__(self, uid: int, gid: int) -> None:
        self.peer = os.getpid(), uid, gid

    def unpack(self, raw: bytes) -> tuple[int, int, int]:
        return self.peer


def as_another_user(monkeypatch: pytest.MonkeyPatch, uid: int = -1) -> None:
    """From now on whoever is at the other end is of another user than we, of the group that has our user's number."""
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    monkeypatch.setattr(handover, "CREDENTIALS", PeerIs(uid, 1000))


def is_closed(sock: socket.socket) -> bool:
    """From the other side, at once: without a look at what was sent on it."""
    try:
        return sock.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


# ── the address ───────────────────────────────────────────────────────────────────────────────────


def test_each_lock_file_has_an_address_of_its_own(tmp_path: Path, lock: StateLock) -> None:
    other = tmp_path / "other.lock"
    other.touch()
    assert handover_address(lock.path) != handover_address(str(other))
    (tmp_path / "link.lock").symlink_to(lock.path)
    assert handover_address(lock.path) == handover_address(str(tmp_path / "link.lock"))
    assert handover_address(lock.path).startswith("\0crossfade-"), "in the abstract namespace"


def test_without_a_lock_file_there_is_no_address(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        handover_address(str(tmp_path / "none"))
    assert connect_to_holder(str(tmp_path / "none"), "detached") is None


def test_nobody_is_in_where_nobody_listens(lock: StateLock) -> None:
    assert connect_to_holder(lock.path, "detached") is None


# ── who is trusted ────────────────────────────────────────────────────────────────────────────────


def test_the_kernel_says_which_process_a_peer_is() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert pid_of(ours) == os.getpid()


@pytest.mark.parametrize("uid", [0, 999, 1001])
def test_a_holder_of_another_user_is_told_nothing_and_given_no_sockets(
    lock: StateLock, listening: socket.socket, monkeypatch: pytest.MonkeyPatch, uid: int
) -> None:
    """Anyone may take the abstract name first, to get at the sockets; not even the superuser is given them."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.bind(handover_address(lock.path))
        other.listen()
        as_another_user(monkeypatch, uid)
        assert connect_to_holder(lock.path, "detached", [listening]) is None
        taken, _ = other.accept()
        with taken:
            data, fds, _, _ = socket.recv_fds(taken, 1024, 9)
            assert (data, fds) == (b"", []), "the connection was closed without a word"


def test_a_holder_of_ours_is_told_who_we_are_and_given_the_sockets(
    lock: StateLock, listening: socket.socket
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.bind(handover_address(lock.path))
        other.listen()
        made = connect_to_holder(lock.path, "detached", [listening])
        assert made is not None
        taken, _ = other.accept()
        with made, taken:
            data, (fd,), _, _ = socket.recv_fds(taken, 1024, 9)
            assert msgspec.json.decode(data, type=Hello) == Hello("detached", os.getpid())
            with socket.socket(fileno=fd) as copy:
                assert copy.getsockname() == listening.getsockname()


@pytest.mark.parametrize("what", ["detached", "successor"])
async def test_who_is_of_another_user_is_not_listened_to(
    holder: Holder, lock: StateLock, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    as_another_user(monkeypatch)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.setblocking(False)
        other.connect(handover_address(lock.path))
        other.send(msgspec.json.encode({"what": what, "pid": 1}))
        known = holder.handover.detached_workers
        await wait_until(lambda: is_closed(other) or known or holder.asked, "it is closed")
        assert (known, holder.asked) == ({}, 0)
    monkeypatch.undo()
    made = connect_to_holder(lock.path, what)  # type: ignore[arg-type]  # one of the two
    assert made is not None
    with made:
        await (holder.knows(1) if what == "detached" else holder.told())


async def test_nonsense_and_silence_are_refused_and_others_are_still_heard(
    holder: Holder, lock: StateLock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(handover, "TIMEOUT", 0.05)
    for said in (b"nonsense", b'{"what": "king", "pid": 1}', b""):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
            other.setblocking(False)
            other.connect(handover_address(lock.path))
            if said:
                other.send(said)
            await wait_until(lambda: is_closed(other), "it is closed")
    assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 3
    made = connect_to_holder(lock.path, "successor")
    assert made is not None
    with made:
        await holder.told()


async def test_without_a_lock_file_nobody_comes() -> None:
    alone = Holder(None)
    assert await alone.handover.gather() == []
    await alone.close()


async def test_an_address_that_is_taken_is_told_and_the_proxy_goes_on(
    holder: Holder, lock: StateLock, caplog: pytest.LogCaptureFixture
) -> None:
    second = Holder(lock)
    assert "no proxy can take over from this one" in caplog.text
    await second.close()


# ── workers that outlived their control process ───────────────────────────────────────────────────


async def test_a_detached_worker_hands_in_its_sockets_and_its_counts(
    holder: Holder, lock: StateLock, listening: socket.socket
) -> None:
    async for reader, writer in successors(lock.path, [listening]):
        lock.left_behind = [os.getpid()]
        (copy,) = await holder.handover.gather()
        assert copy.getsockname() == listening.getsockname()
        assert not copy.get_inheritable()
        assert not holder.handover.has_missing
        write_frame(writer, Report(1, COUNTS, 0, 0.0, {}))
        await wait_until(lambda: holder.counts.cells, "its counts are added")
        assert holder.counts.take().cells == COUNTS.cells
        holder.handover.release(4.5)
        assert DOWNWARD.decode(await read_frame(reader)) == Drain(4.5, inherited=True)
        assert holder.handover.detached_workers == {}
        copy.close()
        writer.close()
        break


async def test_a_detached_worker_that_ends_is_forgotten(holder: Holder, lock: StateLock) -> None:
    made = connect_to_holder(lock.path, "detached")
    assert made is not None
    with made:
        await holder.knows(1)
    await holder.knows(0)


async def test_one_that_comes_too_late_is_dismissed_and_keeps_its_sockets(
    holder: Holder, lock: StateLock, listening: socket.socket
) -> None:
    """Our own workers serve already, from other sockets: nobody would accept from its copies."""
    assert await holder.handover.gather() == []
    made = connect_to_holder(lock.path, "detached", [listening])
    assert made is not None
    reader, writer = await asyncio.open_unix_connection(sock=made)
    order = DOWNWARD.decode(await read_frame(reader))
    assert order == Drain(handover.TIMEOUT)
    assert holder.handover.detached_workers == {}
    with socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        accepted.close()
    writer.close()


@pytest.fixture
def dying() -> Iterator[int]:
    """A process that has ended, and that nobody reaps before the test is over."""
    with subprocess.Popen(["true"]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        yield process.pid


NEVER = 2**22 + 1  # no process has this number


async def test_workers_that_are_dead_are_not_waited_for(holder: Holder, lock: StateLock, dying: int) -> None:
    lock.left_behind = [dying, NEVER]
    assert await holder.handover.gather() == []
    assert not holder.handover.has_missing
    assert not holder.handover.is_gathering


async def test_a_worker_that_lives_and_does_not_answer_is_waited_for_and_told(
    holder: Holder, lock: StateLock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its sockets are still listened on, so the ports cannot be told from those of another proxy."""
    monkeypatch.setattr(handover, "TIMEOUT", 0.05)
    lock.left_behind = [os.getpid()]
    assert await holder.handover.gather() == []
    assert holder.handover.has_missing
    assert f"workers [{os.getpid()}] of the proxy before" in caplog.text


async def test_the_lock_file_names_our_workers_and_the_detached_ones(holder: Holder, lock: StateLock) -> None:
    made = connect_to_holder(lock.path, "detached")
    assert made is not None
    with made:
        await holder.knows(1)
        holder.handover.name_workers([11, 12])
        assert named(lock) == [os.getpid(), os.getpid(), 11, 12]
    await holder.knows(0)
    holder.handover.name_workers([11])
    assert named(lock) == [os.getpid(), 11]


def named(lock: StateLock) -> list[int]:
    return [int(word) for word in Path(lock.path).read_text().split()]


# ── what a worker does that was left behind ───────────────────────────────────────────────────────


@pytest.mark.parametrize("content", [None, ""], ids=["no file", "an empty file"])
async def test_a_state_that_ended_in_good_order_has_no_successor(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "lock"
    if content is not None:
        path.write_text(content)
    assert [streams async for streams in successors(str(path), [])] == []
    assert [streams async for streams in successors(None, [])] == []


async def test_a_worker_left_behind_waits_for_each_successor_in_turn(
    lock: StateLock, listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one dies before it serves; when the state has ended in good order, nobody is waited for."""
    monkeypatch.setattr(handover, "RETRY_AFTER", 0.01)
    ports: list[int] = []

    async def life() -> None:
        async for reader, writer in successors(lock.path, [listening]):
            await reader.read()
            writer.close()

    worker = asyncio.create_task(life())
    for _ in range(2):
        holder = Holder(lock)
        await holder.knows(1)
        (detached,) = holder.handover.detached_workers.values()
        ports.append(detached.sockets[0].getsockname()[1])
        await holder.close()
    assert ports == [listening.getsockname()[1]] * 2
    lock.release()
    await worker


# ── a proxy that is told to take over ─────────────────────────────────────────────────────────────


async def test_where_there_is_no_proxy_nothing_is_taken_over(lock: StateLock) -> None:
    inherited: list[socket.socket] = []
    counts = CountsTable()
    assert not await take_over(lock.path, inherited, counts)
    assert (inherited, counts.cells) == ([], {})


@pytest.mark.parametrize("cells", [0, 1, 5000], ids=["no counts", "a few", "more than a socket holds"])
async def test_a_successor_gets_the_admin_sockets_and_the_counts(
    holder: Holder, lock: StateLock, listening: socket.socket, cells: int
) -> None:
    given = Counts([Cell("r", f"v{n}", "champion", 3, requests=1) for n in range(cells)])
    inherited: list[socket.socket] = []
    counts = CountsTable()
    async with asyncio.TaskGroup() as tasks:
        taking = tasks.create_task(take_over(lock.path, inherited, counts))
        await holder.told()
        await asyncio.to_thread(holder.handover.hand_over, [listening], given)
    assert taking.result()
    assert holder.asked == 1
    (copy,) = inherited
    assert copy.getsockname() == listening.getsockname()
    assert not copy.get_inheritable()
    copy.close()
    assert counts.take().cells == given.cells


async def test_a_second_successor_is_turned_away(holder: Holder, lock: StateLock) -> None:
    first = connect_to_holder(lock.path, "successor")
    assert first is not None
    with first:
        await holder.told()
        second = connect_to_holder(lock.path, "successor")
        assert second is not None
        with second:
            assert await asyncio.get_running_loop().sock_recv(second, 10) == b""
        assert holder.asked == 1
        await asyncio.to_thread(holder.handover.hand_over, [], COUNTS)
        assert await asyncio.get_running_loop().sock_recv(first, 10)


async def test_a_successor_that_has_died_breaks_nobody(holder: Holder, lock: StateLock) -> None:
    made = connect_to_holder(lock.path, "successor")
    assert made is not None
    with made:
        await holder.told()
    holder.handover.hand_over([], COUNTS)


async def test_nobody_is_taken_in_any_more_once_it_is_closed(holder: Holder, lock: StateLock) -> None:
    await asyncio.sleep(0)
    holder.handover.close()
    assert connect_to_holder(lock.path, "detached") is None
