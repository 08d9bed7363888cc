"""Commands against a real admin API: their effect, their output and their exit codes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from crossfade.cli.show import Value, endpoint_state, in_unit
from tests.admin.site import FILE, Site, serving
from tests.cli.conftest import Shell
from tests.control.harness import CANARY


async def test_status_shows_routes_rollouts_and_backends(site: Site, shell: Shell) -> None:
    await site.harness.run(2)
    result = await shell.run_with_admin("status")
    assert result.code == 0, result.err
    lines = [line.split() for line in result.out.splitlines()]
    assert ["churn", "v2", "champion", "95%"] in [line[:4] for line in lines]
    assert ["churn", "v3", "challenger", "5%"] in [line[:4] for line in lines]
    assert ["churn", "canary", "v2", "v3", "progressing", "1/2", "5%"] in [line[:7] for line in lines]
    assert ["v4", "-", "http://127.0.0.1:9004", "up"] in lines
    assert "1 of 1 workers" in result.out and "configuration routing.yaml" in result.out


async def test_status_says_that_the_configuration_differs_from_the_file(site: Site, shell: Shell) -> None:
    assert "differs" not in (await shell.run_with_admin("status")).out
    harness = site.harness
    await harness.controller.load(harness.controller.state.config, "api:kim", harness.now, differs=True)
    assert "It differs from the file" in (await shell.run_with_admin("status")).out


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (5.551e-17, "share", "0%"),
        (0.5615, "share", "56.1%"),
        (-0.002, "share", "-0.2%"),
        (0.02879, "seconds", "28.8ms"),
        (1.2345678, "ratio", "1.235"),
    ],
)
def test_numbers_have_their_unit(value: float, unit: str, shown: str) -> None:
    assert in_unit(value, unit) == shown


async def test_status_reports_a_bad_reload_a_failed_journal_and_endpoints_that_are_down(
    site: Site, shell: Shell
) -> None:
    site.harness.controller.refuse_config("routing.yaml:3:1: nonsense")
    site.harness.controller.journal.ok = False
    site.harness.controller.endpoints_changed(frozenset({("v4", "127.0.0.1:9004")}), site.harness.now)
    out = (await shell.run_with_admin("status")).out
    assert "routing.yaml:3:1: nonsense" in out
    assert "journal cannot be written" in out
    assert "DOWN" in out


@pytest.mark.parametrize(
    ("endpoint", "panic", "shown"),
    [
        ({"up": True, "ejected": "", "drained": False}, False, "up"),
        ({"up": True, "ejected": "", "drained": False, "weight": 0}, False, "up, weight 0"),
        (
            {"up": True, "ejected": "", "drained": True, "weight": 0, "in_flight": 0},
            False,
            "drained, 0 in flight",
        ),
        ({"up": False, "ejected": "", "drained": False}, False, "DOWN"),
        ({"up": False, "ejected": "", "drained": False}, True, "DOWN, panic"),
        ({"up": False, "ejected": "42 of 300", "drained": False}, False, "EJECTED: 42 of 300"),
        ({"up": True, "ejected": "", "drained": True, "in_flight": 3}, False, "drained, 3 in flight"),
        ({"up": False, "ejected": "", "drained": True, "in_flight": 0}, False, "drained, 0 in flight; DOWN"),
        (
            {"up": True, "ejected": "", "drained": True, "in_flight": None},
            False,
            "drained, in flight not known yet",
        ),
        ({"up": True, "ejected": "one address", "drained": False}, False, "up, EJECTED in part: one address"),
    ],
)
def test_the_state_of_an_endpoint_is_said(endpoint: Value, panic: bool, shown: str) -> None:
    assert endpoint_state({"weight": 1} | endpoint, panic) == shown


@pytest.mark.parametrize("words", [("status",), ("why", "churn"), ("pause", "churn"), ("reload",)])
async def test_json_prints_the_answer_of_the_api(site: Site, shell: Shell, words: tuple[str, ...]) -> None:
    result = await shell.run_with_admin(*words, "--json")
    assert result.code == 0
    assert set(result.json) & {"routes", "would_change", "waiting_for", "hash"}


async def test_each_verb_changes_the_phase_of_the_rollout(site: Site, shell: Shell) -> None:
    steps = [
        ("pause", "paused"),
        ("resume", "progressing"),
        ("promote", "promoted"),
        ("rollback", "rolled_back"),
        ("retry", "progressing"),
        ("abort", "aborted"),
    ]
    for verb, phase in steps:
        result = await shell.run_with_admin(verb, "churn")
        assert (result.code, result.err) == (0, "")
        assert result.out.startswith(f"churn: {phase}, step 1/2, v3 at ")
        assert site.harness.rollout.phase == phase


async def test_force_sends_traffic_to_a_backend_that_is_down(site: Site, shell: Shell) -> None:
    site.harness.controller.endpoints_changed(frozenset({("v2", "127.0.0.1:9002")}), site.harness.now)
    refused = await shell.run_with_admin("abort", "churn")
    assert (refused.code, "no endpoint of v2 is up; with --force" in refused.err) == (1, True)
    assert (await shell.run_with_admin("abort", "churn", "--force")).code == 0
    assert site.harness.rollout.phase == "aborted"
    assert "Forced, although no endpoint of v2 is up." in (await shell.run_with_admin("why", "churn")).out
    assert (await shell.run_with_admin("split", "churn", "v4=1", "v2=0")).code == 0
    assert (await shell.run_with_admin("split", "churn", "v2=1", "v4=0")).code == 1
    assert (await shell.run_with_admin("split", "churn", "v2=1", "v4=0", "--force")).code == 0
    assert (await shell.run_with_admin("reload", "--force")).code == 0


async def test_the_challenger_option_selects_the_rollout(site: Site, shell: Shell) -> None:
    assert (await shell.run_with_admin("pause", "churn", "--challenger", "v3")).code == 0
    assert site.harness.rollout.phase == "paused"
    result = await shell.run_with_admin("resume", "churn", "--challenger", "v 9&x")
    assert (result.code, "no rollout of v 9&x on route churn; there is v3" in result.err) == (4, True)
    assert (await shell.run_with_admin("why", "churn", "--challenger", "v3")).out.startswith("churn: paused")


async def test_reason_and_actor_reach_the_journal(
    site: Site, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "anna")
    await shell.run_with_admin("pause", "churn", "--reason", "lunch time")
    last = (await site.harness.decisions("churn"))[-1]
    assert (last.reason, last.actor) == ("lunch time", "api:anna")
    out = (await shell.run_with_admin("why", "churn")).out
    assert "churn: paused" in out
    assert "pause by api:anna" in out and "lunch time" in out
    assert "What would change it" in out


async def test_a_command_without_a_user_name_has_the_actor_api(
    site: Site, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_user() -> str:
        raise KeyError("uid not found")

    monkeypatch.setattr("getpass.getuser", no_user)
    assert (await shell.run_with_admin("pause", "churn")).code == 0
    assert (await site.actors())[-1] == "api"


async def test_why_shows_the_verdicts(site: Site, shell: Shell) -> None:
    await site.harness.run(2)
    out = (await shell.run_with_admin("why", "churn")).out
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
    await shell.run_with_admin("abort", "churn")
    result = await shell.run_with_admin("split", "churn", *given)
    assert (result.code, result.err) == (0, "")
    assert "in all workers" in result.out
    assert site.harness.weights == split


@pytest.mark.parametrize(
    ("given", "code", "message"),
    [
        (["v2"], 2, "v2=95% v3=5%"),
        (["=1"], 2, "v2=95% v3=5%"),
        (["v2=1", "v2=2"], 2, "give each backend once"),
        (["v2=lots"], 2, "the weight of v2 must be"),
        (["v2=50%", "v4=40%"], 1, "must add up to 100%, not 90%"),
        (["v2=50%", "v4=1"], 1, "not both"),
        (["v2=0"], 1, "above 0"),
        (["v2=9", "v44=1"], 4, "Did you mean v4?"),
        (["v2=9", "elephant=1"], 4, "The backends are v2, v3, v4."),
    ],
)
async def test_an_invalid_split_changes_nothing(
    site: Site, shell: Shell, given: list[str], code: int, message: str
) -> None:
    await shell.run_with_admin("abort", "churn")
    before = site.harness.weights
    result = await shell.run_with_admin("split", "churn", *given)
    assert result.code == code
    assert message in result.err
    assert site.harness.weights == before


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("why", "nope"), 4, "no route is called nope"),
        (("pause", "no/such route?"), 4, "no route is called no/such route?"),
        (("split", "nope", "v2=1"), 4, "no route is called nope"),
        (("rollback", "churn"), 1, "`crossfade why churn` shows"),
        (("split", "churn", "v2=1"), 1, "a rollout is progressing"),
    ],
)
async def test_a_refusal_has_an_exit_code_and_advice(
    shell: Shell, words: tuple[str, ...], code: int, message: str
) -> None:
    result = await shell.run_with_admin(*words)
    assert (result.code, result.out) == (code, "")
    assert message in result.err


async def test_reload_prints_the_file_that_was_loaded_or_all_its_errors(site: Site, shell: Shell) -> None:
    result = await shell.run_with_admin("reload")
    assert result.code == 0
    assert result.out.startswith("reloaded routing.yaml (")
    assert "warning: backends.v4" in result.out
    site.reloads.file = FILE.replace("v2: 100%", "v2: 90%").replace("challenger: v3", "challenger: v33")
    result = await shell.run_with_admin("reload")
    assert result.code == 1
    assert result.err.count("routing.yaml:") >= 2


async def test_the_token_is_read_from_the_option_or_the_environment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving("s3cret") as site:
        shell = Shell(capsys, site.url)
        result = await shell.run_with_admin("status")
        assert result.code == 1
        assert "CROSSFADE_ADMIN_TOKEN" in result.err
        assert (await shell.run_with_admin("status", "--token", "s3cret")).code == 0
        monkeypatch.setenv("CROSSFADE_ADMIN_TOKEN", "s3cret")
        monkeypatch.setenv("CROSSFADE_ADMIN_URL", site.url + "/")
        assert (await shell.run("status")).code == 0


@pytest.mark.parametrize(
    "url", ["127.0.0.1:9901", "ftp://127.0.0.1", "http://", "http://127.0.0.1:port", "http://[", ""]
)
async def test_an_invalid_admin_url_exits_with_2(capsys: pytest.CaptureFixture[str], url: str) -> None:
    result = await Shell(capsys, url).run_with_admin("status")
    assert result.code == 2
    assert "--admin" in result.err


async def test_a_port_without_a_listener_exits_with_3(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    result = await Shell(capsys, f"http://127.0.0.1:{port}").run_with_admin("status")
    assert result.code == 3
    assert "crossfade run" in result.err and f"127.0.0.1:{port}" in result.err


@asynccontextmanager
async def foreign_server(answer: bytes) -> AsyncIterator[str]:
    """A server that gives every client this answer."""

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(respond, "127.0.0.1", 0) as server:
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
async def test_a_server_that_is_not_the_admin_api_exits_with_3(
    capsys: pytest.CaptureFixture[str], answer: bytes
) -> None:
    async with foreign_server(answer) as url:
        result = await Shell(capsys, url).run_with_admin("status")
    assert result.code == 3
    assert url in result.err


async def test_the_last_endpoint_is_drained_with_force_and_comes_back(site: Site, shell: Shell) -> None:
    place = "v4", "127.0.0.1:9004"
    refused = await shell.run_with_admin("drain", *place)
    assert (refused.code, "the last available endpoint of v4" in refused.err) == (1, True)
    assert "crossfade why" not in refused.err
    assert (await shell.run_with_admin("drain", *place, "--force")).out.startswith(
        "v4 127.0.0.1:9004: drained, "
    )
    assert "drained, " in (await shell.run_with_admin("status")).out
    assert (await shell.run_with_admin("undrain", *place)).out == "v4 127.0.0.1:9004: up\n"


async def test_drain_waits_until_nothing_is_in_flight(site: Site, shell: Shell) -> None:
    words = "drain", "v4", "http://127.0.0.1:9004", "--force", "--wait"
    site.harness.seam.in_flight_at = {"v4": {"127.0.0.1:9004": 2}}
    late = await shell.run_with_admin(*words, "1ms")
    assert (late.code, "drained, 2 in flight" in late.out) == (5, True)
    waiting = asyncio.create_task(shell.run_with_admin(*words, "20s", "--json"))
    await asyncio.sleep(0.1)
    site.harness.seam.in_flight_at = {"v4": {"127.0.0.1:9004": 0}}
    ended = await waiting
    assert (ended.code, ended.json["in_flight"]) == (0, 0)
    assert (await shell.run_with_admin(*words, "soon")).code == 2


async def test_unknown_endpoints_have_their_exit_code(site: Site, shell: Shell) -> None:
    result = await shell.run_with_admin("drain", "v4", "127.0.0.1:9005")
    assert (result.code, "did you mean 127.0.0.1:9004?" in result.err) == (4, True)


async def test_retrain_gives_an_order_that_status_shows(site: Site, shell: Shell) -> None:
    refused = await shell.run_with_admin("retrain", "churn")
    assert (refused.code, "has no retrain in the file" in refused.err) == (1, True)
    assert (await shell.run_with_admin("retrain", "chrun")).code == 4
    assert "Retraining" not in (await shell.run_with_admin("status")).out
    await site.harness.load(CANARY + "    retrain: {on: [data_drift, schedule: 7d], command: train}\n")
    given = await shell.run_with_admin("retrain", "churn", "--reason", "new data")
    order = site.harness.controller.retrain.view("churn").order
    assert order is not None
    assert (given.code, given.out) == (0, f"churn: order {order.id} is given\n")
    site.harness.controller.retrain.tried("churn", 2, "connection refused")
    out = (await shell.run_with_admin("status")).out
    assert "data_drift, schedule" in out
    assert f"{order.id}: operator, 2 attempts failed: connection refused" in out
    assert "24h" in out or "1d" in out


async def test_a_dry_run_says_what_a_command_would_do_and_does_nothing(site: Site, shell: Shell) -> None:
    before = site.harness.weights
    result = await shell.run_with_admin("promote", "churn", "--dry-run")
    assert (result.code, result.err) == (0, "")
    assert "Moves 95% of the customers" in result.out
    refused = await shell.run_with_admin("rollback", "churn", "--dry-run")
    assert refused.code == 1
    assert refused.out.startswith("Not possible: ")
    split = await shell.run_with_admin("split", "churn", "v2=1", "--dry-run", "--json")
    assert split.code == 1
    assert '"allowed": false' in split.out
    assert (await shell.run_with_admin("abort", "nope", "--dry-run")).code == 4
    assert site.harness.weights == before


async def test_a_dry_run_of_a_split(site: Site, shell: Shell) -> None:
    await shell.run_with_admin("abort", "churn")
    result = await shell.run_with_admin("split", "churn", "v2=75%", "v4=25%", "--dry-run")
    assert (result.code, result.err) == (0, "")
    assert "25% of the customers (2500 of 10000 buckets) from v2 to v4" in result.out
    assert site.harness.weights == {"v2": 10_000}
