"""Listening sockets: bound here, or inherited.

Each worker has its own socket on each port; SO_REUSEPORT spreads connections. The control process holds
copies, so the worker that replaces a dead one accepts from the same queue. Sockets are inherited from the
workers of the proxy before, or from systemd.
"""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterable, MutableSequence, Sequence
from typing import Any


def bind(
    host: str, port: int, workers: int, inherited: MutableSequence[socket.socket], port_in_use: bool = False
) -> list[list[socket.socket]]:
    """For each worker its sockets on this address. Raises OSError when the port is taken.

    Sockets of this address are taken out of `inherited`; more are bound as needed. SO_REUSEPORT would share
    a port with another proxy of the same user without an error. So the port is first bound without it, unless
    our own workers are known to listen there: a socket was inherited, or `port_in_use`.
    """
    family, _, _, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    found = [s for s in inherited if port and s.family == family and s.getsockname()[:2] == address[:2]]
    for sock in found:
        inherited.remove(sock)
        sock.setblocking(False)
    if port and not found and not port_in_use:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    if all(s.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT) for s in found):
        while len(found) < workers:
            found.append(_bind_socket(family, found[0].getsockname() if found else address))
    return _distribute(found, workers)


def _bind_socket(family: int, address: Any) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.setblocking(False)
    sock.bind(address)
    return sock


def _distribute(sockets: Sequence[socket.socket], workers: int) -> list[list[socket.socket]]:
    """Each socket to one worker. A worker that would get none shares the socket of another."""
    return [list(sockets[n::workers]) or [sockets[n % len(sockets)]] for n in range(workers)]


def close(sockets: Iterable[socket.socket]) -> None:
    for sock in sockets:
        sock.close()


def raise_descriptor_limit() -> None:
    """Raise the soft limit of descriptors to the hard limit: it is often 1024, for programs that use select(2)."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
