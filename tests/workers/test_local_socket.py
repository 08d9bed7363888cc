"""Sockets in the state's folder: who can connect, and what becomes of descriptors that are sent."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from crossfade.workers import local_socket


class PeerIs:
    """In place of the credentials that the kernel knows of a peer."""

    size = 12

    def __init__(self, uid: int, gid: int) -> None:
        self.peer = os.getpid(), uid, gid

    def unpack(self, raw: bytes) -> tuple[int, int, int]:
        return self.peer


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        yield ours, theirs


async def test_the_file_is_for_its_user_alone_however_long_its_path(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 40)
    folder.mkdir()
    path = folder / "state.sock"
    path.write_text("of a process that is gone")
    with local_socket.listen_at(str(path)) as listening:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert not listening.get_inheritable()
        with local_socket.connect_to(str(path)) as made:
            assert local_socket.pid_of(made) == os.getpid()
            taken, _ = await asyncio.get_running_loop().sock_accept(listening)
            taken.close()


def test_where_nobody_listens_there_is_no_connection(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        local_socket.connect_to(str(tmp_path / "none.sock"))
    local_socket.listen_at(str(tmp_path / "gone.sock")).close()
    with pytest.raises(ConnectionRefusedError):
        local_socket.connect_to(str(tmp_path / "gone.sock"))


@pytest.mark.parametrize("uid", [0, 999, 1001])
def test_a_listener_of_another_user_is_told_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uid: int
) -> None:
    """Not even the superuser is given sockets."""
    path = str(tmp_path / "state.sock")
    with local_socket.listen_at(path):
        monkeypatch.setattr(os, "getuid", lambda: 1000)
        monkeypatch.setattr(local_socket, "CREDENTIALS", PeerIs(uid, 1000))
        with pytest.raises(PermissionError, match="another user"):
            local_socket.connect_to(path)


@pytest.mark.parametrize("count", [0, 1, 200, 201, 450])
async def test_all_descriptors_arrive_in_order_and_none_can_be_inherited(
    pair: tuple[socket.socket, socket.socket], tmp_path: Path, count: int
) -> None:
    ours, theirs = pair
    sent = [os.open(tmp_path, os.O_RDONLY), os.open("/dev/null", os.O_RDONLY)]
    wanted = [sent[n % 2] for n in range(count)]
    local_socket.send(ours, b"hello", wanted)
    ours.send(b"what follows")
    message, received = await local_socket.receive(theirs)
    assert message == b"hello"
    assert [os.fstat(fd).st_ino for fd in received] == [os.fstat(fd).st_ino for fd in wanted]
    assert not any(os.get_inheritable(fd) for fd in received)
    assert theirs.recv(100) == b"what follows"
    for fd in (*sent, *received):
        os.close(fd)


async def test_where_there_is_no_room_for_descriptors_none_is_kept(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    held = sorted(int(fd) for fd in os.listdir("/proc/self/fd"))
    local_socket.send(ours, b"hello", [0] * 5)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(held) + 3, hard))
    full = []
    try:
        while True:  # the gaps below the limit, but for two
            full.append(os.dup(0))
    except OSError as error:
        assert error.errno == errno.EMFILE
    for fd in (full.pop(), full.pop()):
        os.close(fd)
    try:
        with pytest.raises(OSError, match="3 of 5 descriptors were lost"):
            await local_socket.receive(theirs)
        full += [os.dup(0), os.dup(0)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in full:
            os.close(fd)


@pytest.mark.parametrize("said", [b"", b"\0\0", b"\0\0\0\x05\0\0hel"])
async def test_a_peer_that_hangs_up_has_said_nothing(
    pair: tuple[socket.socket, socket.socket], said: bytes
) -> None:
    ours, theirs = pair
    ours.send(said)
    ours.close()
    with pytest.raises(ConnectionError):
        await local_socket.receive(theirs)
