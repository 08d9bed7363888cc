"""What the admin API shows: the contract of design 3.3."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from crossfade.control.views import Verb
from crossfade.stats.counts import Cell, MirrorCount

from .harness import CANARY, HEAD, Harness

MIRRORED = CANARY.replace("fallback: v2", "fallback: v2\n    mirror: [{to: v4, sample: 25%, safe: true}]")


def shown(view: object) -> dict[str, Any]:
    found = json.loads(msgspec.json.encode(view))
    assert isinstance(found, dict)
    return found


async def served(yaml: str = MIRRORED) -> Harness:
    harness = Harness()
    await harness.load(yaml)
    harness.error_share = {"v3": 0.05}
    await harness.run(8)
    return harness


async def test_a_route():
    harness = await served()
    view = shown(harness.views.route("churn"))
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
    harness = await served()
    harness.latency = {"v3": 0.2}
    await harness.run(12)
    v3 = harness.views.route("churn").backends["v3"]
    assert (v3.requests, v3.errors) == (19 * 20, 19)
    assert v3.rate == pytest.approx(20, rel=0.1)
    assert v3.error_share == 0.05
    assert v3.p50 is not None
    assert abs(v3.p50 - 0.2) < 0.003
    await harness.run(11, requests=0)
    idle = harness.views.route("churn").backends["v3"]
    assert (idle.requests, idle.rate, idle.error_share, idle.p50, idle.p99) == (19 * 20, 0.0, 0.0, None, None)


async def test_mirrors_count_for_the_shadow_and_abandoned_requests_are_no_errors():
    harness = await served()
    harness.add_counts("v4", 40, 4, "shadow")
    gone = Cell("churn", "v4", "shadow", 2, requests=10, abandoned=10)
    harness.seam.counts.cells.append(gone)
    harness.seam.counts.mirrors.append(MirrorCount("churn", "v4", "sent", 50))
    await harness.tick()
    v4 = harness.views.route("churn").backends["v4"]
    assert (v4.requests, v4.errors, v4.error_share) == (50, 4, 0.1)
    assert harness.controller.state.totals.mirrors == {("churn", "v4", "sent"): 50}


async def test_totals_survive_reloads_and_do_not_grow_with_ledger_versions():
    harness = await served()
    await harness.run(40)
    await harness.load(MIRRORED)
    cells = harness.controller.state.totals.cells
    assert {key[3] for key in cells} == {0}
    assert sum(c.requests for c in cells.values()) == 400 * 48


async def test_a_rollout():
    harness = await served()
    view = shown(harness.views.rollout("churn", harness.now))
    assert view["steps"] == [
        {
            "weight": 0.05,
            "hold": 10.0,
            "approval": False,
            "mirror": 0.0,
            "approval_within": None,
            "approval_then": "pause",
            "gate": False,
        },
        {
            "weight": 0.5,
            "hold": 10.0,
            "approval": False,
            "mirror": 0.0,
            "approval_within": None,
            "approval_then": "pause",
            "gate": False,
        },
    ]
    assert (view["strategy"], view["phase"], view["step"], view["weight"]) == (
        "canary",
        "progressing",
        0,
        0.05,
    )
    assert (view["elapsed"], view["waiting_for"], view["watched"]) == (7.0, "3s of the hold of 10s", False)
    assert [v["check"] for v in view["verdicts"]] == [
        "error_rate <= 5%",
        "error_rate <= champion + 2%",
        "p90 latency <= 500ms",
    ]
    first = view["verdicts"][0]
    assert set(first) == {
        "check", "verdict", "reason", "n", "estimate", "interval", "evidence", "bound", "eta_requests", "proof",
        "in_words", "limit", "unit", "is_least",
    }  # fmt: skip
    assert (first["verdict"], first["n"], first["estimate"]) == ("PASS", 140, 0.05)
    assert (first["limit"], first["unit"], first["is_least"]) == (0.05, "share", False)


async def test_backends_and_status():
    harness = await served()
    harness.controller.endpoints_changed(frozenset({("v3", "127.0.0.1:9003")}), harness.now)
    status = shown(harness.views.status(harness.now))
    assert status["backends"][:2] == [
        {"name": "v2", "endpoints": [{"url": "http://127.0.0.1:9002", "up": True, "ejected": "", "weight": 1, "drained": False, "in_flight": None}], "in_flight": 1,
         "version": None, "panic": False, "queued": 0},
        {"name": "v3", "endpoints": [{"url": "http://127.0.0.1:9003", "up": False, "ejected": "", "weight": 1, "drained": False, "in_flight": None}], "in_flight": 0,
         "version": None, "panic": True, "queued": 0},
    ]  # fmt: skip
    assert status["uptime"] == 8.0
    assert status["generation"] == harness.controller.state.generation == status["workers"][0]["generation"]
    assert status["store_ok"]
    assert [r["name"] for r in status["routes"]] == ["churn"]
    assert len(status["rollouts"]) == 1


async def test_decisions_have_the_names_of_the_contract():
    harness = await served()
    assert set(shown((await harness.decisions("churn"))[-1])) == {
        "id", "at", "route", "action", "actor", "from", "to", "reason", "evidence", "ledger_version",
        "config_hash", "previous_hash", "hash", "format", "served", "backends",
    }  # fmt: skip
    assert [record.id for record in await harness.views.page(None, 1, 1)] == [2]
    assert await harness.decisions("none") == []
    assert harness.controller.journal.decided == {("churn", "start"): 1, ("churn", "begin"): 1}


async def test_why_says_what_would_change_it():
    harness = await served(CANARY.replace("min_requests: 50", "min_requests: 500"))
    why = await harness.views.why("churn")
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
    await harness.controller.command("churn", Verb.ABORT, "api:kim", harness.now)
    assert (await harness.views.why("churn")).would_change == ["it waits for retry, or a new version of v3"]


async def test_why_of_an_ended_attempt_is_what_ended_it_whatever_was_edited_since():
    harness = await served()
    await harness.controller.command("churn", Verb.ABORT, "api:kim", harness.now, "too slow")
    await harness.load(CANARY.replace("max: 5%", "max: 4%"))
    assert (await harness.decisions("churn"))[-1].action == "edit"
    decision = (await harness.views.why("churn")).decision
    assert decision is not None
    assert (decision.action, decision.actor, decision.reason) == ("abort", "api:kim", "too slow")


async def test_a_route_without_a_rollout():
    harness = Harness()
    await harness.load(CANARY[: CANARY.index("    rollout:")])
    assert harness.views.route("churn").champion == "v2"
    why = await harness.views.why("churn")
    assert (why.phase, why.would_change) == (None, ["another split: by the file, or by `crossfade split`"])
    await harness.controller.set_split("churn", {"v2": 1, "v3": 1}, "api:kim", harness.now)
    assert harness.views.route("churn").champion is None
    assert {b.role for b in harness.views.route("churn").backends.values()} == {"member"}


async def test_roles_follow_the_phase():
    harness = Harness()
    await harness.load(head=HEAD)
    await harness.run(1)
    await harness.controller.command("churn", Verb.PROMOTE, "api:kim", harness.now)
    roles = {name: b.role for name, b in harness.views.route("churn").backends.items()}
    assert (roles, harness.route.roles) == ({"v2": "member", "v3": "champion"}, ("member", "champion"))
    await harness.controller.command("churn", Verb.ROLLBACK, "api:kim", harness.now)
    view = harness.views.route("churn")
    assert (view.champion, view.split) == ("v2", {"v2": 1.0, "v3": 0.0})


async def test_checks_of_an_ended_rollout_need_no_more_requests_and_say_what_did_not_count():
    """The fuse ends it in the second of the errors, before they are compared with the champion's answers of that second."""
    harness = Harness()
    await harness.load()
    await harness.run(3)
    assert [v.eta_requests for v in harness.rollout.verdicts] == [10, 10, 10]
    for role, name, n, errors in (("challenger", "v3", 12, 12), ("champion", "v2", 300, 0)):
        harness.add_counts(name, n, errors, role)
        harness.seam.counts.cells[-1].second = int(harness.now)
    await harness.tick(seconds=0.1)
    for found in (harness.rollout, await harness.views.why("churn")):
        assert found.phase == "aborted"
        fuse, absolute, *others = found.verdicts
        assert fuse.reason == "10 errors in a row; the limit is 10"
        assert absolute.reason == (
            "0 of 40 requests (0%) failed in step 1 of 2; the limit is 5%; 10 more requests were needed when it ended; not counted: 12 more of v3, "
            "12 with an error, as it ended before the champion's answers of the same second"
        )
        assert all("not counted: 12 more" in other.reason for other in others)
        assert [v.eta_requests for v in found.verdicts] == [None] * 4
