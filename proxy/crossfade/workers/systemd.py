"""What systemd gives and wants to know, where it runs the proxy."""

from __future__ import annotations

import contextlib
import os
import socket

FIRST_FD = 3  # SD_LISTEN_FDS_START


def from_systemd() -> list[socket.socket]:
    """The sockets that systemd passed to this process (sd_listen_fds(3))."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = int(os.environ.get("LISTEN_FDS", "0"))
    sockets = [socket.socket(fileno=fd) for fd in range(FIRST_FD, FIRST_FD + count)]
    for sock in sockets:
        sock.set_inheritable(False)
    return sockets


def notify(state: str) -> None:
    """sd_notify(3)."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(state.encode(), "\0" + address[1:] if address[0] == "@" else address)
