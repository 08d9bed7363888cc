"""The life of a worker: what it begins with, and what it does that it is told."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from pathlib import Path

import pytest
from msgspec.structs import replace

from crossfade.stats.counts import Counts
from crossfade.workers import worker as worker_module
from crossfade.workers.messages import Certificate, Closing, Drain, Publish, Renew, Report
from crossfade.workers.state_lock import StateLock
from crossfade.workers.worker import status_of
from tests.certificates import Authority
from tests.dataplane.plane import BACKEND, SNAPSHOT, endpoint, route
from tests.dataplane.wire import wait_until
from tests.workers.kept_worker import Kept

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
