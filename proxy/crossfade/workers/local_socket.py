"""Unix sockets in the state's folder, and descriptors that processes send over them.

Rule: only processes of one user talk: the file has mode 0600, and both ends check the user id of the other. A
received descriptor is closed at exec from its first moment on, so a child has only what is passed to it by name.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from array import array
from collections.abc import Iterator, Sequence

BATCH = 200  # descriptors in one message (the kernel's SCM_MAX_FD is 253)
HEAD = struct.Struct(">IH")  # bytes of the message, number of its descriptors
CREDENTIALS = struct.Struct("3i")  # pid, uid, gid (unix(7), SO_PEERCRED)


def unix_socket() -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(False)
    return sock


def listen_at(path: str) -> socket.socket:
    """In the place of a socket whose process is gone: the caller holds the lock. Raises OSError."""
    sock = unix_socket()
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        with _short(path) as name:
            sock.bind(name)
        os.chmod(path, 0o600)  # nobody can connect before `listen`
        sock.listen()
    except BaseException:
        sock.close()
        raise
    return sock


def connect_to(path: str) -> socket.socket:
    """Raises OSError where nobody of our user listens."""
    sock = unix_socket()
    try:
        with _short(path) as name:
            sock.connect(name)
        if not is_same_user(sock):
            raise PermissionError(f"{path} belongs to another user")
    except BaseException:
        sock.close()
        raise
    return sock


@contextlib.contextmanager
def _short(path: str) -> Iterator[str]:
    """Another name of this path: an address has room for 107 bytes."""
    folder = os.open(os.path.dirname(path) or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{os.path.basename(path)}"
    finally:
        os.close(folder)


def is_same_user(sock: socket.socket) -> bool:
    return _credentials(sock)[1] == os.getuid()


def pid_of(peer: socket.socket) -> int:
    return int(_credentials(peer)[0])


def _credentials(peer: socket.socket) -> tuple[int, int, int]:
    raw = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    pid, uid, gid = CREDENTIALS.unpack(raw)
    return pid, uid, gid


def send(sock: socket.socket, message: bytes, descriptors: Sequence[int] = ()) -> None:
    """Raises OSError. It never waits: the peer of a new connection has room for a message as short as ours."""
    data = HEAD.pack(len(message), len(descriptors)) + message
    socket.send_fds(sock, [data], descriptors[:BATCH])
    for at in range(BATCH, len(descriptors), BATCH):
        socket.send_fds(sock, [b"\0"], descriptors[at : at + BATCH])


async def receive(sock: socket.socket) -> tuple[bytes, list[int]]:
    """A message and its descriptors. Raises OSError, also where this process has no room for them."""
    descriptors: list[int] = []
    try:
        head = await _receive_some(sock, HEAD.size, descriptors)
        if len(head) < HEAD.size:
            raise ConnectionError("the connection was closed")
        size, count = HEAD.unpack(head)
        message = b""
        while len(message) < size:
            part = await _receive_some(sock, size - len(message), descriptors)
            if not part:
                raise ConnectionError("the connection was closed in a message")
            message += part
        for _ in range(BATCH, count, BATCH):
            await _receive_some(sock, 1, descriptors)
        if len(descriptors) != count:
            raise OSError(
                f"{count - len(descriptors)} of {count} descriptors were lost: is the limit reached?"
            )
    except BaseException:
        for fd in descriptors:
            os.close(fd)
        raise
    return message, descriptors


async def _receive_some(sock: socket.socket, size: int, descriptors: list[int]) -> bytes:
    """Adds what comes to `descriptors`; b"" at the end. recv_fds ignores MSG_CMSG_CLOEXEC (python/cpython#107898)."""
    await _wait_readable(sock)
    room = socket.CMSG_LEN(BATCH * array("i").itemsize)
    data, ancillary, _, _ = sock.recvmsg(size, room, socket.MSG_CMSG_CLOEXEC)
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            found = array("i")
            found.frombytes(content[: len(content) - len(content) % found.itemsize])
            descriptors += found
    return data


async def _wait_readable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(sock.fileno(), ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(sock.fileno())
