"""Each path of the admin API with a real controller."""

from __future__ import annotations

from io import BytesIO

import pytest

from tests.admin.site import FILE, Site
from tests.control.harness import BOTH, CANARY, HEAD

UNKNOWN = "urn:crossfade:problem:unknown-name"


async def test_health_is_about_the_process_and_readiness_about_traffic(site: Site) -> None:
    async with site.session.get(site.url + "/healthz") as response:
        assert (response.status, await response.text()) == (200, "ok\n")
    async with site.session.get(site.url + "/readyz") as response:
        assert response.status == 200
    site.reloads.is_ready = False
    assert (await site.get("/readyz", 503))["detail"] == "draining"
    async with site.session.get(site.url + "/healthz") as response:
        assert response.status == 200


async def test_status_has_workers_routes_rollouts_and_backends(site: Site) -> None:
    status = await site.get("/api/v1/status")
    assert status["config"]["source"] == "routing.yaml"
    assert status["config"]["ok"] is True and status["store_ok"] is True
    assert [w["worker"] for w in status["workers"]] == [0]
    assert [r["name"] for r in status["routes"]] == ["churn"]
    assert [r["route"] for r in status["rollouts"]] == ["churn"]
    assert [b["name"] for b in status["backends"]] == ["v2", "v3", "v4"]


async def test_route_shows_the_split_as_fractions(site: Site) -> None:
    route = await site.get("/api/v1/routes/churn")
    assert route["split"] == {"v2": 0.95, "v3": 0.05}
    assert route["champion"] == "v2"
    assert route["sticky"] == ["json:customer_id"]
    assert (await site.get("/api/v1/routes"))["routes"] == [route]


async def test_backend_shows_its_endpoints(site: Site) -> None:
    backend = await site.get("/api/v1/backends/v2")
    assert backend["endpoints"] == [
        {
            "url": "http://127.0.0.1:9002",
            "up": True,
            "ejected": "",
            "weight": 1,
            "drained": False,
            "in_flight": None,
        }
    ]
    assert backend["in_flight"] == 1
    assert backend in (await site.get("/api/v1/backends"))["backends"]


async def test_rollout_shows_phase_steps_and_verdicts(site: Site) -> None:
    await site.harness.run(2)
    rollout = await site.get("/api/v1/rollouts/churn")
    assert (rollout["phase"], rollout["step"], rollout["weight"]) == ("progressing", 0, 0.05)
    assert rollout["steps"][1] == {
        "weight": 0.5,
        "hold": 10.0,
        "approval": False,
        "mirror": 0.0,
        "approval_within": None,
        "approval_then": "pause",
        "gate": False,
    }
    assert {
        "check",
        "verdict",
        "reason",
        "n",
        "estimate",
        "interval",
        "evidence",
        "bound",
        "eta_requests",
        "proof",
        "in_words",
        "limit",
        "unit",
        "is_least",
    } == set(rollout["verdicts"][0])
    limits = {v["check"]: (v["limit"], v["unit"], v["is_least"]) for v in rollout["verdicts"]}
    assert limits == {
        "error_rate <= 5%": (0.05, "share", False),
        "error_rate <= champion + 2%": (0.02, "share", False),
        "p90 latency <= 500ms": (0.5, "seconds", False),
    }
    assert [r["route"] for r in (await site.get("/api/v1/rollouts"))["rollouts"]] == ["churn"]


async def test_rollouts_of_one_route_are_listed_alone(site: Site) -> None:
    found = await site.get("/api/v1/rollouts?route=churn")
    assert [(r["route"], r["challenger"]) for r in found["rollouts"]] == [("churn", "v3")]
    await site.get("/api/v1/rollouts?route=nobody", status=404)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/routes/nope"),
        ("GET", "/api/v1/backends/nope"),
        ("GET", "/api/v1/rollouts/nope"),
        ("GET", "/api/v1/rollouts/nope/why"),
        ("POST", "/api/v1/rollouts/nope/pause"),
    ],
)
async def test_unknown_names_and_unknown_paths_have_different_problems(
    site: Site, method: str, path: str
) -> None:
    assert (await site.ask(method, path, 404))["type"] == UNKNOWN
    assert (await site.ask(method, "/api/v2" + path, 404))["type"] == "about:blank"


async def test_split_is_in_all_workers_when_it_answers(site: Site) -> None:
    await site.ask("POST", "/api/v1/rollouts/churn/abort")
    before = await site.get("/api/v1/routes/churn")
    headers = {"X-Crossfade-Actor": "anna"}
    route = await site.ask("PUT", "/api/v1/routes/churn/split", json={"v2": 3, "v4": 1}, headers=headers)
    assert {name: share for name, share in route["split"].items() if share} == {"v2": 0.75, "v4": 0.25}
    assert route["ledger_version"] == before["ledger_version"] + 1
    assert site.harness.weights == {"v2": 7500, "v4": 2500}
    assert (await site.actors())[-1] == "api:anna"


DOWN = frozenset({("v2", "127.0.0.1:9002"), ("v4", "127.0.0.1:9004")})


async def test_traffic_goes_to_a_backend_that_is_down_only_with_force(site: Site) -> None:
    site.harness.controller.endpoints_changed(DOWN, site.harness.now)
    abort, split = "/api/v1/rollouts/churn/abort", "/api/v1/routes/churn/split"
    refused = await site.ask("POST", abort, 409)
    assert refused["type"] == "urn:crossfade:problem:refused"
    assert refused["detail"].startswith("no endpoint of v2 is up; with --force")
    assert (await site.ask("POST", f"{abort}?force=yes", 422))["detail"] == "force must be true or false."
    await site.ask("POST", f"{abort}?force=true")
    assert "no endpoint of v4 is up" in (await site.ask("PUT", split, 409, json={"v2": 0, "v4": 1}))["detail"]
    await site.ask("PUT", f"{split}?force=true", json={"v2": 0, "v4": 1})
    decisions = (await site.get("/api/v1/decisions"))["decisions"]
    assert [d["forced"] for d in decisions[-2:]] == ["no endpoint of v2 is up", "no endpoint of v4 is up"]


async def test_a_reload_sends_traffic_to_a_backend_that_is_down_only_with_force(site: Site) -> None:
    site.reloads.file = FILE[: FILE.index("    rollout:")]
    await site.ask("POST", "/api/v1/reload")
    site.harness.controller.endpoints_changed(DOWN, site.harness.now)
    before = site.harness.weights
    site.reloads.file = site.reloads.file.replace("split: {v2: 100%}", "split: {v4: 100%}")
    refused = await site.ask("POST", "/api/v1/reload", 409)
    assert "route churn: no endpoint of v4 is up; with --force" in refused["detail"]
    assert site.harness.weights == before
    await site.ask("POST", "/api/v1/reload?force=true")
    assert site.harness.weights == {"v4": 10_000}
    assert (await site.harness.decisions())[-1].forced == "no endpoint of v4 is up"


async def test_split_is_refused_while_a_rollout_runs(site: Site) -> None:
    refused = await site.ask("PUT", "/api/v1/routes/churn/split", 409, json={"v2": 1})
    assert refused["type"] == "urn:crossfade:problem:refused"
    assert site.harness.weights == {"v2": 9500, "v3": 500}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"\xff", 400),
        (b"[]", 422),
        (b'{"v2": "1"}', 422),
        (b'{"v2": null}', 422),
        (b"{}", 422),
        (b'{"v2": -1}', 422),
        (b'{"v2": 0}', 422),
        (b'{"v2": 1e999}', 422),
        (b'{"nope": 1}', 422),
        (b"[" * 100_000, 422),
        (b'{"v2": ' + b"[" * 100_000, 422),
    ],
)
async def test_an_invalid_split_changes_nothing(site: Site, body: bytes, status: int) -> None:
    await site.ask("POST", "/api/v1/rollouts/churn/abort")
    published = len(site.harness.seam.published)
    await site.ask("PUT", "/api/v1/routes/churn/split", status, data=body)
    assert len(site.harness.seam.published) == published


async def test_commands_move_the_rollout_and_are_kept_with_actor_and_reason(site: Site) -> None:
    reason = {"reason": "  looks\nodd "}
    paused = await site.ask("POST", "/api/v1/rollouts/churn/pause", json=reason)
    assert paused["phase"] == "paused"
    assert (await site.ask("POST", "/api/v1/rollouts/churn/resume"))["phase"] == "progressing"
    assert (await site.ask("POST", "/api/v1/rollouts/churn/promote"))["phase"] == "promoted"
    assert (await site.ask("POST", "/api/v1/rollouts/churn/rollback"))["phase"] == "rolled_back"
    retried = await site.ask("POST", "/api/v1/rollouts/churn/retry")
    assert (retried["phase"], retried["step"]) == ("progressing", 0)
    assert (await site.ask("POST", "/api/v1/rollouts/churn/abort"))["phase"] == "aborted"
    found = (await site.get("/api/v1/decisions?route=churn"))["decisions"]
    pause = next(d for d in found if d["action"] == "pause")
    assert (pause["reason"], pause["actor"]) == ("looks odd", "api")
    assert pause["from"]["phase"] == "progressing" and pause["to"]["phase"] == "paused"


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("churn/rollback", b"", 409),
        ("churn/explode", b"", 404),
        ("churn/pause", b"{", 400),
        ("churn/pause", b'{"reason": 1}', 422),
        ("churn/pause", b'{"raeson": "x"}', 422),
        ("churn/pause", b'{"raeson": ' + b"[" * 100_000, 422),
        ("churn/pause", b'{"reason": ' + b"[" * 100_000, 422),
        ("churn/pause", b'{"reason": "%s"}' % (b"x" * 501), 422),
    ],
)
async def test_commands_that_are_refused_change_nothing(
    site: Site, path: str, body: bytes, status: int
) -> None:
    before = await site.harness.actions()
    await site.ask("POST", f"/api/v1/rollouts/{path}", status, data=body)
    assert await site.harness.actions() == before
    assert site.harness.rollout.phase == "progressing"


async def test_a_route_with_several_rollouts_needs_a_challenger(site: Site) -> None:
    site.reloads.file = HEAD + BOTH
    await site.ask("POST", "/api/v1/reload")
    await site.harness.run(2)
    listed = (await site.get("/api/v1/rollouts"))["rollouts"]
    assert [(r["route"], r["challenger"]) for r in listed] == [("churn", "v3"), ("churn", "v4")]
    for method, path in (("GET", ""), ("GET", "/why"), ("POST", "/pause")):
        problem = await site.ask(method, f"/api/v1/rollouts/churn{path}", 409)
        assert problem["detail"] == "route churn has several rollouts; say which challenger: v3, v4"
    assert (await site.get("/api/v1/rollouts/churn?challenger=v4"))["challenger"] == "v4"
    await site.ask("GET", "/api/v1/rollouts/churn?challenger=v9", 404)
    paused = await site.ask("POST", "/api/v1/rollouts/churn/pause?challenger=v4")
    assert (paused["challenger"], paused["phase"]) == ("v4", "paused")
    assert (await site.get("/api/v1/rollouts/churn/why?challenger=v4"))["decision"]["action"] == "pause"
    assert (await site.get("/api/v1/rollouts/churn/why?challenger=v3"))["decision"]["action"] == "edit"
    refused = await site.ask("POST", "/api/v1/rollouts/churn/promote?challenger=v3", 409)
    assert (
        refused["detail"] == "promote has to wait for the end of the rollout of v4: abort what is not wanted"
    )
    async with site.session.get(f"{site.url}/metrics") as response:
        page = await response.text()
    assert 'crossfade_rollout_phase{challenger="v4",phase="paused",route="churn"} 1.0' in page
    assert 'crossfade_rollout_phase{challenger="v3",phase="progressing",route="churn"} 1.0' in page


async def test_config_shows_the_text_as_it_was_loaded(site: Site) -> None:
    config = await site.get("/api/v1/config")
    assert config["text"] == FILE
    assert config["hash"] == site.harness.controller.state.config.hash
    assert [w["path"] for w in config["warnings"]] == ["backends.v4"]  # no route names it


async def test_config_can_be_checked_without_being_used(site: Site) -> None:
    other = FILE.replace("v4: {", "v5: {")
    checked = await site.ask("POST", "/api/v1/config", data=other)
    assert checked["hash"] != (await site.get("/api/v1/config"))["hash"]
    assert [b["name"] for b in (await site.get("/api/v1/backends"))["backends"]] == ["v2", "v3", "v4"]


async def test_bad_config_is_answered_with_all_its_problems(site: Site) -> None:
    bad = FILE.replace("v2: 100%", "v2: 90%").replace("challenger: v3", "challenger: v33")
    answer = await site.ask("POST", "/api/v1/config", 422, data=bad)
    assert answer["type"] == "urn:crossfade:problem:invalid-config"
    assert len(answer["problems"]) >= 2
    assert {"line", "column", "path", "message", "severity"} <= set(answer["problems"][0])


async def test_config_refuses_a_body_that_is_not_utf8(site: Site) -> None:
    assert "UTF-8" in (await site.ask("POST", "/api/v1/config", 400, data=b"\xff\xfe"))["detail"]


async def test_reload_loads_the_file_or_answers_with_its_problems(site: Site) -> None:
    site.reloads.file = FILE.replace("v4: {", "v5: {")
    headers = {"X-Crossfade-Actor": 'ann<a>"\u00e9'}
    assert (await site.ask("POST", "/api/v1/reload", headers=headers))["text"] == site.reloads.file
    assert site.reloads.actors == ["api:ann_a"]
    site.reloads.file = "listen: [}"
    assert (await site.ask("POST", "/api/v1/reload", 422))["problems"]
    status = await site.get("/api/v1/status")
    assert status["config"]["ok"] is False and status["config"]["error"]
    assert [b["name"] for b in status["backends"]] == ["v2", "v3", "v5"]


async def test_a_body_that_is_too_large_and_a_wrong_method_are_problems(site: Site) -> None:
    await site.ask("POST", "/api/v1/config", 413, data=BytesIO(b"#" * ((1 << 20) + 1)))
    async with site.session.delete(site.url + "/api/v1/routes/churn/split") as response:
        assert (response.status, response.headers["Allow"]) == (405, "PUT")
        assert response.content_type == "application/problem+json"


async def test_an_internal_error_shows_no_details(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(now: float) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(site.harness.views, "status", broken)
    assert "secret" not in str(await site.get("/api/v1/status", 500))
    assert "secret" in caplog.text


async def test_responses_are_not_cached(site: Site) -> None:
    async with site.session.get(site.url + "/api/v1/status") as response:
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["X-Content-Type-Options"] == "nosniff"


async def test_an_endpoint_is_drained_by_its_url(site: Site) -> None:
    place = "/api/v1/backends/v4/endpoints/http:%2F%2F127.0.0.1:9004"
    refused = await site.ask("POST", f"{place}/drain", 409)
    assert refused["type"] == "urn:crossfade:problem:last-endpoint"
    drained = await site.ask("POST", f"{place}/drain?force=true", json={"reason": "new GPU"})
    assert (drained["url"], drained["drained"], drained["up"]) == ("http://127.0.0.1:9004", True, True)
    last = (await site.get("/api/v1/decisions"))["decisions"][-1]
    assert (last["action"], last["reason"], last["route"]) == ("drain", "new GPU", "")
    async with site.session.get(f"{site.url}/metrics") as answer:
        page = await answer.text()
    assert 'crossfade_endpoint_drained{backend="v4",endpoint="http://127.0.0.1:9004"} 1' in page
    assert 'crossfade_endpoint_up{backend="v4",endpoint="http://127.0.0.1:9004"} 1' in page
    back = await site.ask("POST", "/api/v1/backends/v4/endpoints/127.0.0.1:9004/undrain")
    assert not back["drained"]
    await site.ask("POST", "/api/v1/backends/v4/endpoints/127.0.0.1:9005/drain", 404)


async def test_an_order_to_train_a_model_answers_202_and_is_in_the_status(site: Site) -> None:
    refused = await site.ask("POST", "/api/v1/retrain/churn", 409)
    assert refused["detail"] == "route churn has no retrain in the file, so nobody is told"
    await site.harness.load(CANARY + "    retrain: {on: {schedule: 7d}, command: train, cooldown: 1h}\n")
    headers = {"X-Crossfade-Actor": "kim"}
    given = await site.ask("POST", "/api/v1/retrain/churn", 202, json={"reason": "new data"}, headers=headers)
    assert (given["route"], given["on"], given["cooldown_left"]) == ("churn", ["schedule"], 3600.0)
    assert (given["order"]["reason"], given["last"]) == ("operator", None)
    assert (await site.get("/api/v1/status"))["retrain"] == [given]
    decision = (await site.get("/api/v1/decisions"))["decisions"][-1]
    assert (decision["action"], decision["actor"]) == ("retrain", "api:kim")
    assert decision["to"] == {"order": given["order"]["id"]}
    assert "is under way" in (await site.ask("POST", "/api/v1/retrain/churn", 409))["detail"]
    assert (await site.ask("POST", "/api/v1/retrain/none", 404))["type"] == UNKNOWN
