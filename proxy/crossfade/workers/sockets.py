"""Where clients connect: sockets that are bound here, or inherited.

Each worker has a socket of its own on each port (SO_REUSEPORT spreads connections); the control
process holds copies, so a worker that dies leaves its queue to its successor. Inherited ones come
from the workers of the proxy before, or from systemd (sd_listen_fds(3)).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, MutableSequence, Sequence
from typing import Any

FIRST_FD = 3  # SD_LISTEN_FDS_START


def bind(
    host: str, port: int, workers: int, inherited: MutableSequence[socket.socket], beside: bool = False
) -> list[list[socket.socket]]:
    """For each worker its sockets on this address: what was `inherited` there is taken from that list,
    and more are bound as needed. Raises OSError when the port is taken.

    SO_REUSEPORT would quietly share a port with another proxy of the same user, so the port is first
    tried without it, unless sockets of ours are known to be there (inherited, or `beside`).
    """
    family, _, _, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    found = [s for s in inherited if port and s.family == family and s.getsockname()[:2] == address[:2]]
    for sock in found:
        inherited.remove(sock)
        sock.setblocking(False)
    if port and not found and not beside:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    if all(s.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT) for s in found):
        while len(found) < workers:
            found.append(bound(family, found[0].getsockname() if found else address))
    return shared(found, workers)


def bound(family: int, address: Any) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.setblocking(False)
    sock.bind(address)
    return sock


def shared(sockets: Sequence[socket.socket], workers: int) -> list[list[socket.socket]]:
    """Each socket to some worker, and to each worker one at least, were it one that another has too."""
    return [list(sockets[n::workers]) or [sockets[n % len(sockets)]] for n in range(workers)]


def close(sockets: Iterable[socket.socket]) -> None:
    for sock in sockets:
        sock.close()


def from_systemd() -> list[socket.socket]:
    """The sockets that systemd listens on for this process; none if it does not."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = int(os.environ.get("LISTEN_FDS", "0"))
    sockets = [socket.socket(fileno=fd) for fd in range(FIRST_FD, FIRST_FD + count)]
    for sock in sockets:
        sock.set_inheritable(False)
    return sockets
