"""The registry beside the routes: who is in charge is written there once, whatever fails, and a new version is the next rollout."""

from __future__ import annotations

import asyncio
import textwrap
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from crossfade.config.load import load
from crossfade.config.registered import RegisteredBackend, RegisteredOfRoute
from crossfade.config.registry import RegisteredVersion
from crossfade.control.registered_versions import RegisteredVersions, file_of
from crossfade.control.registries import Found, RegistryError
from crossfade.control.registry_follower import RegistryFollower
from crossfade.control.replay import journal, replayed
from crossfade.control.store import Store
from crossfade.control.views import StatusChange, Verb
from tests.control.harness import Harness

FILE = textwrap.dedent("""
    listen: 127.0.0.1:0
    state: "sqlite::memory:"
    registry: {kind: folder, uri: models, endpoint: "http://{model}-{version}:8000"}
    backends:
      v2: {endpoints: [http://127.0.0.1:9002], health: false, registry: churn/2}
    routes:
      - name: churn
        match: {path: /predict}
        split: {v2: 100%}
        rollout:
          strategy: canary
          champion: v2
          challenger: {registry: churn@challenger}
          steps: [{weight: 10%, hold: 1h}]
          min_requests: 50
          watch: 60s
          checks: [{metric: error_rate, max: 50%}]
""")


class FakeRegistry:
    """`challenger`: what the alias names. `broken`: every question fails."""

    def __init__(self) -> None:
        self.challenger: Found | None = None
        self.others: dict[str, Found] = {}  # by model
        self.champions: list[str] = []
        self.broken = False

    async def by_alias(self, model: str, alias: str) -> Found | None:
        assert alias == "challenger"
        self.fail()
        return self.challenger if model == "churn" else self.others[model]

    async def put_in_charge(self, version: RegisteredVersion) -> bool:
        self.fail()
        if self.champions[-1:] == [str(version)]:
            return False
        self.champions.append(str(version))
        return True

    async def close(self) -> None:
        """Nothing is open."""

    def fail(self) -> None:
        if self.broken:
            raise RegistryError("no answer")


class World:
    def __init__(self, store: Store | None = None, file: str = FILE) -> None:
        self.harness = Harness(store)
        self.versions = RegisteredVersions()
        self.file = file
        self.reloads = 0
        self.registry = FakeRegistry()
        self.follower = RegistryFollower(self.harness.controller, self.versions, self.reload)

    async def reload(self) -> None:
        self.reloads += 1
        loaded = load(self.file, "routing.yaml", {}, registered=self.versions.known)
        await self.harness.controller.load(loaded, "registry", self.harness.wall)
        self.follower.config, self.follower.challengers = loaded.config.registry, dict(loaded.challengers)

    async def look(self) -> None:
        await self.follower.put_in_charge(self.registry)
        await self.follower.look_for_challengers(self.registry)
        await self.harness.controller.idle()

    async def registers(self, version: str, endpoint: str = "") -> None:
        self.registry.challenger = Found("churn", version, endpoint)
        await self.look()

    async def command(self, verb: Verb) -> None:
        await self.harness.controller.command("churn", verb, "alice", self.harness.now)
        await self.harness.controller.idle()

    @property
    def rollouts(self) -> list[tuple[str, str, str]]:
        found = self.harness.views.rollouts(self.harness.now)
        return [(r.champion, r.challenger, r.phase) for r in found]

    @property
    def known(self) -> RegisteredOfRoute:
        return self.versions.known["churn"]

    def endpoint(self, backend: str) -> str:
        return self.harness.views.backend(backend).endpoints[0].url


async def begun(**more: Any) -> World:
    world = World(**more)
    await world.reload()
    await world.look()
    return world


async def test_a_new_version_is_the_next_rollout() -> None:
    world = await begun()
    assert (world.rollouts, world.reloads) == ([], 1)
    await world.registers("3")
    assert world.rollouts == [("v2", "churn-3", "progressing")]
    assert world.endpoint("churn-3") == "http://churn-3:8000"
    await world.look()
    assert world.reloads == 2


async def test_a_version_waits_for_the_end_of_the_rollout_before_it() -> None:
    world = await begun()
    await world.registers("3")
    await world.harness.tick()
    await world.registers("4")
    assert world.rollouts == [("v2", "churn-3", "progressing")]
    await world.command(Verb.ABORT)
    await world.look()
    assert world.rollouts == [("v2", "churn-4", "progressing")]
    assert world.harness.weights == {"v2": 10_000}


async def test_after_a_promote_the_version_is_the_champion_of_the_next_one() -> None:
    world = await begun()
    await world.registers("3")
    await world.harness.tick()
    await world.command(Verb.PROMOTE)
    await world.registers("4")
    assert world.rollouts == [("v2", "churn-3", "promoted")]  # still watched
    await world.harness.tick(seconds=61)
    await world.look()
    assert world.rollouts == [("churn-3", "churn-4", "progressing")]
    assert world.harness.weights == {"churn-3": 10_000}
    assert world.registry.champions == ["churn/2", "churn/3"]
    await world.harness.tick()
    await world.command(Verb.PROMOTE)
    await world.harness.tick(seconds=61)
    await world.registers("5")
    assert world.rollouts == [("churn-4", "churn-5", "progressing")]
    assert "v2" in world.harness.controller.state.config.config.backends
    assert replayed(journal(world.harness.store)).differences == []


async def test_a_promoted_version_keeps_its_way_back_until_there_is_another_one() -> None:
    world = await begun()
    await world.registers("3")
    await world.harness.tick()
    await world.command(Verb.PROMOTE)
    world.registry.challenger = None  # as MLflow has no challenger any more
    await world.harness.tick(seconds=61)
    await world.look()
    assert world.rollouts == [("v2", "churn-3", "promoted")]
    await world.command(Verb.ROLLBACK)
    await world.look()
    assert world.registry.champions == ["churn/2", "churn/3", "churn/2"]
    assert world.harness.weights == {"v2": 10_000}
    await world.registers("4")
    assert world.rollouts == [("v2", "churn-4", "progressing")]


async def test_a_tag_comes_before_the_template_and_may_change_in_a_rollout() -> None:
    world = await begun()
    await world.registers("3", "http://127.0.0.1:7001")
    assert world.endpoint("churn-3") == "http://127.0.0.1:7001"
    await world.harness.tick()
    before = world.rollouts
    await world.registers("3", "http://127.0.0.1:7002")
    assert world.endpoint("churn-3") == "http://127.0.0.1:7002"
    assert world.rollouts == before


async def test_a_version_without_an_endpoint_is_no_rollout_and_that_is_said_once() -> None:
    world = await begun(file=FILE.replace(', endpoint: "http://{model}-{version}:8000"', ""))
    with world.harness.controller.feed.subscribe() as events:
        await world.registers("3")
        await world.look()
        said = [e.detail for e in events.waiting if isinstance(e, StatusChange) and e.what == "registry"]
    assert said == [
        "route churn: no challenger from churn@challenger: churn/3 has no tag endpoint, and the file has no registry.endpoint"
    ]
    assert world.rollouts == []


async def test_a_backend_of_the_file_that_names_the_version_is_used() -> None:
    own = "  v3: {endpoints: [http://127.0.0.1:9003], health: false, registry: churn/3}\nroutes:"
    world = await begun(file=FILE.replace("routes:", own))
    await world.registers("3")
    await world.look()
    assert (world.rollouts, world.reloads) == ([("v2", "v3", "progressing")], 2)
    assert world.endpoint("v3") == "http://127.0.0.1:9003"


async def test_a_backend_of_the_file_may_have_the_name_of_its_version() -> None:
    """It is used as it is, also once its name is written down."""
    own = "  churn-3: {endpoints: [http://127.0.0.1:9003], health: false, registry: churn/3}\nroutes:"
    world = await begun(file=FILE.replace("routes:", own))
    await world.registers("3")
    await world.look()
    assert (world.rollouts, world.reloads) == ([("v2", "churn-3", "progressing")], 2)
    assert world.endpoint("churn-3") == "http://127.0.0.1:9003"


async def test_the_version_in_charge_is_no_challenger() -> None:
    world = await begun()
    await world.registers("2")
    assert (world.rollouts, world.reloads) == ([], 1)


async def test_the_champion_is_written_once_and_recorded() -> None:
    world = await begun()
    for _ in range(3):
        await world.look()
    assert world.registry.champions == ["churn/2"]
    (decision,) = [d for d in await world.harness.decisions() if "alias" in d.to]
    assert (decision.route, decision.action, decision.actor) == ("churn", "alias", "loop")
    assert decision.to == {"alias": "champion", "version": "churn/2"}
    assert decision.reason == "churn/2 is the champion in the registry"
    again = World(world.harness.store)
    again.registry = world.registry
    await again.reload()
    await again.look()
    assert [d.action for d in await again.harness.decisions()].count("alias") == 1


async def test_a_registry_that_does_not_answer_is_told_later() -> None:
    world = World()
    world.registry.broken = True
    await world.reload()
    now = [0.0]
    world.follower.time = lambda: now[0]  # type: ignore[method-assign]
    for _ in range(5):
        await world.look()
    assert world.follower.failures == {"churn": 1}
    now[0] = 1.0
    await world.look()
    assert world.follower.failures == {"churn": 2}
    actions = [d.action for d in await world.harness.decisions()]
    assert (actions.count("alias_failed"), actions.count("alias")) == (1, 0)
    world.registry.broken, now[0] = False, 100.0
    await world.look()
    assert (world.registry.champions, world.follower.failures) == (["churn/2"], {})
    assert [d.action for d in await world.harness.decisions()][-1] == "alias"


async def test_versions_are_on_disk_before_they_are_loaded(tmp_path: Path) -> None:
    world = await begun()
    world.versions.path = file_of(str(tmp_path / "state.db"))
    await world.registers("3")
    kept = RegisteredVersions()
    await asyncio.to_thread(kept.open, str(tmp_path / "state.db"))
    assert kept.known == world.versions.known
    assert world.known == RegisteredOfRoute(
        None, RegisteredBackend("churn-3", "churn/3", "http://churn-3:8000")
    )
    world.versions.path = tmp_path / "nowhere" / "x"
    await world.command(Verb.ABORT)
    await world.registers("4")
    assert world.rollouts == [("v2", "churn-3", "aborted")]


def test_a_damaged_file_names_nothing(tmp_path: Path) -> None:
    (tmp_path / "state.db.registered.json").write_text("{")
    versions = RegisteredVersions()
    versions.open(str(tmp_path / "state.db"))
    assert versions.known == {}
    versions.open(None)
    versions.save({})


async def test_the_task_follows_until_it_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(Store.open("sqlite::memory:")) as store:
        world = World(store)
        await world.reload()
        follower = RegistryFollower(world.harness.controller, world.versions, world.reload, look=0.001)
        monkeypatch.setattr("crossfade.control.registry_follower.registry_of", lambda config: world.registry)
        follower.configure(load(FILE, "routing.yaml", {}))
        await until(lambda: world.registry.champions)
        world.registry.challenger = Found("churn", "3")
        follower.configure(load(FILE.replace("uri: models", "uri: others"), "routing.yaml", {}))
        await until(lambda: world.rollouts)
        await follower.close()
        await world.harness.controller.idle()


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_route_whose_version_cannot_be_used_does_not_keep_the_others_from_theirs() -> None:
    other = FILE[FILE.index("  - name: churn") :].replace("churn", "fraud").replace("v2", "f1")
    backend = "  f1: {endpoints: [http://127.0.0.1:9009], health: false}\nroutes:"
    world = World(file=FILE.replace("routes:", backend) + other.replace("/predict", "/fraud"))
    world.registry.others["fraud"] = Found("fraud", "1", "no url")
    await world.reload()
    await world.registers("3")
    assert world.rollouts == [("v2", "churn-3", "progressing")]
    assert world.follower.said.startswith("route fraud: no challenger from fraud@challenger: ")


async def test_an_error_of_our_own_does_not_end_the_following(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world = World()
    await world.reload()
    follower = RegistryFollower(world.harness.controller, world.versions, world.reload, look=0.001)
    failing = [ZeroDivisionError("ours"), ZeroDivisionError("again")]

    def made(config: object) -> FakeRegistry:
        if failing:
            follower.changed.set()
            raise failing.pop()
        return world.registry

    monkeypatch.setattr("crossfade.control.registry_follower.registry_of", made)
    follower.configure(load(FILE, "routing.yaml", {}))
    await until(lambda: world.registry.champions)
    await follower.close()
    await world.harness.controller.idle()
    assert caplog.text.count("the registry cannot be followed") == 2
