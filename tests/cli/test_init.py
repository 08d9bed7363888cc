"""`crossfade init`: what it finds out of model servers, and that what it writes is valid."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from crossfade.cli import init
from crossfade.cli.exits import CommandFailed
from crossfade.cli.init import sticky_entry
from crossfade.config.load import Loaded, load
from tests.cli.conftest import Shell

FASTAPI: dict[str, Any] = {
    "/health": {},
    "/openapi.json": {
        "paths": {"/predict": {"post": {}}, "/predict/batch": {"post": {}}, "/model": {"get": {}}}
    },
}
OIP: dict[str, Any] = {"/v2": {"name": "triton", "version": "2.4", "extensions": []}, "/v2/health/ready": {}}
OPENAI = {"/v1/models": {"object": "list", "data": []}, "/health": {}}
KSERVE = {"/v1/models": {"models": ["churn"]}}
EVERYTHING = dict.fromkeys(
    ("/v2/health/ready", "/health", "/ping", "/version", "/crossfade-asks-for-nothing"),
    "<html>a page for all</html>",
)
MLFLOW = {"/ping": "\n", "/version": "2.1"}


@asynccontextmanager
async def serving(answers: Mapping[str, Any]) -> AsyncIterator[str]:
    """A model server that has these GET paths; each other request is a fault of the test."""

    async def answer(request: web.Request) -> web.Response:
        assert request.method == "GET"
        if request.path not in answers:
            return web.Response(status=404, text="not found")
        found = answers[request.path]
        return web.json_response(found) if isinstance(found, dict) else web.Response(text=found)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    server = TestServer(app, host="127.0.0.1")
    await server.start_server()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        await server.close()


def read(file: Path) -> Loaded:
    return load(file.read_text(), str(file), {})


@pytest.mark.parametrize(
    ("answers", "match", "protocol", "health"),
    [
        (FASTAPI, ("/predict", None), None, "/health"),
        (OIP, (None, "/v2/models"), "oip_v2", "/v2/health/ready"),
        ({**OIP, **FASTAPI}, ("/predict", None), None, "/v2/health/ready"),
        (OPENAI, (None, "/v1"), "openai", "/health"),
        (KSERVE, (None, "/v1/models"), "kserve_v1", None),
        (MLFLOW, ("/invocations", None), "mlflow", "/ping"),
        ({**MLFLOW, "/version": "2.14.1.dev0"}, ("/invocations", None), "mlflow", "/ping"),
        ({**MLFLOW, "/version": "<html>"}, (None, None), None, "/ping"),
        ({**MLFLOW, "/version": {"version": "1.0"}}, (None, None), None, "/ping"),
        (EVERYTHING, (None, None), None, None),
        ({}, (None, None), None, None),
    ],
)
async def test_a_model_server_says_what_it_is(
    shell: Shell,
    tmp_path: Path,
    answers: Mapping[str, Any],
    match: tuple[str | None, str | None],
    protocol: str | None,
    health: str | None,
) -> None:
    file = tmp_path / "routing.yaml"
    async with serving(answers) as url:
        result = await shell.run("init", "--from", url, "-o", str(file))
    assert result.code == 0, result.err
    config = read(file).config
    (route,) = config.routes
    assert (route.match.path, route.match.prefix) == match
    assert (route.prediction.protocol if route.prediction else None) == protocol
    backend = config.backends["v1"]
    assert [endpoint.url for endpoint in backend.endpoints] == [url]
    assert (getattr(backend.health, "path", None) or None) == health
    assert (await shell.run("check", str(file))).code == 0


async def test_two_versions_are_a_canary(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "routing.yaml"
    async with serving(FASTAPI) as old, serving(FASTAPI) as new:
        words = "init", "--from", old, "--from", new, "--sticky", "json:customer_id", "-o", str(file)
        result = await shell.run(*words, "--json")
    assert result.code == 0, result.err
    assert [found["path"] for found in result.json["found"]] == ["/predict", "/predict"]
    (route,) = read(file).config.routes
    (rollout,) = route.rollout
    assert (rollout.champion, rollout.challenger, route.fallback) == ("v1", "v2", "v1")
    assert [(sticky.kind, sticky.name) for sticky in route.sticky] == [("json", "customer_id")]
    assert read(file).warnings == ()


class Keyboard(io.StringIO):
    def isatty(self) -> bool:
        return True


async def test_three_questions_are_asked_where_nothing_is_given(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "routing.yaml"
    monkeypatch.setattr("sys.stdin", Keyboard("127.0.0.1:1\nhttp://127.0.0.1:2\nheader:X-Customer-Id\n"))
    result = await shell.run("init", "-o", str(file))
    assert result.code == 0, result.err
    assert [f"{number}/3" in result.err for number in (1, 2, 3)] == [True] * 3
    assert "nothing answers at http://127.0.0.1:1" in result.err
    config = read(file).config
    assert [b.endpoints[0].url for b in config.backends.values()] == [
        "http://127.0.0.1:1",
        "http://127.0.0.1:2",
    ]
    assert config.routes[0].sticky[0].kind == "header"


async def test_a_file_that_is_there_is_kept(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "routing.yaml"
    async with serving({}) as url:
        words = "init", "--from", url, "-o", str(file)
        assert (await shell.run(*words)).code == 0
        again = await shell.run(*words)
        assert (again.code, "is there already" in again.err, "--force" in again.err) == (1, True, True)
        assert (await shell.run(*words, "--force")).code == 0
        shown = await shell.run("init", "--from", url, "-o", "-")
    assert shown.out.startswith("# Written by `crossfade init`.")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--from", "http://127.0.0.1:1"), 3, "nothing answers at http://127.0.0.1:1"),
        (("--from", "ftp://x"), 2, "must look like http://127.0.0.1:8000"),
        ((), 2, "--from"),
    ],
)
async def test_what_cannot_be_written_is_said(
    shell: Shell,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    code: int,
    said: str,
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    result = await shell.run("init", *words, "-o", str(tmp_path / "new.yaml"))
    assert (result.code, said in result.err) == (code, True), result.err


@pytest.mark.parametrize(
    ("given", "entry"),
    [
        ("", ""),
        ("client_ip", "client_ip: true"),
        ("json:customer.id", "json: customer.id"),
        ("cookie:a b", 'cookie: "a b"'),
    ],
)
def test_a_sticky_key_is_written_as_the_file_has_it(given: str, entry: str) -> None:
    assert sticky_entry(given) == entry


def test_a_sticky_key_that_is_none_is_refused() -> None:
    for given in ("customer_id", "json:", "body:x"):
        with pytest.raises(CommandFailed):
            init.sticky_entry(given)
