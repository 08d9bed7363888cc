"""The metrics page: valid, complete by design 3.5, and equal to what was counted."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics

from crossfade.admin.rollout_metrics import ACTIONS
from crossfade.control.retraining import OUTCOMES
from crossfade.control.seam import WorkerStatus
from crossfade.control.views import Verb
from tests.admin.metrics_page import at, page_of, samples_of
from tests.admin.site import Site
from tests.certificates import Authority, end_in
from tests.control.harness import BOTH, CANARY, HEAD
from tests.control.test_recommendations import entry, file_of, learn

NAMES = {
    "crossfade_build_info",
    "crossfade_notifications_total",
    "crossfade_notifications_waiting",
    "crossfade_certificate_expires_timestamp_seconds",
    "crossfade_endpoint_certificate_expires_timestamp_seconds",
    "crossfade_lift",
    "crossfade_recommendation",
    "crossfade_requests_total",
    "crossfade_responses_total",
    "crossfade_fallbacks_total",
    "crossfade_retries_total",
    "crossfade_bad_answers_total",
    "crossfade_request_duration_seconds",
    "crossfade_first_byte_seconds",
    "crossfade_first_token_seconds",
    "crossfade_token_gap_seconds",
    "crossfade_tokens_per_second",
    "crossfade_tokens_total",
    "crossfade_output_length_tokens",
    "crossfade_streams_total",
    "crossfade_stream_stalls_total",
    "crossfade_finish_reasons_total",
    "crossfade_upstream_failures_total",
    "crossfade_in_flight",
    "crossfade_latency_target_seconds",
    "crossfade_max_in_flight",
    "crossfade_queue_length",
    "crossfade_queued_total",
    "crossfade_queue_wait_seconds",
    "crossfade_mirrors_total",
    "crossfade_mirror_silent",
    "crossfade_retrain_total",
    "crossfade_drift",
    "crossfade_drift_alarm",
    "crossfade_drift_alarms_total",
    "crossfade_refused_total",
    "crossfade_unread_bodies_total",
    "crossfade_cache_total",
    "crossfade_observations_dropped_total",
    "crossfade_observations_total",
    "crossfade_feedback_total",
    "crossfade_prediction_log_rows_total",
    "crossfade_prediction_log_dropped_total",
    "crossfade_prediction_log_bytes",
    "crossfade_prediction_log_writable",
    "crossfade_feedback_delay_seconds",
    "crossfade_split_weight",
    "crossfade_ledger_version",
    "crossfade_rollout_phase",
    "crossfade_rollout_step",
    "crossfade_rollout_step_age_seconds",
    "crossfade_rollout_hold_left_seconds",
    "crossfade_check_evidence",
    "crossfade_check_bound",
    "crossfade_check_verdict",
    "crossfade_check_eta_requests",
    "crossfade_decisions_total",
    "crossfade_endpoint_drained",
    "crossfade_endpoint_ejections_total",
    "crossfade_endpoint_up",
    "crossfade_backend_panic",
    "crossfade_rollout_no_way_back",
    "crossfade_config_differs_from_file",
    "crossfade_config_differs_from_state",
    "crossfade_config_last_reload_successful",
    "crossfade_config_last_reload_success_timestamp_seconds",
    "crossfade_worker_up",
    "crossfade_worker_restarts_total",
    "crossfade_loop_lag_seconds",
    "crossfade_state_writable",
    "crossfade_admin_auth_failures_total",
    "crossfade_decision_to_traffic_seconds",
}


async def test_names_are_those_of_the_contract(site: Site) -> None:
    await site.harness.run(2)
    kinds = [line.split()[2:] for line in (await page_of(site)).splitlines() if line.startswith("# TYPE")]
    assert {name for name, _ in kinds if "process_" not in name} == NAMES
    assert all((kind == "counter") == name.endswith("_total") for name, kind in kinds)


async def test_routes_and_rollouts_have_their_present_values(site: Site) -> None:
    await site.harness.run(2)
    controller = site.harness.controller
    controller.endpoints_changed(frozenset({("v4", "127.0.0.1:9004")}), site.harness.now)
    samples = await samples_of(site)
    assert at(samples, "split_weight", route="churn", backend="v3") == 0.05
    assert at(samples, "ledger_version", route="churn") == controller.views.route("churn").ledger_version
    phases = {
        phase: at(samples, "rollout_phase", route="churn", challenger="v3", phase=phase) for phase in PHASES
    }
    assert phases == dict.fromkeys(PHASES, 0.0) | {"progressing": 1.0}
    assert at(samples, "rollout_step", route="churn", challenger="v3") == 0
    assert at(samples, "endpoint_up", backend="v2", endpoint="http://127.0.0.1:9002") == 1
    assert at(samples, "endpoint_up", backend="v4", endpoint="http://127.0.0.1:9004") == 0
    assert at(samples, "in_flight", backend="v2") == 1
    assert at(samples, "max_in_flight", backend="v2") == 1024
    assert at(samples, "upstream_failures_total", route="churn", backend="v2", stage="overload") == 0
    verdict = next(v for v in site.harness.rollout.verdicts if v.bound is not None and v.evidence is not None)
    labels = {"route": "churn", "challenger": "v3", "check": verdict.check}
    assert at(samples, "check_evidence", **labels) == pytest.approx(verdict.evidence)
    assert at(samples, "check_bound", **labels) == pytest.approx(verdict.bound)
    verdicts = {
        v: at(samples, "check_verdict", **labels, verdict=v) for v in ("PASS", "FAIL", "UNDECIDED", "VOID")
    }
    assert verdicts == dict.fromkeys(verdicts, 0.0) | {verdict.verdict: 1.0}
    assert at(samples, "rollout_step_age_seconds", route="churn", challenger="v3") == 2
    assert at(samples, "rollout_hold_left_seconds", route="churn", challenger="v3") == 8


PHASES = ("progressing", "paused", "promoted", "aborted", "rolled_back")


async def test_decisions_and_reloads_are_counted(site: Site) -> None:
    for verb in (Verb.PAUSE, Verb.RESUME, Verb.PAUSE):
        await site.harness.controller.command("churn", verb, "test", site.harness.now)
    samples = await samples_of(site)
    assert at(samples, "decisions_total", route="churn", action="pause") == 2
    assert at(samples, "config_last_reload_successful") == 1
    loaded = at(samples, "config_last_reload_success_timestamp_seconds")
    assert loaded == site.harness.controller.state.last_reload_at
    site.reloads.file = "listen: ["
    await site.ask("POST", "/api/v1/reload", 422)
    samples = await samples_of(site)
    assert at(samples, "config_last_reload_successful") == 0
    assert at(samples, "config_last_reload_success_timestamp_seconds") == loaded
    assert at(samples, "worker_up", worker="0") == 1
    assert at(samples, "worker_restarts_total", worker="0") == 0
    assert at(samples, "loop_lag_seconds", worker="0") == 0
    assert [labels for name, labels in samples if name == "crossfade_build_info"]


async def test_each_decision_that_moves_traffic_is_timed_until_every_worker_has_it(site: Site) -> None:
    before = at(await samples_of(site), "decision_to_traffic_seconds_count")
    assert before == 1  # the first step has begun
    await site.harness.controller.command("churn", Verb.PAUSE, "test", site.harness.now)
    site.harness.controller.endpoints_changed(frozenset({("v4", "127.0.0.1:9004")}), site.harness.now)
    assert at(await samples_of(site), "decision_to_traffic_seconds_count") == before
    await site.harness.controller.command("churn", Verb.ABORT, "test", site.harness.now)
    assert at(await samples_of(site), "decision_to_traffic_seconds_count") == before + 1


async def test_a_state_that_cannot_be_written_is_reported(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert at(await samples_of(site), "state_writable") == 1
    monkeypatch.setattr(site.harness.controller.journal, "ok", False)
    assert at(await samples_of(site), "state_writable") == 0
    async with site.session.get(site.url + "/readyz") as response:
        assert (response.status, await response.text()) == (
            200,
            "ready; no exposure rises: the state cannot be written\n",
        )


async def test_openmetrics_is_sent_on_request(site: Site) -> None:
    await site.harness.run(2)
    page = await page_of(site, "application/openmetrics-text; version=1.0.0")
    names = {family.name for family in open_metrics(page)}  # type: ignore[no-untyped-call]  # comes without types
    assert {"crossfade_requests", "crossfade_request_duration_seconds"} <= names


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
async def test_promtool_accepts_the_page(site: Site) -> None:
    await site.harness.run(2)
    page = await page_of(site)
    checked = await asyncio.to_thread(
        subprocess.run,
        ["promtool", "check", "metrics"],
        input=page,
        text=True,
        capture_output=True,
        check=False,
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


async def test_a_backend_without_an_endpoint_that_is_up_is_in_panic(site: Site) -> None:
    names = frozenset({("v2", "127.0.0.1:9002")})
    site.harness.controller.endpoints_changed(names, site.harness.now)
    page = await page_of(site)
    assert 'crossfade_backend_panic{backend="v2"} 1.0' in page
    assert 'crossfade_backend_panic{backend="v3"} 0.0' in page


async def test_each_challenger_has_its_own_verdicts_and_evidence(site: Site) -> None:
    await site.harness.load(BOTH)
    await site.harness.run(3)
    samples = await samples_of(site)
    for rollout in site.harness.views.rollouts(site.harness.now):
        for v in rollout.verdicts:
            labels = {"route": "churn", "challenger": rollout.challenger, "check": v.check}
            assert at(samples, "check_verdict", **labels, verdict=v.verdict) == 1
            assert v.evidence is not None
            assert at(samples, "check_evidence", **labels) == pytest.approx(v.evidence)
    phases = {labels for name, labels in samples if name == "crossfade_rollout_phase"}
    assert {dict(labels)["challenger"] for labels in phases} == {"v3", "v4"}


async def test_counters_of_rare_things_are_0_from_the_start(site: Site) -> None:
    """`increase()` sees the first abort only if there was a 0 before it."""
    samples = await samples_of(site)
    assert at(samples, "decisions_total", route="churn", action="begin") == 1
    for action in set(ACTIONS) - {"start", "begin"}:
        assert at(samples, "decisions_total", route="churn", action=action) == 0
    for backend in ("v2", "v3"):
        place = {"route": "churn", "backend": backend}
        for stage in ("connect", "first_byte_timeout", "status", "no_endpoint"):
            assert at(samples, "upstream_failures_total", **place, stage=stage) == 0
            assert at(samples, "fallbacks_total", **place, reason=stage) == 0
        assert at(samples, "retries_total", **place, reason="stale_connection") == 0


def test_each_verb_of_an_operator_is_an_action_that_begins_at_0() -> None:
    assert {str(verb) for verb in Verb} <= set(ACTIONS)


async def test_processes_have_the_usual_metrics(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    status = WorkerStatus(0, os.getpid(), True, 1, 0, 0.0, {})
    monkeypatch.setattr(site.harness.seam, "workers", lambda: [status])
    samples = {name: value for (name, labels), value in (await samples_of(site)).items() if "process" in name}
    for name in ("cpu_seconds_total", "resident_memory_bytes", "open_fds", "start_time_seconds"):
        assert samples["process_" + name] > 0
        assert samples["crossfade_worker_process_" + name] > 0


async def test_orders_to_train_a_model_are_counted_from_0(site: Site) -> None:
    await site.harness.load(CANARY + "    retrain: {on: data_drift, command: train}\n")
    name = "crossfade_retrain_total"

    async def counted() -> dict[str, float]:
        samples = await samples_of(site)
        return {dict(labels)["outcome"]: n for (of, labels), n in samples.items() if of == name}

    assert await counted() == dict.fromkeys(OUTCOMES, 0.0)
    site.harness.controller.retrain.trigger("churn", "data_drift", None)
    await site.harness.controller.idle()
    assert await counted() == dict.fromkeys(OUTCOMES, 0.0) | {"ordered": 1.0}


async def test_a_recommendation_is_one_of_three(site: Site) -> None:
    await site.harness.load(file_of(entry("v3", weight="5%")))
    await site.harness.run(2)
    place = {"route": "churn", "challenger": "v3"}
    names = ("PROMOTE", "KEEP", "UNDECIDED")
    samples = await samples_of(site)
    assert [at(samples, "recommendation", **place, recommendation=name) for name in names] == [0, 0, 1]
    learn(site.harness, "v3", 0.26, 0.20)
    samples = await samples_of(site)
    assert [at(samples, "recommendation", **place, recommendation=name) for name in names] == [1, 0, 0]
    assert at(samples, "lift", **place) == pytest.approx(0.3)


async def test_certificates_have_their_ends(site: Site, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    verified = f"v2: {{tls: {{ca: {authority.file}}}, endpoints: [https://127.0.0.1:9002]"
    await site.harness.load(CANARY, HEAD.replace("v2: {endpoints: [http://127.0.0.1:9002]", verified))
    config = site.harness.controller.state.config.config
    site.harness.controller.state.certificate_ends["v2", config.backends["v2"].endpoints[0].name] = 2e9
    samples = await samples_of(site)
    file = {"of": "backend", "name": "v2", "file": authority.file}
    assert at(samples, "certificate_expires_timestamp_seconds", **file) == end_in(authority.file)
    shown = {"backend": "v2", "endpoint": "https://127.0.0.1:9002"}
    assert at(samples, "endpoint_certificate_expires_timestamp_seconds", **shown) == 2e9


async def test_a_route_with_a_slo_has_a_target(site: Site) -> None:
    assert not [name for name, _ in await samples_of(site) if name == "crossfade_latency_target_seconds"]
    await site.harness.load(CANARY + "    slo: standard\n")
    assert at(await samples_of(site), "latency_target_seconds", route="churn") == 0.2
