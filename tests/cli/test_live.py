"""Commands that go on: status --wait, events --follow, watch."""

from __future__ import annotations

import asyncio
import json

import pytest
from rich.console import Console

from crossfade.cli import waiting
from crossfade.cli.event_stream import Event, events_of
from crossfade.cli.events import line_of
from crossfade.cli.exits import CommandFailed
from crossfade.cli.live_arguments import PHASES
from crossfade.cli.look import Look
from crossfade.cli.watch_screen import bar, screen
from crossfade.control.views import Verb
from crossfade.rollout.machine import Phase
from tests.admin.site import Site, serving
from tests.cli.commands import running
from tests.cli.conftest import Shell
from tests.control.harness import BOTH, HEAD


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "ASK_EVERY", 0.01)


async def command(site: Site, verb: Verb) -> None:
    await site.harness.controller.command("churn", verb, "test", site.harness.now)


def test_the_phases_are_those_of_the_machine() -> None:
    assert set(PHASES) == set(Phase) == set(waiting._CAN_COME)


async def test_status_of_one_route(site: Site, shell: Shell) -> None:
    shown = await shell.run_with_admin("status", "churn", "--json")
    assert [route["name"] for route in shown.json["routes"]] == ["churn"]
    assert {backend["name"] for backend in shown.json["backends"]} == {"v2", "v3"}  # v4 is of no route
    unknown = await shell.run_with_admin("status", "nope")
    assert (unknown.code, "no route is called nope" in unknown.err) == (4, True)


async def test_the_wait_ends_when_the_phase_is_reached(
    site: Site, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    asks = 0

    def counted(*arguments: object) -> object:
        nonlocal asks
        asks += 1
        return given(*arguments)  # type: ignore[arg-type]

    given = waiting._rollout
    monkeypatch.setattr(waiting, "_rollout", counted)
    waits = asyncio.create_task(
        shell.run_with_admin("status", "--wait", "promoted", "--timeout", "30s", "--json")
    )
    while asks < 3:
        await asyncio.sleep(0.01)
    assert not waits.done()
    await command(site, Verb.PROMOTE)
    ended = await waits
    assert (ended.code, ended.json["phase"]) == (0, "promoted")
    assert "churn: progressing, step 1/2, v3 at 5%" in ended.err


@pytest.mark.parametrize(
    ("verbs", "wanted"),
    [
        ([Verb.ABORT], "promoted"),
        ([Verb.PROMOTE, Verb.ROLLBACK], "promoted"),
        ([Verb.PROMOTE], "aborted"),
        ([Verb.ABORT], "paused"),
    ],
)
async def test_the_wait_ends_when_the_rollout_has_ended_otherwise(
    site: Site, shell: Shell, verbs: list[Verb], wanted: str
) -> None:
    for verb in verbs:
        await command(site, verb)
    result = await shell.run_with_admin("status", "churn", "--wait", wanted)
    assert result.code == 7
    assert f"not {wanted}: the rollout has ended" in result.err


async def test_the_wait_has_an_end(site: Site, shell: Shell) -> None:
    await command(site, Verb.PAUSE)  # somebody may resume it
    result = await shell.run_with_admin("status", "--wait", "promoted", "--timeout", "50ms")
    assert (result.code, "churn is paused, not promoted: the time is over" in result.err) == (5, True)
    assert result.out.startswith("churn: paused")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--timeout", "1h"), 2),
        (("--challenger", "v3"), 2),
        (("--wait", "promoted", "--timeout", "soon"), 2),
        (("nope", "--wait", "promoted"), 4),
        (("churn", "--wait", "promoted", "--challenger", "v9"), 4),
    ],
)
async def test_what_cannot_be_waited_for(site: Site, shell: Shell, words: tuple[str, ...], code: int) -> None:
    assert (await shell.run_with_admin("status", *words)).code == code


async def test_the_wait_outlives_a_proxy_that_restarts(
    site: Site, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0

    def restarting(*arguments: object) -> object:
        nonlocal asked
        asked += 1
        if asked in (2, 3):
            raise CommandFailed(3, "connection refused")
        return given(*arguments)  # type: ignore[arg-type]

    given = waiting._rollout
    monkeypatch.setattr(waiting, "_rollout", restarting)
    waits = asyncio.create_task(shell.run_with_admin("status", "--wait", "aborted"))
    while asked < 4:
        await asyncio.sleep(0.01)
    await command(site, Verb.ABORT)
    assert (await waits).code == 0


async def test_a_route_is_named_where_several_have_rollouts(site: Site, shell: Shell) -> None:
    site.reloads.file = HEAD + BOTH
    assert (await shell.run_with_admin("reload")).code == 0
    several = await shell.run_with_admin("status", "--wait", "promoted")
    assert (several.code, "say which challenger: v3, v4" in several.err) == (1, True), several.err


async def test_events_are_the_latest_decisions(site: Site, shell: Shell) -> None:
    for verb in (Verb.PAUSE, Verb.RESUME, Verb.PAUSE):
        await command(site, verb)
    lines = (await shell.run_with_admin("events", "--last", "2")).out.splitlines()
    assert ["resume" in lines[0], "pause" in lines[1], len(lines)] == [True, True, 2]
    assert "churn (v3) pause → paused: v2 95%, v3 5%, by test" in lines[1]
    as_json = await shell.run_with_admin("events", "--json", "--route", "churn")
    found = [json.loads(line) for line in as_json.out.splitlines()]
    assert [each["action"] for each in found][-3:] == ["pause", "resume", "pause"]
    assert (await shell.run_with_admin("events", "--route", "nope")).code == 4
    assert (await shell.run_with_admin("events", "--last", "0")).code == 2


async def test_events_are_followed_through_a_restart_without_a_gap() -> None:
    async with serving() as first, running("events", "--follow", "--admin", first.url) as follower:
        await follower.line_with("by")
        await command(first, Verb.PAUSE)
        await follower.line_with("churn (v3) pause")
        first.harness.controller.endpoints_changed(frozenset({("v3", "127.0.0.1:9003")}), first.harness.now)
        assert "proxy endpoints: " in await follower.line_with("endpoints")
        await first.server.close()
        await follower.error_with("; again in")
        await command(first, Verb.ABORT)
        await first.serve_again()
        await follower.line_with("churn (v3) abort")


def test_an_event_that_is_cut_off_is_none() -> None:
    whole = b'id: 3\nevent: decision\ndata: {"id": 3}\n\n'
    lines = [b": crossfade\n", b"\n", *whole.splitlines(True), b"event: decision\n", b'data: {"id": 4}\n']
    assert list(events_of(lines)) == [Event("decision", 3, {"id": 3})]


def test_a_line_has_no_line_breaks_and_names_what_it_is_about() -> None:
    drained = {
        "id": 7,
        "at": 0.0,
        "route": "",
        "action": "drain",
        "actor": "api",
        "reason": "a\nb",
        "to": {"backend": "v2", "endpoint": "e1", "drained": True},
    }
    assert line_of(Event("decision", 7, drained)).endswith("#7 v2 e1 drain, by api: a b")


async def test_watch_prints_lines_where_there_is_no_terminal(site: Site) -> None:
    async with running("watch", "--every", "20ms", "--admin", site.url) as watcher:
        await watcher.line_with("churn: v2 95%, v3 5%")
        await watcher.line_with("churn (v3): progressing, step 1/2 at 5%")
        await command(site, Verb.ABORT)
        await watcher.line_with("churn (v3) abort")
        await watcher.line_with("churn: v2 100%")
        await watcher.line_with("churn (v3): aborted, step 1/2 at 0%")


async def test_watch_says_when_the_proxy_is_gone_and_comes_back() -> None:
    async with serving() as site:
        words = "watch", "churn", "--every", "20ms", "--json", "--admin", site.url
        async with running(*words) as watcher:
            assert json.loads(await watcher.line())["lost"] == ""
            await site.server.close()
            lost = json.loads(await watcher.line_with("cannot reach"))
            assert lost["status"]["routes"][0]["name"] == "churn"
            await site.serve_again()
            await watcher.line_with('"lost": ""')


@pytest.mark.parametrize(("words", "code"), [(("--every", "0s"), 2), (("nope",), 4), (("--every", "x"), 2)])
async def test_watch_refuses_what_it_cannot_show(
    site: Site, shell: Shell, words: tuple[str, ...], code: int
) -> None:
    assert (await shell.run_with_admin("watch", *words)).code == code


async def drawn(site: Site, route: str | None, lost: str = "", width: int = 160) -> str:
    status = await site.get("/api/v1/status")
    decisions = (await site.get("/api/v1/decisions"))["decisions"]
    console = Console(width=width, record=True, force_terminal=True, color_system=None, file=None)
    with console.capture() as captured:
        console.print(screen(Look(0.0, status, decisions, lost), route))
    return captured.get()


async def test_the_screen_of_a_route_shows_split_steps_checks_and_decisions(site: Site) -> None:
    await site.harness.run(2)
    await command(site, Verb.PAUSE)
    shown = await drawn(site, "churn")
    assert "█" * 19 + "░" in shown and "95%" in shown
    assert "‖ paused  canary  v2 → v3" in shown
    assert "‖ 5% 10s   50% 10s" in shown
    assert "error_rate" in shown and "UNDECIDED" in shown
    assert "waiting for: an operator" in shown
    assert "churn (v3) pause → paused" in shown


async def test_the_screen_of_all_routes_has_a_row_for_each_and_what_is_wrong(site: Site) -> None:
    await site.harness.run(2)
    site.harness.controller.endpoints_changed(frozenset({("v4", "127.0.0.1:9004")}), site.harness.now)
    site.harness.controller.refuse_config("routing.yaml:3:1: nonsense")
    site.harness.controller.journal.ok = False
    shown = await drawn(site, None, "connection refused")
    assert "churn" in shown and "▶ progressing" in shown and "1/2" in shown
    assert "v4 http://127.0.0.1:9004: DOWN" in shown
    for part in ("no connection", "reload was refused", "journal cannot be written"):
        assert part in shown


async def test_the_screen_fits_a_narrow_terminal_and_nothing_in_it_steers_that(site: Site) -> None:
    reason = "[red]x[/red]\x1b[2J" + "y" * 200
    await site.ask("POST", "/api/v1/rollouts/churn/abort", json={"reason": reason})
    shown = await drawn(site, "churn", lost=reason, width=60)
    assert "[red]x[/red]" in shown and "\x1b[2J" not in shown
    assert max(map(len, shown.splitlines())) <= 60


def test_a_bar_shows_small_shares_and_only_the_whole_as_the_whole() -> None:
    cells = [bar(share).plain.count("█") for share in (0.0, 0.0001, 0.5, 0.9999, 1.0)]
    assert cells == [0, 1, 10, 19, 20]
