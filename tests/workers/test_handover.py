"""The lock holder's side of a succession: who is listened to, and workers that outlived their control process."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from crossfade.workers import handover, local_socket
from crossfade.workers.messages import DOWNWARD, Drain, Hello, Publish, Report, read_frame, write_frame
from crossfade.workers.state_lock import name_of, socket_of
from tests.dataplane.plane import SNAPSHOT
from tests.dataplane.wire import wait_until
from tests.workers.holder import COUNTS, Holder
from tests.workers.test_local_socket import PeerIs


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
