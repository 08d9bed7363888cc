"""`crossfade explain`: requests as curl would send them, and what is printed of the answer."""

from __future__ import annotations

import argparse
import asyncio
import shlex
from pathlib import Path
from typing import Any

import pytest

from crossfade.cli.curl_options import add_curl_options, request_of
from crossfade.cli.exits import CommandFailed
from tests.admin.site import FILE, Site
from tests.cli.conftest import Shell

CURL_ADDS = {"accept", "user-agent", "content-length", "accept-encoding"}


def asked(*words: str) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    add_curl_options(parser)
    return request_of(parser.parse_args(words))


async def sent_by_curl(words: list[str], port: int) -> tuple[str, dict[str, list[str]], str]:
    """Request line, fields and body of what curl really sends."""
    got = bytearray()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.extend(await reader.readuntil(b"\r\n\r\n"))
        length = [line for line in bytes(got).lower().split(b"\r\n") if line.startswith(b"content-length:")]
        if length:
            got.extend(await reader.readexactly(int(length[0].split(b":")[1])))
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", port):
        curl = await asyncio.create_subprocess_exec("curl", "-q", *words, stdout=asyncio.subprocess.DEVNULL)
        assert await curl.wait() == 0
    head, _, body = bytes(got).decode().partition("\r\n\r\n")
    line, *rest = head.split("\r\n")
    fields: dict[str, list[str]] = {}
    for field in rest:
        name, _, value = field.partition(":")
        value = (
            value.strip().replace(";", "; ").replace(";  ", "; ")
        )  # older ones join cookies without a space
        fields.setdefault(name.lower(), []).append(value)
    return line, fields, body


@pytest.mark.parametrize(
    "words",
    [
        "URL/predict?a=b",
        "-s -X PUT URL/predict",
        "-I URL",
        """-d '{"customer_id": 42}' -H 'Content-Type: application/json' URL/predict""",
        "-d a=1 -d b=2 URL/predict",
        "-H 'X-Customer-Id: 7' -H 'X-Customer-Id: 8' -H 'Host: model.test' URL/predict",
        "-H 'Content-Type:' -H 'X-Empty;' -d x URL/predict",
        "-b 'a=1' -b 'c=2' URL/",
        "-A robot -k -L URL/predict",
    ],
)
async def test_the_request_is_the_one_that_curl_sends(words: str, unused_tcp_port: int) -> None:
    port = unused_tcp_port
    given = [word.replace("URL", f"http://127.0.0.1:{port}") for word in shlex.split(words)]
    line, fields, body = await sent_by_curl([*given, "--silent"], port)
    request = asked(*given)
    assert f"{request['method']} {request['target']} HTTP/1.1" == line
    names = {name.lower(): values for name, values in request["headers"].items()}
    assert names == {n: v for n, v in fields.items() if n not in CURL_ADDS - names.keys()}
    assert request["body"] == body


def test_a_body_is_read_from_a_file_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "body.json").write_text('{\n"a": 1}')
    assert asked("-d", f"@{tmp_path / 'body.json'}", "/predict")["body"] == '{\n"a": 1}'
    with pytest.raises(CommandFailed, match="missing"):
        asked("-d", f"@{tmp_path / 'missing'}", "/predict")


@pytest.mark.parametrize(
    "words", [("ftp://h/x",), ("http://[x",), ("-H", "nonsense", "/x"), ("-H", ": x", "/x")]
)
def test_what_is_no_request_is_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(CommandFailed) as failed:
        asked(*words)
    assert failed.value.code == 2


@pytest.mark.parametrize(
    ("url", "host", "target"),
    [("model.test/predict", ["model.test"], "/predict"), ("h:8080?a", ["h:8080"], "/?a"), ("/x", None, "/x")],
)
def test_a_url_is_read_as_curl_reads_it(url: str, host: list[str] | None, target: str) -> None:
    request = asked(url)
    assert (request["headers"].get("Host"), request["target"], request["tls"]) == (host, target, False)


def test_https_is_a_request_over_tls() -> None:
    request = asked("HTTPS://model.test/predict", "-H", "Host: other.test")
    assert (request["headers"], request["target"], request["tls"]) == (
        {"Host": ["other.test"]},
        "/predict",
        True,
    )


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "routing.yaml"
    path.write_text(FILE)
    return str(path)


async def test_a_file_explains_without_a_proxy(shell: Shell, file: str) -> None:
    words = "explain", "--config", file, "-d", '{"customer_id": 42}', "/predict"
    shown = await shell.run(*words)
    assert shown.code == 0, shown.err
    assert "Route churn is the first" in shown.out
    assert "Its key 42 (json:customer_id) is in bucket " in shown.out
    assert "This key moves to v3 when that has " in shown.out
    found = (await shell.run(*words, "--json")).json
    assert (found["backend"], found["how"]) == ("v2", "key")
    refused = await shell.run("explain", "--config", file, "/other")
    assert (refused.code, "not churn: the path must be /predict" in refused.out) == (1, True)
    drawn = await shell.run("explain", "--config", file, "-d", "{}", "/predict")
    assert "v2 has the whole route." in drawn.out


async def test_a_running_proxy_explains(site: Site, shell: Shell) -> None:
    words = "explain", "-d", '{"customer_id": 42}', "http://127.0.0.1/predict"
    shown = await shell.run_with_admin(*words)
    assert shown.code == 0, shown.err
    assert "This key moves to v3 when that has " in shown.out or "gives to v3" in shown.out
    found = (await shell.run_with_admin(*words, "--json")).json
    assert found["ledger_version"] == site.harness.controller.state.route("churn").record.ledger.version
    refused = await shell.run_with_admin("explain", "--client", "nobody", "/predict")
    assert (refused.code, "No such request can be sent" in refused.err) == (1, True)


async def test_what_cannot_be_sent_or_read_has_its_exit_code(shell: Shell, file: str, tmp_path: Path) -> None:
    assert (await shell.run("explain", "--config", file, "--client", "nobody", "/predict")).code == 2
    bad = tmp_path / "bad.yaml"
    bad.write_text("routes: 7\n")
    refused = await shell.run("explain", "--config", str(bad), "/predict")
    assert (refused.code, f"{bad}:1:9" in refused.err) == (1, True)
