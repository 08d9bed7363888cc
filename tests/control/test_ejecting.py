"""A bad instance is ejected, and the model is judged by its other endpoints."""

from __future__ import annotations

import pytest

from crossfade.control.refusal import LastEndpoint
from crossfade.control.store import Store
from crossfade.control.views import StatusChange, Verb
from crossfade.rollout.guard import INSTANCE
from crossfade.stats.counts import ERROR, REQUESTS, Cell

from .harness import HEAD, Harness, rollout_entry, with_rollouts

PORTS = {"v2": (9002, 9012), "v3": (9003, 9013, 9023)}
BAD = "127.0.0.1:9023"


def head(more: str = "") -> str:
    out = HEAD
    for ports in PORTS.values():
        endpoints = ", ".join(f"http://127.0.0.1:{port}" for port in ports)
        out = out.replace(
            f"[http://127.0.0.1:{ports[0]}], health: false", f"[{endpoints}], health: false{more}"
        )
    return out


ROUTE = with_rollouts(
    rollout_entry(
        "v3",
        "30%",
        "50%",
        hold="60s",
        more=", watch: 60s, fuse: false",
    )
)


class Instances(Harness):
    """Traffic goes to the endpoints that are up in the last snapshot, in equal shares."""

    def __init__(self, store: Store | None = None) -> None:
        super().__init__(store)
        self.bad: dict[str, float] = {}  # share of errors, by endpoint
        self.asked: dict[str, list[str]] = {}  # by backend, what workers call its endpoints

    async def load(self, yaml: str = ROUTE, head: str = head(), actor: str = "file") -> None:
        await super().load(yaml, head, actor)

    def up(self, backend: str) -> list[str]:
        published = self.seam.published[-1].backends[backend]
        names = self.asked.get(backend) or [e.authority for e in published.endpoints if e.up and e.weight]
        return [name for name in names if name not in published.out]

    def add_counts(self, backend: str, n: int, errors: int, role: str = "challenger") -> None:
        cell = Cell("churn", backend, role, self.route.ledger.version, second=int(self.now))
        up = self.up(backend)
        for endpoint in up:
            asked = n // len(up)
            failed = round(asked * self.bad.get(endpoint, 0.0))
            cell.by_endpoint[endpoint] = {REQUESTS: asked, ERROR: failed}
            cell.requests += asked
            cell.errors += failed
        for _ in range(cell.requests):
            cell.duration.add(0.05)
        self.seam.counts.cells.append(cell)

    async def until(self, backend: str, up: list[str], ticks: int = 120) -> None:
        for _ in range(ticks):
            if self.up(backend) == up:
                return
            await self.tick(300)
        raise AssertionError(f"{self.up(backend)} are up; {self.rollout}")

    @property
    def instance_findings(self) -> list[str]:
        return [verdict.reason for verdict in self.rollout.verdicts if verdict.check == INSTANCE]


OTHERS = ["127.0.0.1:9003", "127.0.0.1:9013"]


async def test_a_bad_instance_is_ejected_and_the_model_is_promoted():
    harness = Instances()
    await harness.load()
    harness.bad = {BAD: 0.3}
    with harness.controller.feed.subscribe() as events:
        await harness.until("v3", OTHERS)
        told = [event.detail for event in events.waiting if isinstance(event, StatusChange)]
    assert told[-1].startswith(f"{BAD} of v3 is ejected: ")
    await harness.run(300)
    assert await harness.actions() == ["start", "begin", "advance", "promote", "watch_ended"]
    promoted = next(d for d in await harness.decisions() if d.action == "promote")
    assert f"without {BAD} of v3, ejected by evidence" in str(promoted.evidence)


async def test_an_ejected_endpoint_is_shown_with_the_reason():
    harness = Instances()
    await harness.load()
    harness.bad = {BAD: 0.3}
    await harness.until("v3", OTHERS)
    view = next(b for b in harness.views.status(harness.now).backends if b.name == "v3")
    assert [(e.up, bool(e.ejected)) for e in view.endpoints] == [(True, False), (True, False), (False, True)]
    assert "requests failed there (30%), 0 of" in view.endpoints[2].ejected
    assert not harness.instance_findings  # what is ejected holds nothing


async def test_a_bad_instance_of_the_champion_is_ejected():
    harness = Instances()
    await harness.load()
    harness.bad = {"127.0.0.1:9012": 0.3}
    await harness.until("v2", ["127.0.0.1:9002"])


async def test_if_all_endpoints_are_bad_the_model_is_aborted():
    harness = Instances()
    await harness.load()
    harness.bad = {f"127.0.0.1:{port}": 0.3 for port in PORTS["v3"]}
    await harness.run(150)
    assert (await harness.actions())[-1] == "abort"
    assert len(harness.up("v3")) == 3


@pytest.mark.parametrize("more", [", min_up: 100%", ", eject: false"])
async def test_what_cannot_be_ejected_holds_the_rollout(more):
    harness = Instances()
    await harness.load(head=head(more))
    harness.bad = {BAD: 0.1}
    await harness.run(150)
    assert await harness.actions() == ["start", "begin"]
    [reason] = harness.instance_findings
    assert reason.startswith(f"only endpoint {BAD} of v3 is bad: ")


async def ejected() -> Instances:
    harness = Instances()
    await harness.load()
    harness.bad = {BAD: 0.3}
    await harness.until("v3", OTHERS)
    harness.bad = {}
    return harness


async def test_an_endpoint_comes_back_when_the_rollout_ends():
    harness = await ejected()
    await harness.controller.command("churn", Verb.ABORT, "ann", harness.now)
    await harness.tick()
    assert len(harness.up("v3")) == 3


async def test_an_endpoint_comes_back_when_another_attempt_begins():
    harness = await ejected()
    await harness.controller.command("churn", Verb.RESTART, "ann", harness.now)
    await harness.tick()
    assert len(harness.up("v3")) == 3


async def test_an_endpoint_that_was_restarted_comes_back():
    harness = await ejected()
    names = frozenset(("v3", f"127.0.0.1:{port}") for port in PORTS["v3"])
    harness.controller.endpoints_changed(frozenset({("v3", BAD)}), harness.now, names)
    assert harness.up("v3") == OTHERS
    harness.controller.endpoints_changed(frozenset(), harness.now, names)
    assert len(harness.up("v3")) == 3
    await harness.run(20)
    assert len(harness.up("v3")) == 3


async def test_an_endpoint_that_the_file_replaces_is_no_longer_ejected():
    harness = await ejected()
    await harness.load(head=head().replace("9023", "9033"))
    await harness.tick(300)
    assert harness.up("v3") == [*OTHERS, "127.0.0.1:9033"]
    await harness.load()
    assert len(harness.up("v3")) == 3


async def test_an_ejected_endpoint_serves_while_no_other_is_up():
    harness = await ejected()
    others = frozenset(("v3", name) for name in OTHERS)
    harness.controller.endpoints_changed(others, harness.now)
    assert harness.up("v3") == [BAD]
    harness.controller.endpoints_changed(frozenset(), harness.now)
    assert harness.up("v3") == OTHERS


async def test_after_a_restart_of_the_proxy_the_endpoint_is_still_ejected():
    harness = await ejected()
    await harness.tick(300, seconds=2.0)
    await harness.controller.close()
    again = Instances(harness.store)
    again.now = harness.now
    await again.load()
    await again.tick()
    assert again.up("v3") == OTHERS


async def test_of_a_name_with_several_addresses_one_address_is_ejected():
    harness = Instances()
    addresses = [f"model:8000 (10.0.0.{i})" for i in (1, 2, 3)]
    await harness.load(head=HEAD.replace("http://127.0.0.1:9003", "http://model:8000"))
    harness.asked = {"v3": addresses}
    harness.bad = {addresses[2]: 0.3}
    await harness.run(120)
    backend = harness.seam.published[-1].backends["v3"]
    assert backend.out == (addresses[2],) and backend.endpoints[0].up
    view = next(b for b in harness.views.status(harness.now).backends if b.name == "v3")
    assert view.endpoints[0].up and view.endpoints[0].ejected.startswith(f"{addresses[2]}: ")


# ── with endpoints that get no new requests ───────────────────────────────────────────────────────


async def once_guilty(head: str, *drained: str) -> Instances:
    """BAD is proven to be bad while these endpoints of v3 are drained."""
    harness = Instances()
    await harness.load(head=head)
    await harness.run(20)
    for endpoint in drained:
        await harness.controller.drains.drain("v3", endpoint, "alice")
    harness.bad = {BAD: 0.2}
    await harness.run(90, 300)
    return harness


async def test_a_drained_endpoint_counts_against_min_up_of_those_that_stay() -> None:
    harness = await once_guilty(head(", min_up: 50%"), "127.0.0.1:9003")
    assert BAD in harness.up("v3"), "one of three would be left, which is less than half"
    [reason] = harness.instance_findings
    assert reason.startswith(f"only endpoint {BAD} of v3 is bad: ")
    await harness.controller.drains.undrain("v3", "127.0.0.1:9003", "alice")
    await harness.until("v3", OTHERS)


async def test_where_min_up_allows_it_a_bad_one_is_ejected_beside_a_drained_one() -> None:
    harness = await once_guilty(head(", min_up: 30%"), "127.0.0.1:9003")
    assert BAD not in harness.up("v3")
    with pytest.raises(LastEndpoint):
        await harness.controller.drains.drain("v3", "127.0.0.1:9013", "alice")
    await harness.controller.drains.drain("v3", "127.0.0.1:9013", "alice", force=True)
    assert BAD in harness.up("v3"), "it serves all the same while no other endpoint gets requests"


@pytest.mark.parametrize(("min_up", "is_ejected"), [("60%", False), ("50%", True)])
async def test_an_endpoint_without_a_weight_does_not_count_for_min_up(min_up: str, is_ejected: bool) -> None:
    """Of the two that get requests one would be left."""
    without = '{url: "http://127.0.0.1:9013", weight: 0}'
    harness = await once_guilty(head(f", min_up: {min_up}").replace("http://127.0.0.1:9013", without))
    assert (BAD not in harness.up("v3")) == is_ejected


async def test_the_last_one_with_a_weight_is_not_ejected() -> None:
    """Its evidence would be left out, and nothing would be left to judge the model by."""
    harness = await once_guilty(head(", min_up: 100%"))
    assert harness.instance_findings
    changed = head()
    for port in (9003, 9013):
        changed = changed.replace(
            f"http://127.0.0.1:{port}", f'{{url: "http://127.0.0.1:{port}", weight: 0}}'
        )
    await harness.load(head=changed)
    await harness.run(150)
    assert harness.up("v3") == [BAD]
    assert not harness.controller.state.rollout("churn", "v3").evidence.ejected
