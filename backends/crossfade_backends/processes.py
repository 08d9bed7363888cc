"""Processes of this machine that carry a mark in their environment: found again by whoever asks, and signalled only if they are the same.

A number of a process is used again by the system; with the time of its start it names one process for good. Linux only.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Identity:
    """`started`: in clock ticks since the machine started."""

    pid: int
    started: int


def identity_of(pid: int) -> Identity | None:
    """None for a process that is gone, or has ended and is not reaped."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else Identity(pid, int(fields[19]))


def is_alive(process: Identity) -> bool:
    return identity_of(process.pid) == process


def send(process: Identity, number: signal.Signals) -> None:
    """To this process and to no other one that has its number by now."""
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        if is_alive(process):
            signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return
    finally:
        os.close(handle)


def marked(name: str) -> dict[str, Identity]:
    """Living processes with the variable in their environment, by its value. Those of other users are not seen.

    Children have the environment of their parents, so the first that was started counts.
    """
    prefix = f"{name}=".encode()
    found: dict[str, Identity] = {}
    for path in _PROC.glob("[0-9]*"):
        try:
            environment = (path / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        value = next((each[len(prefix) :] for each in environment if each.startswith(prefix)), None)
        if value is None or (identity := identity_of(int(path.name))) is None:
            continue
        key = value.decode(errors="surrogateescape")
        if key not in found or identity.started < found[key].started:
            found[key] = identity
    return found
