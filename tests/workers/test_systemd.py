"""What systemd passes to a process, and what it is told."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from crossfade.workers import systemd


def test_sockets_from_systemd_are_for_the_process_they_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as given:
        monkeypatch.setattr(systemd, "FIRST_FD", given.fileno())
        monkeypatch.setenv("LISTEN_FDS", "1")
        monkeypatch.setenv("LISTEN_PID", str(os.getpid() + 1))
        assert systemd.from_systemd() == []
        monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
        (taken,) = systemd.from_systemd()
        assert taken.fileno() == given.fileno()
        taken.detach()


@pytest.mark.parametrize("abstract", [True, False])
def test_it_is_told_where_it_listens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, abstract: bool) -> None:
    name = f"crossfade-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name if abstract else name)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name if abstract else name)
        systemd.notify("READY=1")
        assert manager.recv(100) == b"READY=1"
    systemd.notify("READY=1")
    monkeypatch.delenv("NOTIFY_SOCKET")
    systemd.notify("READY=1")
