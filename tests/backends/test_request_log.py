from __future__ import annotations

import asyncio
import json
import os
import stat
from contextlib import suppress

import pytest

from crossfade_backends.request_log import RequestLog, redacted
from tests.backends.serving import ROW, command, serving


@pytest.mark.parametrize(
    "name",
    [
        "Authorization",
        "Proxy-Authorization",
        "cookie",
        "Set-Cookie",
        "X-Api-Key",
        "X-Auth-Token",
        "x-amz-signature",
        "Client-Secret",
        "X-Password",
        "x-crossfade-override-token",
        "Session-Id",
    ],
)
def test_values_that_may_be_secret_are_hidden(name):
    assert redacted({name: "s3cr3t", "Accept": "*/*"}) == {name.lower(): "***", "accept": "*/*"}


def test_values_and_their_number_are_bounded():
    shown = redacted({f"X-{n}": "y" * 1000 for n in range(100)})
    assert len(shown) == 50
    assert max(map(len, shown.values())) == 256


async def test_each_request_is_a_line_without_its_body_and_secrets(registry, tmp_path):
    file = tmp_path / "requests.log"
    async with serving(
        registry, request_log=str(file), cors_origins=("*",), rate_limit=0.001, rate_burst=1.0
    ) as client:
        headers = {"Authorization": "Bearer s3cr3t", "X-Request-Id": "r-1"}
        async with client.post(
            "/predict?key=s3cr3t", json=ROW | {"customer_id": "Jane Doe"}, headers=headers
        ) as answer:
            size = len(await answer.read())
        await client.post("/predict", json=ROW)
        await client.get("/nowhere")
        await client.options(
            "/predict", headers={"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
        )
    text = await asyncio.to_thread(file.read_text)
    first, *others = map(json.loads, text.splitlines())
    assert "s3cr3t" not in text and "Jane" not in text
    assert (first["method"], first["path"], first["query"], first["status"]) == (
        "POST",
        "/predict",
        ["key"],
        200,
    )
    assert (first["client"], first["bytes_out"], first["headers"]["x-request-id"]) == (
        "127.0.0.1",
        size,
        "r-1",
    )
    assert first["seconds"] > 0 and first["bytes_in"] > 100
    assert [each["status"] for each in others] == [429, 404, 204]
    assert stat.S_IMODE((await asyncio.to_thread(file.stat)).st_mode) == 0o600


async def test_a_client_that_went_away_is_a_499(registry, tmp_path):
    file = tmp_path / "requests.log"
    async with serving(registry, request_log=str(file)) as client:
        await client.put("/faults", json={"hang": True})
        asked = asyncio.create_task(client.post("/predict", json=ROW))
        while (await (await client.get("/metrics")).text()).count('code="499"') == 0:
            if not asked.done():
                await asyncio.sleep(0.05)
                asked.cancel()
    statuses = [json.loads(line)["status"] for line in (await asyncio.to_thread(file.read_text)).splitlines()]
    assert 499 in statuses


def test_lines_that_cannot_be_written_are_counted():
    dropped = []
    log = RequestLog("/dev/full", lambda: dropped.append(1))
    log.add({"a": 1})
    log.add({"a": 2})
    log.close()
    assert len(dropped) == 2


def test_a_pipe_that_nobody_reads_does_not_keep_the_server(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDWR)
    log = RequestLog(str(pipe), lambda: None)
    try:
        for _ in range(20):
            log.add({"a": "x" * 8000})  # more than a pipe takes
        log.close(within=0.1)
        assert log.thread.is_alive()
    finally:
        os.set_blocking(reader, False)
        while log.thread.is_alive():
            with suppress(BlockingIOError):
                os.read(reader, 1 << 20)
        os.close(reader)
        log.close()


async def test_a_log_that_cannot_be_opened_ends_the_command(registry, tmp_path):
    missing = str(tmp_path / "none" / "requests.log")
    async with command("--registry", str(registry), "--version", "v3", "--request-log", missing) as process:
        _, said = await process.communicate()
    assert process.returncode == 1
    assert said.decode() == f"error: cannot write {missing}: No such file or directory\n"


@pytest.mark.parametrize(
    ("option", "value", "error"),
    [
        ("--cors-origin", "example.com", "is not an origin"),
        ("--rate-limit", "0", "0 is not in 0.001..1000000"),
        ("--rate-burst", "many", "invalid"),
        ("--rate-burst", "3", "--rate-burst needs --rate-limit"),
        ("--rate-limit", "nan", "nan is not in"),
    ],
)
async def test_wrong_options_are_refused(option, value, error):
    async with command("--version", "v3", option, value) as process:
        _, said = await process.communicate()
    assert process.returncode == 2
    assert error in said.decode()
