"""What a client of the admin API can learn by sending a configuration, or by reading the one in force: no secret."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from crossfade.config.load import Loaded, load
from tests.admin.site import FILE, Site

LEAKS = """listen: "${OVERRIDE}"
state: "sqlite:x.db"
backends: {a: {endpoints: "${PASSWORD}"}}
routes: [{name: x, split: {"${HOME}": 1}}]
"""
ENV = {"OVERRIDE": "very-secret-of-32-characters", "PASSWORD": "hunter2", "HOME": "/root"}


def with_ca(path: str) -> str:
    return f"""listen: ":24299"
backends: {{a: {{endpoints: ["https://127.0.0.1:1"], tls: {{ca: {path}}}}}}}
routes: [{{name: x, split: {{a: 1}}}}]
"""


async def test_variables_are_not_told(site: Site) -> None:
    site.reloads.env |= ENV
    site.reloads.file = FILE + 'override: {secret: "${OVERRIDE}"}\n'
    await site.ask("POST", "/api/v1/reload")
    told = await site.ask("POST", "/api/v1/config", 422, data=LEAKS)
    assert not any(value in str(told) for value in ENV.values())
    assert str(told).count("is not looked up") == 3


@pytest.mark.parametrize("kind", ["fifo", "zero", "secret", "missing"])
async def test_a_file_that_the_configuration_in_force_does_not_name_is_not_opened(
    site: Site, tmp_path: Path, kind: str
) -> None:
    """The same answer for each, so that nobody finds out which files there are."""
    path = tmp_path / "file"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "secret":
        path.write_text("password")
        path.chmod(0)
    told = await site.ask(
        "POST", "/api/v1/config", data=with_ca("/dev/zero" if kind == "zero" else str(path))
    )
    assert [w["path"] for w in told["warnings"]] == ["backends.a.tls"]
    assert told["warnings"][0]["message"].startswith("the files are not opened")


async def test_a_file_of_the_configuration_in_force_is_checked(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text("no certificate")
    site.reloads.configurations.file = load(with_ca(str(path)), "routing.yaml", {})
    told = await site.ask("POST", "/api/v1/config", 422, data=with_ca(str(path)))
    assert "holds no certificate in PEM form" in str(told)


async def test_the_text_in_force_has_no_secret(site: Site) -> None:
    site.reloads.file = (
        FILE
        + "override: {secret: very-secret-of-32-characters}\n"
        + "prometheus: {url: 'http://me:hunter2@localhost:9090'}\n"
    )
    before = (await site.get("/api/v1/config"))["hash"]
    told = await site.ask("POST", "/api/v1/reload")
    assert told == await site.get("/api/v1/config")
    assert 'override: {secret: "***"}' in told["text"]
    assert told["hash"] != before
    for path in ("config", "status", "decisions", "rollouts/churn/why", "routes", "backends"):
        said = str(await site.get(f"/api/v1/{path}"))
        assert "very-secret" not in said
        assert "hunter2" not in said


async def test_a_refused_reload_shows_no_secret_in_status(site: Site) -> None:
    site.reloads.file = FILE + "prometheus: {url: 'ftp://me:hunter2@localhost'}\n"
    assert "hunter2" not in str(await site.ask("POST", "/api/v1/reload", 422))
    assert "hunter2" not in str(await site.get("/api/v1/status"))


async def test_a_reason_keeps_no_character_that_steers_a_terminal(site: Site) -> None:
    reason = "\x1b[2J\x1b]0;pwned\x07\x00\x9b31m\u202eall is well"
    await site.ask("POST", "/api/v1/rollouts/churn/pause", json={"reason": reason})
    (decision,) = (await site.get("/api/v1/decisions?limit=1"))["decisions"]
    assert decision["reason"].isprintable()
    assert decision["reason"].endswith("all is well")


async def test_one_configuration_is_checked_at_a_time(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several at once would leave the health loop a small share of the interpreter."""
    running, most = 0, 0
    check = site.reloads.check

    def counting(text: str) -> Loaded:
        nonlocal running, most
        running += 1
        most = max(most, running)
        try:
            return check(text)
        finally:
            running -= 1

    monkeypatch.setattr(site.reloads, "check", counting)
    await asyncio.gather(*(site.ask("POST", "/api/v1/config", data=FILE) for _ in range(8)))
    assert most == 1


KEYED = FILE.replace(
    "{path: /predict}", '{path: /predict, query: {key: "${KEY}"}, headers: {x-key: "k ${KEY}"}}'
)


@pytest.mark.parametrize(
    "edited",
    [FILE, KEYED.replace("${KEY}", "guess"), KEYED.replace('key: "${KEY}"', "key: guess")],
)
async def test_what_an_edit_would_do_shows_no_value_of_a_variable(site: Site, edited: str) -> None:
    """A client changes what is next to a secret, and the answer says what was there before."""
    site.reloads.env |= {"KEY": "very-secret"}
    site.reloads.file = KEYED
    await site.ask("POST", "/api/v1/reload")
    told = await site.ask("POST", "/api/v1/config", data=edited)
    assert "match.query" in str(told)
    site.reloads.file = edited
    for said in (told, await site.ask("POST", "/api/v1/reload"), await site.get("/api/v1/decisions")):
        assert "very-secret" not in str(said)
