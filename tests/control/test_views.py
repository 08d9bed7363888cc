"""What the admin API shows: the contract of design 3.3."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from crossfade.control.views import Verb
from crossfade.stats.counts import Cell, MirrorCount

from .scene import CANARY, HEAD, Scene

MIRRORED = CANARY.replace("fallback: v2", "fallback: v2\n    mirror: [{to: v4, sample: 25%}]")


def shown(view: object) -> dict[str, Any]:
    found = json.loads(msgspec.json.encode(view))
    assert isinstance(found, dict)
    return found


async def served(yaml: str = MIRRORED) -> Scene:
    scene = Scene()
    await scene.load(yaml)
    scene.bad = {"v3": 0.05}
    await scene.run(8)
    return scene


async def test_a_route():
    scene = await served()
    view = shown(scene.views.route("churn"))
    assert {
        k: view[k] for k in ("name", "split", "ledger_version", "champion", "sticky", "mirrors", "fallback")
    } == {
        "name": "churn",
        "split": {"v2": 0.95, "v3": 0.05},
        "ledger_version": 2,
        "champion": "v2",
        "sticky": ["json:customer_id"],
        "mirrors": [{"to": "v4", "sample": 0.25}],
        "fallback": "v2",
    }
    assert {name: b["role"] for name, b in view["backends"].items()} == {
        "v2": "champion",
        "v3": "challenger",
        "v4": "shadow",
    }


async def test_numbers_since_the_start_and_of_the_last_seconds():
    scene = await served()
    scene.slow = {"v3": 0.2}
    await scene.run(12)
    v3 = scene.views.route("churn").backends["v3"]
    assert (v3.requests, v3.errors) == (19 * 20, 19)
    assert v3.rate == pytest.approx(20, rel=0.1)
    assert v3.error_share == 0.05
    assert v3.p50 is not None
    assert abs(v3.p50 - 0.2) < 0.003
    await scene.run(11, requests=0)
    idle = scene.views.route("churn").backends["v3"]
    assert (idle.requests, idle.rate, idle.error_share, idle.p50, idle.p99) == (19 * 20, 0.0, 0.0, None, None)


async def test_copies_count_for_the_shadow_and_clients_that_left_for_nobody():
    scene = await served()
    scene.count("v4", 40, 4, "shadow")
    gone = Cell("churn", "v4", "shadow", 2, requests=10, abandoned=10)
    scene.seam.counts.cells.append(gone)
    scene.seam.counts.mirrors.append(MirrorCount("churn", "v4", "sent", 50))
    await scene.tick()
    v4 = scene.views.route("churn").backends["v4"]
    assert (v4.requests, v4.errors, v4.error_share) == (50, 4, 0.1)
    assert scene.controller.state.totals.mirrors == {("churn", "v4", "sent"): 50}


async def test_totals_survive_reloads_and_do_not_grow_with_ledger_versions():
    scene = await served()
    await scene.run(40)
    await scene.load(MIRRORED)
    cells = scene.controller.state.totals.cells
    assert {key[3] for key in cells} == {0}
    assert sum(c.requests for c in cells.values()) == 400 * 48


async def test_a_rollout():
    scene = await served()
    view = shown(scene.views.rollout("churn", scene.now))
    assert view["steps"] == [
        {"weight": 0.05, "hold": 10.0, "approval": False, "mirror": 0.0},
        {"weight": 0.5, "hold": 10.0, "approval": False, "mirror": 0.0},
    ]
    assert (view["strategy"], view["phase"], view["step"], view["weight"]) == (
        "canary",
        "progressing",
        0,
        0.05,
    )
    assert (view["elapsed"], view["waiting_for"]) == (7.0, "3s of the hold of 10s")
    assert [v["check"] for v in view["verdicts"]] == [
        "error_rate <= 5%",
        "error_rate <= champion + 2%",
        "p90 latency <= 500ms",
    ]
    first = view["verdicts"][0]
    assert set(first) == {
        "check", "verdict", "reason", "n", "estimate", "interval", "evidence", "bound", "eta_requests", "proof",
    }  # fmt: skip
    assert (first["verdict"], first["n"], first["estimate"]) == ("PASS", 140, 0.05)


async def test_backends_and_status():
    scene = await served()
    scene.controller.endpoints_changed(frozenset({("v3", "127.0.0.1:9003")}), scene.now)
    status = shown(scene.views.status(scene.now))
    assert status["backends"][:2] == [
        {"name": "v2", "endpoints": [{"url": "http://127.0.0.1:9002", "up": True}], "in_flight": 1, "version": None},
        {"name": "v3", "endpoints": [{"url": "http://127.0.0.1:9003", "up": False}], "in_flight": 0, "version": None},
    ]  # fmt: skip
    assert status["uptime"] == 8.0
    assert status["generation"] == scene.controller.state.generation == status["workers"][0]["generation"]
    assert status["store_ok"]
    assert [r["name"] for r in status["routes"]] == ["churn"]
    assert len(status["rollouts"]) == 1


async def test_decisions_have_the_names_of_the_contract():
    scene = await served()
    assert set(shown((await scene.decisions("churn"))[-1])) == {
        "id", "at", "route", "action", "actor", "from", "to", "reason", "evidence", "ledger_version",
        "config_hash", "previous_hash", "hash", "format",
    }  # fmt: skip
    assert [d.id for d in await scene.views.decisions(None, 1, 1)] == [2]
    assert await scene.decisions("none") == []
    assert scene.controller.journal.decided == {("churn", "start"): 1, ("churn", "begin"): 1}


async def test_why_says_what_would_change_it():
    scene = await served(CANARY.replace("min_requests: 50", "min_requests: 500"))
    why = await scene.views.why("churn")
    assert why.decision is not None
    assert (why.decision.action, why.phase) == ("begin", "progressing")
    assert why.would_change == [
        "it waits for 3s of the hold of 10s",
        "error_rate <= 5%: about 360 more requests on v3 decide it",
        "error_rate <= champion + 2%: about 360 more requests on v3 decide it",
        "p90 latency <= 500ms: about 360 more requests on v3 decide it",
        "the fuse: 10 errors in a row, or 50% of the last 20, end it at once",
        "max_step_time: after 2m undecided it will pause",
    ]
    await scene.controller.command("churn", Verb.ABORT, "api:kim", scene.now)
    assert (await scene.views.why("churn")).would_change == ["it waits for retry, or a new version of v3"]


async def test_a_route_without_a_rollout():
    scene = Scene()
    await scene.load(CANARY[: CANARY.index("    rollout:")])
    assert scene.views.route("churn").champion == "v2"
    why = await scene.views.why("churn")
    assert (why.phase, why.would_change) == (None, ["another split: by the file, or by `crossfade split`"])
    await scene.controller.set_split("churn", {"v2": 1, "v3": 1}, "api:kim", scene.now)
    assert scene.views.route("churn").champion is None
    assert {b.role for b in scene.views.route("churn").backends.values()} == {"member"}


async def test_roles_follow_the_phase():
    scene = Scene()
    await scene.load(head=HEAD)
    await scene.run(1)
    await scene.controller.command("churn", Verb.PROMOTE, "api:kim", scene.now)
    roles = {name: b.role for name, b in scene.views.route("churn").backends.items()}
    assert (roles, scene.route.roles) == ({"v2": "member", "v3": "champion"}, ("member", "champion"))
    await scene.controller.command("churn", Verb.ROLLBACK, "api:kim", scene.now)
    view = scene.views.route("churn")
    assert (view.champion, view.split) == ("v2", {"v2": 1.0, "v3": 0.0})
