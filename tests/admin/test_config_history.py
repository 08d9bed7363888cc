"""A configuration that is applied: in force until the file or a restore says otherwise, and undone by its history."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from crossfade.control import kept_configs
from crossfade.control.database import StoreError
from crossfade.control.kept_configs import KeptConfig, Origin
from tests.admin.site import FILE, Site, serving

CONFIG, APPLY, HISTORY = "/api/v1/config", "/api/v1/config?apply=true", "/api/v1/config/history"
OTHER = FILE.replace("max: 5%", "max: 6%")
KIM = {"X-Crossfade-Actor": "kim"}


@pytest.fixture
async def begun() -> AsyncIterator[Site]:
    """Its file is the first of the history."""
    async with serving() as site:
        await site.reloads.configurations.begin(site.harness.controller, site.harness.now)
        yield site


async def differs(site: Site) -> tuple[bool, float]:
    """By the status and by the metric."""
    async with site.session.get(site.url + "/metrics") as response:
        (line,) = [
            x
            for x in (await response.text()).splitlines()
            if x.startswith("crossfade_config_differs_from_file")
        ]
    return (await site.get("/api/v1/status"))["config"]["differs"], float(line.split()[1])


async def history(site: Site) -> list[tuple[int, str, str, bool]]:
    found = (await site.get(HISTORY))["configs"]
    return [(each["id"], each["origin"], each["actor"], each["in_force"]) for each in found]


async def test_an_applied_configuration_is_used_and_named_as_differing(begun: Site) -> None:
    assert OTHER != FILE
    assert await differs(begun) == (False, 0)
    answer = await begun.ask("POST", APPLY, data=OTHER, headers=KIM)
    assert (answer["text"], answer["differs"], answer["id"]) == (OTHER, True, 2)
    assert answer["changes"][0]["route"] == "churn"
    assert await differs(begun) == (True, 1)
    assert (await begun.actors())[-1] == "api:kim"
    assert begun.harness.controller.state.config.hash == answer["hash"]
    assert await history(begun) == [(2, "applied", "api:kim", True), (1, "file", "file", False)]


async def test_a_restore_undoes_it(begun: Site) -> None:
    before = await begun.get(CONFIG)
    await begun.ask("POST", APPLY, data=OTHER)
    answer = await begun.ask("POST", f"{HISTORY}/1/restore", headers=KIM)
    assert (answer["hash"], answer["text"], answer["differs"]) == (before["hash"], FILE, False)
    assert await differs(begun) == (False, 0)
    again = await begun.ask("POST", f"{HISTORY}/2/restore")
    assert (again["text"], again["differs"]) == (OTHER, True)
    assert [entry[1] for entry in await history(begun)] == ["applied", "file", "applied", "file"]


async def test_the_file_wins_when_it_changes_or_is_read_again(begun: Site) -> None:
    await begun.ask("POST", APPLY, data=OTHER)
    answer = await begun.ask("POST", "/api/v1/reload")
    assert (answer["text"], answer["differs"]) == (FILE, False)
    assert await differs(begun) == (False, 0)


async def test_a_file_that_says_the_same_agrees(begun: Site) -> None:
    await begun.ask("POST", APPLY, data=OTHER)
    begun.reloads.file = "# as applied\n" + OTHER
    assert (await begun.ask("POST", "/api/v1/reload"))["differs"] is False
    applied = await begun.ask("POST", APPLY, data=OTHER)
    assert applied["differs"] is False  # it differs in a comment


async def test_a_file_with_errors_leaves_the_applied_one(begun: Site) -> None:
    await begun.ask("POST", APPLY, data=OTHER)
    begun.reloads.file = "listen: [}"
    await begun.ask("POST", "/api/v1/reload", 422)
    assert (await begun.get(CONFIG))["text"] == OTHER
    assert await differs(begun) == (True, 1)


async def test_what_is_in_force_is_read_again_where_the_registry_names_another_version(begun: Site) -> None:
    await begun.ask("POST", APPLY, data=OTHER)
    order = begun.reloads.order("registry")
    await begun.reloads.configurations.reload(begun.harness.controller, begun.reloads.use, order, anew=True)
    assert ((await begun.get(CONFIG))["text"], await differs(begun)) == (OTHER, (True, 1))


@pytest.mark.parametrize(
    ("text", "status", "said"),
    [
        ("listen: [}", 422, "problem(s)"),
        (FILE.replace("v2: 100%", "v2: 90%"), 422, "problem(s)"),
        (FILE.replace("127.0.0.1:9004", "${HOST}:9004"), 422, "problem(s)"),
        (
            FILE.replace("  - name: churn", "  - name: churn\n    report: {every: 7d, dir: /etc}"),
            422,
            "the folder /etc",
        ),
        (
            FILE.replace(
                "  - name: churn",
                "  - name: churn\n    prediction: {score: s}\n    drift: {baseline: /etc/passwd}",
            ),
            422,
            "the file /etc/passwd",
        ),
        (
            FILE.replace(
                "  - name: churn",
                "  - name: churn\n    feedback: {horizon: 1d}\n    retrain: {on: [{schedule: 7d}], command: [rm, -r, /]}",
            ),
            422,
            "the program rm -r /",
        ),
        (FILE.replace("customer_id", "account"), 409, "sticky"),
    ],
)
async def test_what_is_refused_changes_nothing(begun: Site, text: str, status: int, said: str) -> None:
    begun.reloads.env["HOST"] = "10.0.0.1"
    before, decisions = await begun.get(CONFIG), await begun.actors()
    assert text != FILE
    refused = await begun.ask("POST", APPLY, status, data=text)
    assert said in refused["detail"]
    assert await begun.get(CONFIG) == before
    assert await begun.actors() == decisions
    assert len(await history(begun)) == 1
    assert (await begun.get("/api/v1/status"))["config"]["ok"] is True


async def test_of_two_who_have_seen_the_same_configuration_only_one_changes_it(begun: Site) -> None:
    async with begun.session.get(begun.url + CONFIG) as response:
        seen = {"If-Match": response.headers["ETag"]}
    await begun.ask("POST", APPLY, data=OTHER, headers=seen)
    for path in (APPLY, "/api/v1/reload", f"{HISTORY}/1/restore"):
        refused = await begun.ask("POST", path, 412, data=FILE if path == APPLY else b"", headers=seen)
        assert "the configuration has changed since" in refused["detail"]
    assert (await begun.get(CONFIG))["text"] == OTHER


@pytest.mark.parametrize("path", ["99", "x", "-1", "1%20"])
async def test_an_id_that_is_not_there_is_not_found(begun: Site, path: str) -> None:
    await begun.get(f"{HISTORY}/{path}", 404)
    await begun.ask("POST", f"{HISTORY}/{path}/restore", 404)


async def test_a_text_is_shown_without_its_secrets_and_restored_with_its_variables(begun: Site) -> None:
    secret = "a secret that nobody sees"
    begun.reloads.env["KEY"] = "value-of-the-variable"
    head = 'authorization: "Bearer ${KEY}"'
    begun.reloads.file = FILE.replace(
        "v4: {endpoints", f"v4: {{request: {{headers: {{set: {{{head}, x-api-key: {secret}}}}}}}, endpoints"
    )
    assert begun.reloads.file != FILE
    await begun.ask("POST", "/api/v1/reload")
    shown = (await begun.get(f"{HISTORY}/2"))["text"]
    assert "${KEY}" in shown and secret not in shown and "value-of" not in shown
    await begun.ask("POST", f"{HISTORY}/1/restore")
    await begun.ask("POST", f"{HISTORY}/2/restore")
    config: Any = begun.harness.controller.state.config.config
    assert secret in str(config.backends["v4"].request)
    assert "value-of-the-variable" in str(config.backends["v4"].request)


async def test_a_start_loads_the_file_and_says_what_is_no_longer_in_force(
    begun: Site, caplog: pytest.LogCaptureFixture
) -> None:
    await begun.ask("POST", APPLY, data=OTHER, headers=KIM)
    start = type(begun.reloads)(begun.harness)
    with caplog.at_level(logging.WARNING):
        await start.configurations.begin(begun.harness.controller, begun.harness.now)
    assert "the configuration 2 that api:kim applied is no longer in force" in caplog.text
    assert await differs(begun) == (False, 0)
    assert (await history(begun))[0] == (3, "file", "file", True)


def kept(number: int, size: int) -> KeptConfig:
    return KeptConfig(number, 0.0, "kim", Origin.APPLIED, "", "x" * size, "")


@pytest.mark.parametrize(
    ("sizes", "left"),
    [
        ([1] * 60, list(range(11, 61))),
        ([7 << 20] * 4, [3, 4]),
        ([1, 1, 20 << 20, 1], [3, 4]),
        ([20 << 20, 20 << 20], [1, 2]),
    ],
)
def test_the_oldest_go_first_and_the_two_newest_stay(
    tmp_path: Path, sizes: list[int], left: list[int]
) -> None:
    connection = sqlite3.connect(tmp_path / "state.db")
    connection.execute("CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID")
    for number, size in enumerate(sizes, 1):
        kept_configs.write(connection, kept(number, size))
    assert [each.id for each in kept_configs.read(connection)] == left
    connection.close()


async def test_a_history_that_cannot_be_written_does_not_undo_the_load(
    begun: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(kept: KeptConfig) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(begun.harness.store, "save_config", full)
    answer = await begun.ask("POST", APPLY, data=OTHER)
    assert (answer["text"], answer["id"]) == (OTHER, None)
    assert await history(begun) == [(1, "file", "file", False)]
