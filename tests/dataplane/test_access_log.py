"""The access log: the fields of a line, which requests have a line, and that no request waits for the file."""

from __future__ import annotations

import contextlib
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from crossfade.dataplane import access_log, log_file
from crossfade.dataplane.log_line import LONGEST_TARGET
from crossfade.errors import RequestRefused, Stage
from crossfade.routing.snapshot import AccessLog, Rate, Sticky
from tests.dataplane.plane import Harness, route, sticky
from tests.dataplane.scripted import answering, closing
from tests.dataplane.wire import chunked, get, ok, post, wait_until

ALL_REQUESTS = 1.0


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "access.log"


def logged(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


async def lines(file: Path, count: int) -> list[dict[str, Any]]:
    await wait_until(lambda: len(logged(file)) >= count, f"{count} lines")
    found = logged(file)
    assert len(found) == count
    return found


def log_to(file: Path | str, sample: float = ALL_REQUESTS, query: bool = False) -> AccessLog:
    return AccessLog(str(file), sample, query)


async def test_a_line_has_the_fields_of_its_exchange_and_no_secrets(harness: Harness, file: Path) -> None:
    backend = harness.backend("v2", answering(ok(b"four")))
    harness.use(route("v2", sticky=sticky("header", "X-Key")), access_log=log_to(file))
    client = await harness.client()
    fields = [b"X-Key: secret-key", b"x-request-id: abc", b"Cookie: secret", b"Authorization: secret"]
    await client.send(post(b"hello", "/predict?token=secret", fields))
    await client.answer()
    (line,) = await lines(file, 1)
    assert abs(datetime.fromisoformat(line.pop("time")) - datetime.now(UTC)) < timedelta(minutes=1)
    assert 0 < line.pop("first_byte") <= line.pop("duration") < 10
    assert line == {
        "request_id": "abc", "client": "127.0.0.1", "method": "POST", "target": "/predict", "route": "churn",
        "backend": "v2", "role": "champion", "ledger_version": 1, "keyed": True, "answered_by": "v2",
        "endpoint": f"127.0.0.1:{backend.port}", "status": 200, "failures": [], "bytes_in": 5, "bytes_out": 4,
    }  # fmt: skip
    assert "secret" not in str(logged(file))


async def test_query_strings_are_logged_if_configured(harness: Harness, file: Path) -> None:
    harness.backend("v2")
    harness.use(route("v2"), access_log=log_to(file, query=True))
    client = await harness.client()
    await client.send(get('/predict?a=1&b=%22"\\'), get("/" + "x" * 5000))
    for _ in range(2):
        await client.answer()
    first, second = await lines(file, 2)
    assert first["target"] == '/predict?a=1&b=%22"\\'
    assert second["target"] == "/" + "x" * (LONGEST_TARGET - 1)
    assert (first["keyed"], first["client"]) == (False, "127.0.0.1")


async def test_the_client_address_comes_from_a_trusted_proxy(harness: Harness, file: Path) -> None:
    harness.backend("v2")
    harness.use(route("v2"), access_log=log_to(file), trusted_proxies=("127.0.0.1/32",))
    client = await harness.client()
    await client.send(get(fields=[b"X-Forwarded-For: 6.6.6.6, 2001:db8::1"]))
    await client.answer()
    (line,) = await lines(file, 1)
    assert line["client"] == "2001:db8::1"


@pytest.mark.parametrize(
    "raw",
    [ok(b"x" * 300_000), b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"x" * 300_000)],
    ids=["length", "chunks"],
)
async def test_bytes_count_the_bodies_without_framing(harness: Harness, file: Path, raw: bytes) -> None:
    harness.backend("v2", answering(raw))
    harness.use(route("v2"), access_log=log_to(file))
    client = await harness.client()
    head = b"POST / HTTP/1.1\r\nHost: models\r\nTransfer-Encoding: chunked\r\n\r\n"
    await client.send(head, chunked(b"y" * 1000, b"z" * 99_000))
    await client.answer()
    (line,) = await lines(file, 1)
    assert (line["bytes_in"], line["bytes_out"]) == (100_000, 300_000)


async def test_failures_are_logged_even_with_a_sample_of_zero(harness: Harness, file: Path) -> None:
    harness.refusing("v2")
    harness.backend("v3")
    harness.backend("cut", closing(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"))
    client = await harness.client()
    harness.use(route("v2", fallback="v3"), access_log=log_to(file, 0.0))
    await client.send(get())
    assert (await client.answer()).status == 200
    harness.use(route("v2"), access_log=log_to(file, 0.0))
    await client.send(get())
    assert (await client.answer()).status == 502
    harness.use(route("v3"), access_log=log_to(file, 0.0))
    await client.send(get())
    assert (await client.answer()).status == 200  # no failure and not in the sample: no line
    harness.use(route("cut"), access_log=log_to(file, 0.0))
    await client.send(get())
    await client.rest()
    fell_back, failed, cut = await lines(file, 3)
    assert (fell_back["status"], fell_back["backend"], fell_back["answered_by"]) == (200, "v2", "v3")
    assert fell_back["failures"] == failed["failures"] == ["upstream/connect"]
    assert (failed["status"], failed["answered_by"], failed["endpoint"]) == (502, None, None)
    assert (cut["status"], cut["failures"], cut["bytes_out"]) == (200, ["upstream/body"], 4)


async def test_refused_requests_are_logged(harness: Harness, file: Path) -> None:
    harness.backend("v2")
    limited = route("v2", rate=Rate(Sticky("client_ip"), 0.01, 1), body_limit=10)
    harness.use(limited, access_log=log_to(file))
    for raw in (get(), get(), post(b"x" * 11), b"NONSENSE\r\n\r\n"):
        client = await harness.client()
        await client.send(raw)
        await client.answer()
    found = await lines(file, 4)
    assert [(line["status"], line["failures"], line["method"], line["backend"]) for line in found] == [
        (200, [], "GET", "v2"),
        (429, ["internal/rate"], "GET", None),
        (413, ["downstream/limits"], "POST", None),
        (400, ["downstream/parse"], None, None),
    ]
    assert len({line["request_id"] for line in found}) == 4


async def test_a_client_that_leaves_is_logged_as_client_left(harness: Harness, file: Path) -> None:
    async def silent(conversation: Any) -> None:
        await conversation.request()
        await conversation.watch()

    backend = harness.backend("v2", silent)
    harness.use(route("v2"), access_log=log_to(file))
    client = await harness.client()
    await client.send(get())
    await wait_until(lambda: backend.requests)
    client.reset()
    (line,) = await lines(file, 1)
    assert (line["status"], line["failures"], line["first_byte"]) == (499, ["downstream/client_left"], None)


async def test_only_the_sample_is_logged(
    harness: Harness, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draws = iter([0.0, 0.24, 0.25, 0.99] * 5)
    monkeypatch.setattr(access_log, "random", lambda: next(draws))
    harness.backend("v2")
    harness.use(route("v2"), access_log=log_to(file, 0.25))
    client = await harness.client()
    for _ in range(20):
        await client.send(get())
        await client.answer()
    await lines(file, 10)


@pytest.mark.parametrize(
    ("draw", "status", "is_logged"),
    [(0.24, 400, True), (0.25, 400, False), (0.25, 499, False), (0.25, 500, True), (0.99, 503, True)],
)
async def test_a_refusal_is_logged_if_in_the_sample_or_a_5xx(
    file: Path, monkeypatch: pytest.MonkeyPatch, draw: float, status: int, is_logged: bool
) -> None:
    monkeypatch.setattr(access_log, "random", lambda: draw)
    logger = access_log.AccessLogger(log_to(file, 0.25))
    logger.refusal(RequestRefused(Stage.PARSE, status=status), b"127.0.0.1", b"abc")
    await logger.closed()
    expected = [("127.0.0.1", "abc", status, ["downstream/parse"])] if is_logged else []
    fields = [(line["client"], line["request_id"], line["status"], line["failures"]) for line in logged(file)]
    assert fields == expected


async def test_a_reload_turns_the_access_log_on_and_off(harness: Harness, file: Path, tmp_path: Path) -> None:
    harness.backend("v2")
    client = await harness.client()
    other = tmp_path / "other.log"
    for spec in (None, log_to(file), log_to(file), log_to(other), None):
        harness.use(route("v2"), access_log=spec)
        await client.send(get())
        await client.answer()
    await lines(file, 2)
    await lines(other, 1)
    assert harness.plane.access_log is None


async def test_a_drain_writes_the_remaining_lines(harness: Harness, file: Path) -> None:
    harness.backend("v2")
    harness.use(route("v2"), access_log=log_to(file))
    client = await harness.client()
    await client.send(get())
    await client.answer()
    await harness.plane.drain(1)
    assert len(logged(file)) == 1


def move_away(file: Path, how: str) -> None:
    if how == "renamed":
        file.rename(file.with_suffix(".1"))
    else:
        file.unlink()


@pytest.mark.parametrize("how", ["renamed", "deleted"])
async def test_a_renamed_or_deleted_file_is_created_again(harness: Harness, file: Path, how: str) -> None:
    harness.backend("v2")
    harness.use(route("v2"), access_log=log_to(file))
    client = await harness.client()
    for _ in range(3):
        await client.send(get())
        await client.answer()
        await lines(file, 1)
        move_away(file, how)
    assert logged(file) == []


# ── no request waits for the file ─────────────────────────────────────────────────────────────────


def lost_lines(harness: Harness) -> int:
    return harness.plane.recorder.table.dropped.get("access_log", 0)


async def ask(harness: Harness, requests: int) -> None:
    client = await harness.client()
    for _ in range(requests):
        await client.send(get())
        assert (await client.answer()).status == 200


@pytest.mark.parametrize("to", ["/dev/full", "/nowhere/access.log", "/"])
async def test_an_unwritable_file_loses_lines_and_no_requests(
    harness: Harness, file: Path, to: str, caplog: pytest.LogCaptureFixture
) -> None:
    harness.backend("v2")
    harness.use(route("v2"), access_log=log_to(to))
    await ask(harness, 20)
    await wait_until(lambda: lost_lines(harness) == 20, "all lost lines are counted")
    await ask(harness, 1)
    await wait_until(lambda: lost_lines(harness) == 21)
    messages = [record for record in caplog.records if record.name == log_file.log.name]
    assert len(messages) == 1, "one log message"


async def test_an_unread_pipe_loses_lines_and_no_requests(
    harness: Harness, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lines that the pipe and the memory hold are written in the end; the rest is counted as lost."""
    monkeypatch.setattr(access_log, "HELD_LIMIT", 40_000)
    os.mkfifo(file)
    harness.backend("v2")
    harness.use(route("v2"), access_log=log_to(file))
    await ask(harness, 600)
    await wait_until(lambda: lost_lines(harness) > 0)
    reader = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
    try:
        found = b""

        def all_accounted_for() -> bool:
            nonlocal found
            with contextlib.suppress(BlockingIOError):
                found += os.read(reader, 65536)
            return found.count(b"\n") + lost_lines(harness) == 600

        await wait_until(all_accounted_for, "each line is written or counted")
        assert all(json.loads(line)["status"] == 200 for line in found.splitlines())
    finally:
        os.close(reader)
        await wait_until(lambda: not harness.plane.active)


def test_lines_written_after_a_full_disk_are_whole(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that was cut off ends with a line feed before the next line."""
    written = log_file.LogFile(str(file))
    write = os.write
    room = 25

    def write_while_room(fd: int, data: bytes) -> int:
        nonlocal room
        if not room:
            raise OSError(28, "No space left on device")
        count = write(fd, data[:room])
        room -= count
        return count

    monkeypatch.setattr(os, "write", write_while_room)
    assert written.write([b'{"a": 1}\n', b'{"a": 2}\n', b'{"a": 3}\n', b'{"a": 4}\n']) == 2
    room = 10_000
    assert written.write([b'{"a": 5}\n']) == 1
    os.close(written.fd)
    assert file.read_bytes() == b'{"a": 1}\n{"a": 2}\n{"a": 3\n{"a": 5}\n'


def test_pieces_hold_whole_lines():
    batch = [b"%d" % n * 30 + b"\n" for n in range(9)]
    found = list(log_file.pieces(batch, 100))
    assert b"".join(found) == b"".join(batch)
    assert [piece.count(b"\n") for piece in found] == [3, 3, 3]
    assert list(log_file.pieces([b"x" * 500 + b"\n"], 100)) == [b"x" * 500 + b"\n"]
    assert list(log_file.pieces([], 100)) == []
