"""The life of a worker: what it does that it is told, and that it serves on when nobody tells it anything."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from crossfade.dataplane.listener import DataPlane
from crossfade.stats.counts import Counts, CountsTable
from crossfade.workers import local_socket
from crossfade.workers import worker as worker_module
from crossfade.workers.handover import Handover
from crossfade.workers.link import LeavingWorkers
from crossfade.workers.messages import (
    UPWARD,
    Certificate,
    Closing,
    Drain,
    Listening,
    Publish,
    Release,
    Renew,
    Report,
    read_frame,
    write_frame,
)
from crossfade.workers.state_lock import StateLock, name_of, socket_of
from crossfade.workers.worker import Worker, status_of
from tests.certificates import Authority
from tests.dataplane.plane import BACKEND, SNAPSHOT, endpoint, route
from tests.dataplane.wire import wait_until


class Kept:
    """A worker in this process, and the control process's end of its seam."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def __init__(self, lock_file: str | None = None, tls: Certificate | None = None) -> None:
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.plane = DataPlane()
        self.worker = Worker(self.plane, lock_file, [Listening(os.dup(self.sock.fileno()), tls)])
        self.running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        ours, theirs = socket.socketpair()
        self.reader, self.writer = await asyncio.open_unix_connection(sock=ours)
        self.running = asyncio.create_task(self.worker.run(theirs))

    def tell(self, order: Publish | Closing | Drain | Release | Renew) -> None:
        write_frame(self.writer, order)

    async def report(self) -> Report:
        return UPWARD.decode(await read_frame(self.reader))

    async def serving(self, generation: int = 1) -> Report:
        """Tell it to serve from this generation; its first report that says it does."""
        self.tell(Publish(replace(SNAPSHOT, generation=generation)))
        while (report := await self.report()).generation != generation:
            pass
        return report

    async def refusals(self) -> int:
        """What has been refused in all reports until it hangs up: the requests to a proxy without routes."""
        table = CountsTable()
        try:
            while True:
                table.add((await self.report()).counts)
        except (asyncio.IncompleteReadError, ConnectionError):
            return sum(table.refused.values())

    async def ask(self, tls: ssl.SSLContext | None = None) -> bytes:
        """The answer to a request of a client."""
        name = "localhost" if tls else None
        reader, writer = await asyncio.open_connection(
            *self.sock.getsockname(), ssl=tls, server_hostname=name
        )
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer

    async def ended(self) -> None:
        assert self.running is not None
        await self.running

    async def close(self) -> None:
        self.worker.begin_drain(Drain(0.0))
        self.writer.close()
        await self.ended()
        self.sock.close()
        await asyncio.sleep(0)


@pytest.fixture
async def kept() -> AsyncIterator[Kept]:
    made = Kept()
    await made.start()
    yield made
    await made.close()


# ── what it is told ───────────────────────────────────────────────────────────────────────────────


async def test_it_listens_from_its_first_snapshot_on_and_says_so(kept: Kept) -> None:
    assert not kept.worker.sockets()
    report = await kept.serving()
    assert (report.generation, report.connections, report.in_flight) == (1, 0, {})
    assert [sock.getsockname() for sock in kept.worker.sockets()] == [kept.sock.getsockname()]
    assert b"404" in await kept.ask()


async def test_before_it_serves_it_reports_only_that_it_is_there(kept: Kept) -> None:
    assert await kept.report() == Report(0, Counts(), 0, 0.0, {})
    assert not kept.worker.sockets()
    assert (await kept.serving(7)).generation == 7


async def test_one_that_has_never_served_ends_with_its_control_process(lock: StateLock) -> None:
    """Nobody would know of it."""
    kept = Kept(lock.path)
    await kept.start()
    await kept.report()
    kept.writer.close()
    await kept.ended()
    await kept.close()


async def test_a_snapshot_is_acknowledged_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not only with the next report that is due."""
    monkeypatch.setattr(worker_module, "REPORT_EVERY", 3600.0)
    kept = Kept()
    await kept.start()
    for generation in (1, 2):
        assert (await kept.serving(generation)).generation == generation
    await kept.close()


async def test_another_snapshot_is_said_to_be_in_use_and_listens_no_second_time(kept: Kept) -> None:
    await kept.serving()
    assert (await kept.serving(2)).generation == 2
    assert len(kept.worker.sockets()) == 1


async def test_each_request_is_reported_once(kept: Kept) -> None:
    await kept.serving()
    for _ in range(3):
        await kept.ask()
    kept.tell(Drain(5.0))
    assert await kept.refusals() == 3
    await kept.ended()


async def test_a_request_without_a_first_byte_is_in_each_report(kept: Kept) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        v2 = replace(BACKEND, name="v2", endpoints=(endpoint(silent.getsockname()[1]),))
        guarded = route("v2", guarded=True)
        await kept.serving()
        kept.tell(Publish(replace(SNAPSHOT, generation=2, backends={"v2": v2}, routes=(guarded,))))
        with socket.create_connection(kept.sock.getsockname()) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            while not (waiting := (await kept.report()).counts.waiting):
                pass
            assert list(waiting["churn"]["v2"].values()) == [1]
            assert (await kept.report()).counts.waiting == waiting
        while (await kept.report()).counts.waiting:
            pass


async def test_it_reports_now_and_then_without_being_asked(kept: Kept) -> None:
    await kept.serving()
    for _ in range(3):
        assert (await kept.report()).generation == 1


async def test_a_drain_ends_it_with_the_last_counts_told(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "REPORT_EVERY", 3600.0)
    await kept.serving()
    await kept.ask()
    kept.tell(Drain(5.0))
    assert await kept.refusals() == 1
    await kept.ended()
    assert kept.worker.sockets() == [], "it listens no more"


@pytest.mark.parametrize("orders", [(0.0, 1000.0), (1000.0, 0.0)])
async def test_of_two_orders_to_drain_the_earliest_end_counts(
    kept: Kept, orders: tuple[float, float]
) -> None:
    await kept.serving()
    with socket.create_connection(kept.sock.getsockname()) as client:
        client.send(b"GET / HTTP/1.1")  # an incomplete request
        await wait_until(lambda: kept.plane.clients, "it is connected")
        for seconds in orders:
            kept.worker.begin_drain(Drain(seconds))
        await kept.ended()


async def test_while_it_drains_it_serves_what_is_decided_now(kept: Kept) -> None:
    """A client that was connected before must not meet what has been taken back."""
    await kept.serving()
    reader, writer = await asyncio.open_connection(*kept.sock.getsockname())
    await wait_until(lambda: kept.plane.clients, "a client is connected")
    kept.tell(Drain(5.0, inherited=True))
    await wait_until(lambda: kept.plane.draining, "it drains")
    assert (await kept.serving(2)).generation == 2
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"404" in await reader.read()
    writer.close()
    await kept.ended()


async def test_a_message_of_another_version_is_passed_over(
    kept: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    await kept.serving()
    kept.writer.write(b"\0\0\0\x03abc")
    assert (await kept.serving(2)).generation == 2
    assert "cannot be read" in caplog.text


async def test_told_by_a_signal_to_end_it_serves_until_it_is_told_to_drain(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    await kept.serving()
    kept.worker.leave()
    while not (await kept.report()).leaving:
        pass
    assert b"404" in await kept.ask()
    assert not kept.worker.drain.done()
    kept.tell(Drain(5.0, inherited=True))
    await kept.ended()


async def test_told_by_a_signal_to_end_it_drains_when_its_control_process_dies(kept: Kept) -> None:
    """Until then that one has copies of the sockets, and clients would wait in a queue that nobody accepts from."""
    await kept.serving()
    kept.worker.leave()
    while not (await kept.report()).leaving:
        pass
    assert not kept.worker.drain.done()
    kept.writer.close()
    await kept.ended()


async def test_before_the_end_it_is_told_so_and_accepts(kept: Kept) -> None:
    await kept.serving()
    kept.tell(Closing())
    await wait_until(lambda: kept.plane.draining, "it is told")
    for _ in range(2):
        assert b"404" in await kept.ask()
    assert not kept.worker.drain.done()
    kept.tell(Drain(0.0))
    await kept.ended()


# ── when the control process is gone ──────────────────────────────────────────────────────────────


@pytest.mark.parametrize("released", [True, False], ids=["released", "killed"])
async def test_without_a_state_to_wait_for_it_drains_when_its_control_process_is_gone(
    kept: Kept, released: bool
) -> None:
    await kept.serving()
    if released:
        await kept.ask()
        kept.tell(Release())
        assert await kept.refusals() == 1, "its last report is heard"
    kept.writer.close()
    await kept.ended()


@pytest.fixture
def lock(tmp_path: Path) -> Iterator[StateLock]:
    """On a state that this process holds."""
    made = StateLock(str(tmp_path / "state.db"))
    yield made
    made.release()


@pytest.mark.parametrize("released", [True, False], ids=["released", "killed"])
async def test_it_serves_on_and_hands_in_its_sockets_to_the_next_holder(
    lock: StateLock, released: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was counted in between is told to that one, and nothing of it is lost or told twice."""
    monkeypatch.setattr(worker_module, "RETRY_AFTER", 0.01)
    kept = Kept(lock.path)
    await kept.start()
    await kept.serving()
    if released:
        kept.tell(Release())
        assert await kept.refusals() == 0
    kept.writer.close()
    await wait_until(lambda: kept.worker.writer is None, "it is alone")
    for _ in range(2):
        assert b"404" in await kept.ask(), "it serves on"
    counts = CountsTable()
    lock.left_behind = [name_of(os.getpid())]
    holder = holder_of(lock, counts)
    (copy,) = await holder.gather()
    assert copy.getsockname() == kept.sock.getsockname()
    await wait_until(lambda: sum(counts.refused.values()) == 2, "its counts are told")
    assert b"404" in await kept.ask()
    holder.release(5.0, [copy])
    await kept.ended()
    await wait_until(lambda: sum(counts.refused.values()) == 3, "its last counts too")
    assert kept.plane.draining and not kept.plane.hurrying, "a successor accepts from the same sockets"
    holder.close()
    copy.close()
    await kept.close()


async def test_what_is_counted_while_a_successor_dies_is_told_to_the_next(
    lock: StateLock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "RETRY_AFTER", 0.01)
    monkeypatch.setattr(worker_module, "REPORT_EVERY", 0.01)
    kept = Kept(lock.path)
    await kept.start()
    await kept.serving()
    kept.writer.close()
    first, second = CountsTable(), CountsTable()
    lock.left_behind = [name_of(os.getpid())]
    holder = holder_of(lock, first)
    for sock in await holder.gather():
        sock.close()
    holder.close()
    await wait_until(lambda: kept.worker.writer is None, "it has seen that end")
    for _ in range(3):
        await kept.ask()
        await asyncio.sleep(0.02)
    holder = holder_of(lock, second)
    gathered = await holder.gather()
    await wait_until(lambda: sum(second.refused.values()) == 3, "its counts are told")
    assert first.refused == {}
    holder.release(5.0, gathered)
    for sock in gathered:
        sock.close()
    await kept.ended()
    holder.close()
    await kept.close()


# ── what it begins with ───────────────────────────────────────────────────────────────────────────


async def test_certificates_are_read_again_where_they_are_good(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    authority = Authority(tmp_path)
    cert, key = await asyncio.to_thread(authority.files, "localhost")
    kept = Kept(tls=Certificate(cert, key))
    await kept.start()
    await kept.serving()
    assert b"404" in await kept.ask(ssl.create_default_context(cafile=authority.file))
    (credentials,) = kept.worker.credentials
    before = credentials.current
    kept.tell(Renew())
    await wait_until(lambda: credentials.current is not before, "they are read")
    fresh = credentials.current
    spoil(cert)
    with caplog.at_level(logging.ERROR):
        kept.tell(Renew())
        await wait_until(
            lambda: "TLS certificate not renewed, the old one stays" in caplog.text, "it is told"
        )
    assert credentials.current is fresh
    assert (await kept.serving(2)).generation == 2, "and it serves on"
    await kept.close()


def spoil(path: str) -> None:
    Path(path).write_text("no certificate")


async def test_the_status_is_of_this_process_and_this_snapshot(kept: Kept) -> None:
    await kept.serving(4)
    status = status_of(kept.plane, 3)
    assert (status.worker, status.pid, status.up, status.generation) == (3, os.getpid(), True, 4)
    assert (status.connections, status.in_flight) == (0, {})


def holder_of(lock: StateLock, counts: CountsTable) -> Handover:
    return Handover(lock, local_socket.listen_at(socket_of(lock.path)), LeavingWorkers(counts), lambda: None)


async def test_alone_it_ends_at_a_signal(lock: StateLock) -> None:
    kept = Kept(lock.path)
    await kept.start()
    await kept.serving()
    kept.writer.close()
    await wait_until(lambda: kept.worker.writer is None, "it is alone")
    kept.worker.leave()
    await kept.ended()
    await kept.close()


async def test_alone_it_ends_when_the_last_holder_ended_in_good_order(
    lock: StateLock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "RETRY_AFTER", 0.01)
    kept = Kept(lock.path)
    await kept.start()
    await kept.serving()
    kept.writer.close()
    await wait_until(lambda: kept.worker.writer is None, "it is alone")
    assert b"404" in await kept.ask()
    lock.release()
    await kept.ended()
    await kept.close()
