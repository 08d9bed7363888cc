"""What a control process holds, from its start to its end; who serves is never left without the file that names him."""

from __future__ import annotations

import errno
import logging
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from crossfade.stats.counts import CountsTable
from crossfade.workers import handover, local_socket
from crossfade.workers.handover import Offer
from crossfade.workers.start_error import StartError
from crossfade.workers.state_lock import name_of
from crossfade.workers.succession import Succession


@pytest.fixture
def database(tmp_path: Path) -> str:
    return str(tmp_path / "state.db")


def new() -> Succession:
    return Succession(CountsTable(), lambda: None)


def named(database: str) -> list[str]:
    return Path(f"{database}.lock").read_text().split()


@pytest.fixture
def stopped(database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a worker of the proxy before, which lives and does not answer."""
    monkeypatch.setattr(handover, "TIMEOUT", 0.05)
    with subprocess.Popen(["sleep", "1000"]) as process:
        name = name_of(process.pid)
        Path(f"{database}.lock").write_text(f"1 {name} 11:5\n")
        yield name
        process.kill()


async def test_a_start_that_gives_up_names_who_still_serves(database: str, stopped: str) -> None:
    succession = new()
    await succession.begin(database, taking_over=False)
    assert succession.has_missing
    succession.give_up()
    assert named(database) == [str(os.getpid()), stopped]
    again = new()
    await again.begin(database, taking_over=False)
    again.give_up()


async def test_a_start_that_gives_up_leaves_an_empty_file_where_nobody_serves(database: str) -> None:
    succession = new()
    await succession.begin(database, taking_over=False)
    assert named(database) == [str(os.getpid())]
    succession.give_up()
    assert named(database) == []


async def test_an_end_in_good_order_tells_all_workers_to_end(database: str, stopped: str) -> None:
    succession = new()
    await succession.begin(database, taking_over=False)
    succession.end()
    assert named(database) == []


@pytest.mark.parametrize("is_told", [False, True])
async def test_who_is_told_to_end_as_it_begins_to_serve_admits_nobody(database: str, is_told: bool) -> None:
    succession = new()
    await succession.begin(database, taking_over=False)
    assert succession.handover is not None
    if is_told:
        succession.admit_nobody()
    with socket.socket() as sock:
        succession.serving(1.0, [], lambda: Offer(lambda _: None, 1, sock, [sock]))
    assert (succession.handover.offer is None) == is_told
    succession.end()


async def test_without_a_running_proxy_a_takeover_is_a_start(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    succession = new()
    await succession.begin(database, taking_over=True)
    assert "no running proxy holds the state" in caplog.text
    assert succession.lock_file == f"{database}.lock"
    succession.end()


async def test_in_memory_nobody_can_follow() -> None:
    succession = new()
    await succession.begin(None, taking_over=False)
    assert (succession.lock_file, succession.successor, succession.has_missing) == (None, None, False)
    succession.end()
    with pytest.raises(StartError, match="needs a state on disk"):
        await new().begin(None, taking_over=True)


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.ENOSPC])
async def test_where_no_socket_can_be_made_nobody_can_follow(
    database: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    """But for a reason that passes, the start fails."""

    def listen_at(path: str) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(local_socket, "listen_at", listen_at)
    succession = new()
    if number == errno.ENOSPC:
        with pytest.raises(StartError, match=r"cannot listen on .*state\.db\.sock"):
            await succession.begin(database, taking_over=False)
        succession.give_up()
        return
    with caplog.at_level(logging.WARNING):
        await succession.begin(database, taking_over=False)
    assert "no proxy can follow this one" in caplog.text
    assert succession.lock_file is None
    with pytest.raises(StartError, match="holds"):
        await new().begin(database, taking_over=False)
    succession.end()
    assert named(database) == []
