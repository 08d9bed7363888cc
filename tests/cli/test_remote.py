"""Commands against a real admin API: what they do, what they print, how they end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.admin.site import FILE, Site, serving
from tests.cli.conftest import Shell


async def test_status_shows_routes_rollouts_and_backends(site: Site, shell: Shell) -> None:
    await site.scene.run(2)
    ended = await shell.ask("status")
    assert ended.code == 0, ended.err
    lines = [line.split() for line in ended.out.splitlines()]
    assert ["churn", "v2", "champion", "95%"] in [line[:4] for line in lines]
    assert ["churn", "v3", "challenger", "5%"] in [line[:4] for line in lines]
    assert ["churn", "canary", "v2", "v3", "progressing", "1/2", "5%"] in [line[:7] for line in lines]
    assert ["v4", "-", "http://127.0.0.1:9004", "up"] in lines
    assert "1 of 1 workers" in ended.out and "configuration routing.yaml" in ended.out


async def test_status_says_what_is_not_well(site: Site, shell: Shell) -> None:
    site.scene.controller.refuse_config("routing.yaml:3:1: nonsense")
    site.scene.controller.journal.ok = False
    await site.scene.controller.endpoints_changed(frozenset({("v4", "127.0.0.1:9004")}), site.scene.now)
    out = (await shell.ask("status")).out
    assert "routing.yaml:3:1: nonsense" in out
    assert "journal cannot be written" in out
    assert "DOWN" in out


@pytest.mark.parametrize("words", [("status",), ("why", "churn"), ("pause", "churn"), ("reload",)])
async def test_json_is_what_the_api_gave(site: Site, shell: Shell, words: tuple[str, ...]) -> None:
    ended = await shell.ask(*words, "--json")
    assert ended.code == 0
    assert set(ended.json) & {"routes", "would_change", "waiting_for", "hash"}


async def test_commands_drive_the_rollout(site: Site, shell: Shell) -> None:
    steps = [
        ("pause", "paused"),
        ("resume", "progressing"),
        ("promote", "promoted"),
        ("rollback", "rolled_back"),
        ("retry", "progressing"),
        ("abort", "aborted"),
    ]
    for verb, phase in steps:
        ended = await shell.ask(verb, "churn")
        assert (ended.code, ended.err) == (0, "")
        assert ended.out.startswith(f"churn: {phase}, step 1/2, v3 at ")
        assert site.scene.rollout.phase == phase


async def test_a_challenger_can_be_named(site: Site, shell: Shell) -> None:
    assert (await shell.ask("pause", "churn", "--challenger", "v3")).code == 0
    assert site.scene.rollout.phase == "paused"
    ended = await shell.ask("resume", "churn", "--challenger", "v 9&x")
    assert (ended.code, "no rollout of v 9&x on route churn; there is v3" in ended.err) == (4, True)
    assert (await shell.ask("why", "churn", "--challenger", "v3")).out.startswith("churn: paused")


async def test_reason_and_actor_reach_the_journal(
    site: Site, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "anna")
    await shell.ask("pause", "churn", "--reason", "lunch time")
    last = site.scene.controller.decisions("churn", 0)[-1]
    assert (last.reason, last.actor) == ("lunch time", "api:anna")
    out = (await shell.ask("why", "churn")).out
    assert "churn: paused" in out
    assert "pause by api:anna" in out and "lunch time" in out
    assert "What would change it" in out


async def test_nobody_is_an_actor_too(site: Site, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("uid not found")

    monkeypatch.setattr("getpass.getuser", nobody)
    assert (await shell.ask("pause", "churn")).code == 0
    assert (await site.actors())[-1] == "api"


async def test_why_shows_the_verdicts(site: Site, shell: Shell) -> None:
    await site.scene.run(2)
    out = (await shell.ask("why", "churn")).out
    assert "check" in out and any(word in out for word in ("PASS", "UNDECIDED"))


@pytest.mark.parametrize(
    ("given", "split"),
    [
        (["v2=75%", "v4=25%"], {"v2": 7500, "v4": 2500}),
        (["v2=3", "v4=1"], {"v2": 7500, "v4": 2500}),
        (["v4=0.01%", "v2=99.99%"], {"v2": 9999, "v4": 1}),
        (["v2=1"], {"v2": 10_000}),
    ],
)
async def test_split_takes_percentages_or_weights(
    site: Site, shell: Shell, given: list[str], split: dict[str, int]
) -> None:
    await shell.ask("abort", "churn")
    ended = await shell.ask("split", "churn", *given)
    assert (ended.code, ended.err) == (0, "")
    assert "in all workers" in ended.out
    assert site.scene.weights == split


@pytest.mark.parametrize(
    ("given", "code", "said"),
    [
        (["v2"], 2, "v2=95% v3=5%"),
        (["=1"], 2, "v2=95% v3=5%"),
        (["v2=1", "v2=2"], 2, "each backend once"),
        (["v2=lots"], 2, "the weight of v2 must be"),
        (["v2=50%", "v4=40%"], 1, "must add up to 100%, not 90%"),
        (["v2=50%", "v4=1"], 1, "not both"),
        (["v2=0"], 1, "above 0"),
        (["v2=9", "v44=1"], 4, "Did you mean v4?"),
        (["v2=9", "elephant=1"], 4, "There are v2, v3, v4."),
    ],
)
async def test_split_that_makes_no_sense(
    site: Site, shell: Shell, given: list[str], code: int, said: str
) -> None:
    await shell.ask("abort", "churn")
    before = site.scene.weights
    ended = await shell.ask("split", "churn", *given)
    assert ended.code == code
    assert said in ended.err
    assert site.scene.weights == before


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("why", "nope"), 4, "no route is called nope"),
        (("pause", "no/such route?"), 4, "no route is called no/such route?"),
        (("split", "nope", "v2=1"), 4, "no route is called nope"),
        (("rollback", "churn"), 1, "crossfade why"),
        (("split", "churn", "v2=1"), 1, "a rollout is progressing"),
    ],
)
async def test_refusals_end_with_a_code_and_what_to_do(
    shell: Shell, words: tuple[str, ...], code: int, said: str
) -> None:
    ended = await shell.ask(*words)
    assert (ended.code, ended.out) == (code, "")
    assert said in ended.err


async def test_reload_says_what_was_loaded_or_all_that_is_wrong(site: Site, shell: Shell) -> None:
    ended = await shell.ask("reload")
    assert ended.code == 0
    assert ended.out.startswith("reloaded routing.yaml (")
    assert "warning: backends.v4" in ended.out
    site.reloads.file = FILE.replace("v2: 100%", "v2: 90%").replace("challenger: v3", "challenger: v33")
    ended = await shell.ask("reload")
    assert ended.code == 1
    assert ended.err.count("routing.yaml:") >= 2


async def test_token_comes_from_the_option_or_the_environment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving("s3cret") as site:
        shell = Shell(capsys, site.url)
        ended = await shell.ask("status")
        assert ended.code == 1
        assert "CROSSFADE_ADMIN_TOKEN" in ended.err
        assert (await shell.ask("status", "--token", "s3cret")).code == 0
        monkeypatch.setenv("CROSSFADE_ADMIN_TOKEN", "s3cret")
        monkeypatch.setenv("CROSSFADE_ADMIN_URL", site.url + "/")
        assert (await shell.run("status")).code == 0


@pytest.mark.parametrize(
    "url", ["127.0.0.1:9901", "ftp://127.0.0.1", "http://", "http://127.0.0.1:port", "http://[", ""]
)
async def test_an_address_that_is_none_is_wrong_usage(capsys: pytest.CaptureFixture[str], url: str) -> None:
    ended = await Shell(capsys, url).ask("status")
    assert ended.code == 2
    assert "--admin" in ended.err


async def test_nobody_listens(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    ended = await Shell(capsys, f"http://127.0.0.1:{port}").ask("status")
    assert ended.code == 3
    assert "crossfade run" in ended.err and f"127.0.0.1:{port}" in ended.err


@asynccontextmanager
async def impostor(answer: bytes) -> AsyncIterator[str]:
    """A server that gives every caller this."""

    async def give(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(give, "127.0.0.1", 0) as server:
        yield "http://127.0.0.1:{1}".format(*server.sockets[0].getsockname())


def head(status: str, *fields: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *fields, "connection: close", "", ""]).encode()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        head("200 OK", "content-type: text/html") + b"<p>hello</p>",
        head("200 OK", "content-type: application/json") + b"{",
        head("200 OK", "content-type: application/json", "content-length: 50") + b"{}",
        head(
            "404 Not Found", "content-type: application/problem+json", "x-crossfade-error: internal/no_route"
        )
        + b"{}",
    ],
)
async def test_somebody_else_listens(capsys: pytest.CaptureFixture[str], answer: bytes) -> None:
    async with impostor(answer) as url:
        ended = await Shell(capsys, url).ask("status")
    assert ended.code == 3
    assert url in ended.err
