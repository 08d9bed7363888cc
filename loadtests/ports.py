"""Loopback ports for programs that do not support port 0, or that keep a port over a restart: of tests and of measurements.

Rule: a process draws from a block of ports that it holds as long as it lives, so no other one on the machine, of this run or of
another one, draws the same. The blocks are below the ports that the kernel gives to clients: one of those
could take a port before the program listens, or while it restarts.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from itertools import cycle, islice

FIRST, LAST, BLOCK = 10_000, 32_000, 200


def free_port() -> int:
    """The next port of the block that nobody listens on."""
    for port in islice(_PORTS, BLOCK):
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port
    raise RuntimeError(f"something listens on each of the {BLOCK} ports of this process's block")


def free_ports(n: int) -> list[int]:
    return [free_port() for _ in range(n)]


def hold_block() -> tuple[socket.socket, range]:
    """The first block that no other process holds, and what holds it: a name that the kernel frees with the process."""
    for first in range(FIRST, LAST, BLOCK):
        holder = socket.socket(socket.AF_UNIX)
        try:
            holder.bind(f"\0crossfade: ports from {first}")
        except OSError:
            holder.close()
        else:
            return holder, range(first, first + BLOCK)
    raise RuntimeError(f"other processes hold all {(LAST - FIRST) // BLOCK} blocks of ports")


def _ports() -> Iterator[int]:
    """Held from the first port on, so that processes that draw none hold none."""
    holder, block = hold_block()
    with holder:
        yield from cycle(block)


_PORTS = _ports()
