"""Memory that several processes share, and the locks for parts of it.

A lock is an fcntl record lock on a byte of the memory's descriptor. The kernel releases it when its process dies,
whatever it was doing.
"""

from __future__ import annotations

import fcntl
import os


def new_memory(name: str, size: int) -> int:
    """A descriptor of `size` zero bytes. Only what is used of them takes memory."""
    fd = os.memfd_create(name)
    os.ftruncate(fd, size)
    return fd


def lock(fd: int, byte: int) -> None:
    fcntl.lockf(fd, fcntl.LOCK_EX, 1, byte)


def unlock(fd: int, byte: int) -> None:
    fcntl.lockf(fd, fcntl.LOCK_UN, 1, byte)
