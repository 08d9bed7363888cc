"""Manual drain: recorded, kept by a restart, forgotten with the endpoint, and no way to an empty backend."""

from __future__ import annotations

import logging

import pytest

from crossfade.control.refusal import LastEndpoint, Refused, UnknownName
from crossfade.control.replay import replayed
from crossfade.control.seam import WorkerStatus
from crossfade.control.store import Endpoints, Store
from crossfade.control.views import Verb
from tests.control.harness import CANARY, HEAD, Harness, loaded, rows_of

TWO = HEAD.replace(
    "v3: {endpoints: [http://127.0.0.1:9003]",
    "v3: {endpoints: [http://127.0.0.1:9003, http://127.0.0.1:9013]",
)
FIRST, SECOND = "127.0.0.1:9003", "127.0.0.1:9013"


async def started(store: Store | None = None, head: str = TWO) -> Harness:
    harness = Harness(store)
    await harness.controller.load(loaded(CANARY, head), "file", harness.now)
    return harness


def weights(harness: Harness) -> list[int]:
    return [e.weight for e in harness.seam.published[-1].backends["v3"].endpoints]


async def drain(harness: Harness, endpoint: str = FIRST, force: bool = False) -> None:
    await harness.controller.drains.drain("v3", endpoint, "alice", force=force)


async def test_a_drain_takes_the_weight_and_is_a_decision_with_its_actor() -> None:
    harness = await started()
    await drain(harness)
    assert weights(harness) == [0, 1]
    decision = (await harness.decisions())[-1]
    assert (decision.route, decision.action, decision.actor) == ("", "drain", "alice")
    assert decision.to == {"backend": "v3", "endpoint": FIRST, "drained": True}
    assert harness.controller.state.up_share("v3") == 0.5
    await harness.controller.drains.undrain("v3", f"http://{FIRST}", "bob")
    assert weights(harness) == [1, 1]
    assert ((await harness.decisions())[-1].action, (await harness.decisions())[-1].actor) == (
        "undrain",
        "bob",
    )
    assert harness.controller.state.up_share("v3") == 1.0


async def test_once_more_changes_nothing() -> None:
    harness = await started()
    await drain(harness)
    decisions = len(await harness.decisions())
    await drain(harness)
    await harness.controller.drains.undrain("v3", SECOND, "alice")
    assert (len(await harness.decisions()), weights(harness)) == (decisions, [0, 1])


async def test_the_last_available_endpoint_needs_force() -> None:
    harness = await started()
    await drain(harness)
    with pytest.raises(LastEndpoint, match=f"{SECOND} is the last available endpoint of v3.*--force"):
        await drain(harness, SECOND)
    assert weights(harness) == [0, 1]
    await drain(harness, SECOND, force=True)
    assert weights(harness) == [0, 0]
    state = harness.controller.state
    assert (state.is_up("v3"), state.in_panic("v3")) == (False, False)


async def test_an_endpoint_that_is_down_is_no_other_endpoint() -> None:
    harness = await started()
    harness.controller.endpoints_changed(Endpoints({("v3", SECOND)}), harness.now)
    with pytest.raises(LastEndpoint, match="no other endpoint of it is up"):
        await drain(harness)
    await drain(harness, SECOND)  # that gets nothing anyway
    assert weights(harness) == [1, 0]


async def test_a_drained_backend_gets_no_traffic_without_force() -> None:
    harness = await started()
    await drain(harness, force=True)
    await drain(harness, SECOND, force=True)
    await harness.controller.command("churn", Verb.ABORT, "alice", harness.now)
    with pytest.raises(Refused, match="no endpoint of v3 is up"):
        await harness.controller.set_split("churn", {"v2": 1, "v3": 1}, "alice", harness.now)


@pytest.mark.parametrize(
    ("backend", "endpoint", "said"),
    [
        ("v33", FIRST, "no backend is called v33; did you mean v3?"),
        ("v3", "127.0.0.1:9004", f"called 127.0.0.1:9004; did you mean {FIRST}?"),
        ("v3", "x", f"there is {FIRST}, {SECOND}"),
    ],
)
async def test_unknown_names_get_a_suggestion(backend: str, endpoint: str, said: str) -> None:
    harness = await started()
    with pytest.raises(UnknownName) as error:
        await harness.controller.drains.drain(backend, endpoint, "alice")
    assert said in str(error.value)


async def test_a_restart_keeps_it_and_the_journal_replays() -> None:
    harness = await started()
    await drain(harness)
    again = await started(harness.store)
    assert weights(again) == [0, 1]
    assert replayed(rows_of(await again.decisions())).differences == []


async def test_a_reload_keeps_it_with_the_endpoint_and_forgets_it_without() -> None:
    harness = await started()
    await drain(harness)
    await harness.controller.load(loaded(CANARY, TWO + "\n"), "file", harness.now)
    assert weights(harness) == [0, 1]
    without = TWO.replace("http://127.0.0.1:9003, ", "")
    await harness.controller.load(loaded(CANARY, without), "file", harness.now)
    assert (weights(harness), (await harness.decisions())[-1].action) == ([1], "undrain")
    assert "no longer in the file" in (await harness.decisions())[-1].reason
    await harness.controller.load(loaded(CANARY, TWO), "file", harness.now)
    assert weights(harness) == [1, 1]
    assert harness.store.drained() == Endpoints()


async def test_a_drain_that_cannot_be_written_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = await started()

    async def fail(entries: object, undo: object = None) -> None:
        return None

    monkeypatch.setattr(harness.controller.journal, "write_first", fail)
    with pytest.raises(Refused, match="stays as it is"):
        await drain(harness)
    assert weights(harness) == [1, 1]


async def test_what_is_left_in_flight_is_known_when_all_workers_have_told() -> None:
    harness = await started()
    await drain(harness)

    def left() -> int | None:
        return harness.controller.views.endpoint("v3", FIRST).in_flight

    assert left() is None
    harness.seam.in_flight_at = {"v3": {FIRST: 2}}
    assert left() == 2
    harness.seam.replaced = [WorkerStatus(0, 2, True, 1, 1, 0.0, {})]
    assert left() is None
    harness.seam.replaced[0].in_flight_at = {"v3": {FIRST: 3}}
    assert left() == 5
    assert harness.controller.views.endpoint("v3", SECOND).in_flight is None


# ── min_up ────────────────────────────────────────────────────────────────────────────────────────


def with_min_up(share: str, *more: str) -> str:
    """v3 with two endpoints, and these."""
    endpoints = ", ".join([f"http://{FIRST}", f"http://{SECOND}", *more])
    return HEAD.replace(
        "v3: {endpoints: [http://127.0.0.1:9003]", f"v3: {{min_up: {share}, endpoints: [{endpoints}]"
    )


async def test_a_rollout_waits_while_min_up_is_not_met_without_the_drained_endpoint() -> None:
    harness = await started(head=with_min_up("100%"))
    await drain(harness)
    await harness.run(5)
    assert await harness.actions() == ["start", "drain"]
    with pytest.raises(
        Refused, match="only 50% of the endpoints of v3 are up, which is less than its min_up"
    ):
        await harness.controller.command("churn", Verb.PROMOTE, "alice", harness.now)
    await harness.controller.drains.undrain("v3", FIRST, "alice")
    await harness.run(2)
    assert (await harness.actions())[2:] == ["undrain", "begin"]


async def test_a_drain_in_a_step_stops_no_step_but_the_next_rise() -> None:
    harness = await started(head=with_min_up("100%"))
    await harness.run(2)
    await drain(harness)
    await harness.run(30)
    assert (await harness.actions(), harness.weights["v3"]) == (["start", "begin", "drain"], 500)
    await harness.controller.drains.undrain("v3", FIRST, "alice")
    await harness.run(30)
    assert harness.weights["v3"] > 500


async def test_min_up_is_met_by_the_endpoints_that_are_left() -> None:
    harness = await started(head=with_min_up("50%"))
    await drain(harness)
    await harness.run(3)
    assert await harness.actions() == ["start", "drain", "begin"]


@pytest.mark.parametrize("drained", [FIRST, "127.0.0.1:9023"])
async def test_an_endpoint_without_a_weight_counts_neither_way(drained: str) -> None:
    """It does not count for `min_up`, drained or not; and it is no other endpoint that would get the requests."""
    head = with_min_up("100%", '{url: "http://127.0.0.1:9023", weight: 0}')
    harness = await started(head=head)
    await drain(harness, drained)
    assert harness.controller.state.up_share("v3") == (0.5 if drained == FIRST else 1.0)
    if drained == FIRST:
        with pytest.raises(LastEndpoint):
            await drain(harness, SECOND)


async def test_a_reload_sends_nobody_to_a_backend_whose_endpoints_are_drained_or_have_no_weight() -> None:
    head = TWO.replace("http://127.0.0.1:9013", '{url: "http://127.0.0.1:9013", weight: 0}')
    harness = Harness()
    await harness.load(
        "routes:\n  - {name: churn, match: {path: /predict}, split: {v2: 100%, v3: 0%}}\n", head
    )
    await drain(harness, force=True)
    with pytest.raises(Refused, match="no endpoint of v3 is up"):
        await harness.load(
            "routes:\n  - {name: churn, match: {path: /predict}, split: {v2: 50%, v3: 50%}}\n", head
        )


# ── panic ─────────────────────────────────────────────────────────────────────────────────────────


async def test_a_backend_is_in_panic_when_all_that_are_not_drained_fail_their_probes() -> None:
    harness = await started()
    await drain(harness)
    harness.controller.endpoints_changed(Endpoints({("v3", SECOND)}), harness.now)
    state = harness.controller.state
    assert (state.in_panic("v3"), state.is_up("v3"), weights(harness)) == (True, False, [0, 1])
    harness.controller.endpoints_changed(Endpoints({("v3", FIRST)}), harness.now)
    assert (state.in_panic("v3"), state.is_up("v3"), weights(harness)) == (False, True, [0, 1])


async def test_a_drain_that_leaves_only_failing_endpoints_is_a_panic_that_the_log_has(
    caplog: pytest.LogCaptureFixture,
) -> None:
    harness = await started()
    harness.controller.endpoints_changed(Endpoints({("v3", SECOND)}), harness.now)
    with caplog.at_level(logging.WARNING):
        await drain(harness, force=True)
    assert harness.controller.state.in_panic("v3")
    assert "no endpoint of v3 passes its probes" in caplog.text
    caplog.clear()
    await harness.controller.drains.undrain("v3", FIRST, "alice")
    assert not harness.controller.state.in_panic("v3")


async def test_the_log_says_which_endpoint(caplog: pytest.LogCaptureFixture) -> None:
    harness = await started()
    with caplog.at_level(logging.INFO):
        await drain(harness)
    assert f"v3 {FIRST}: drain by alice" in caplog.messages[-1]
