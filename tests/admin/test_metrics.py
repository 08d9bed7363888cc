"""The metrics page: valid, complete by design 3.5, and equal to what was counted."""

from __future__ import annotations

import asyncio
import shutil
import subprocess

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as plain_text

from crossfade.admin.metrics import EDGES
from crossfade.control.views import Verb
from crossfade.stats.counts import Cell, Counts, MirrorCount
from crossfade.stats.observation import Observation
from tests.admin.site import Site

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]

NAMES = {
    "crossfade_build_info",
    "crossfade_requests_total",
    "crossfade_request_duration_seconds",
    "crossfade_first_byte_seconds",
    "crossfade_upstream_failures_total",
    "crossfade_in_flight",
    "crossfade_mirrors_total",
    "crossfade_refused_total",
    "crossfade_unread_bodies_total",
    "crossfade_observations_dropped_total",
    "crossfade_observations_total",
    "crossfade_split_weight",
    "crossfade_ledger_version",
    "crossfade_rollout_phase",
    "crossfade_rollout_step",
    "crossfade_check_evidence",
    "crossfade_decisions_total",
    "crossfade_endpoint_ejections_total",
    "crossfade_endpoint_up",
    "crossfade_backend_panic",
    "crossfade_rollout_no_way_back",
    "crossfade_config_last_reload_successful",
    "crossfade_config_last_reload_success_timestamp_seconds",
    "crossfade_worker_up",
    "crossfade_worker_restarts_total",
    "crossfade_loop_lag_seconds",
    "crossfade_state_writable",
    "crossfade_decision_to_traffic_seconds",
}


async def page_of(site: Site, accept: str = "") -> str:
    async with site.session.get(
        site.url + "/metrics", headers={"Accept": accept} if accept else {}
    ) as response:
        assert response.status == 200
        return await response.text()


async def samples_of(site: Site) -> Samples:
    families = plain_text(await page_of(site))
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def at(samples: Samples, name: str, **labels: str) -> float:
    return samples[f"crossfade_{name}", frozenset(labels.items())]


async def count(site: Site, counts: Counts) -> None:
    site.harness.seam.counts = counts
    await site.harness.tick()


async def test_names_are_those_of_the_contract(site: Site) -> None:
    await site.harness.run(2)
    kinds = [line.split()[2:] for line in (await page_of(site)).splitlines() if line.startswith("# TYPE")]
    assert {name for name, _ in kinds} == NAMES
    assert all((kind == "counter") == name.endswith("_total") for name, kind in kinds)


async def test_requests_are_summed_over_workers_and_ledger_versions(site: Site) -> None:
    for version in (2, 3):
        cell = Cell(
            "churn", "v3", "challenger", version, requests=7, codes={200: 5, 502: 2}, failures={"connect": 2}
        )
        await count(
            site, Counts([cell, Cell("churn", "v2", "champion", version, requests=1, codes={200: 1})])
        )
    samples = await samples_of(site)
    challenger = {"route": "churn", "backend": "v3", "role": "challenger"}
    assert at(samples, "requests_total", **challenger, code="200") == 10
    assert at(samples, "requests_total", **challenger, code="502") == 4
    assert at(samples, "requests_total", route="churn", backend="v2", role="champion", code="200") == 2
    assert at(samples, "upstream_failures_total", route="churn", backend="v3", stage="connect") == 4


async def test_histograms_have_the_classic_buckets_and_exact_sums(site: Site) -> None:
    cell = Cell("churn", "v2", "champion", 2)
    for seconds in (0.0004, 0.02, 0.02, 3.0, 600.0):
        cell.duration.add(seconds)
    cell.first_byte.add(0.015)
    await count(site, Counts([cell]))
    samples = await samples_of(site)
    champion = {"route": "churn", "backend": "v2", "role": "champion"}
    read = [at(samples, "request_duration_seconds_bucket", **champion, le=str(edge)) for edge in EDGES]
    assert read == [1, 1, 1, 1, 3, 3, 3, 3, 3, 3, 3, 4, 4, 4, 4]
    assert at(samples, "request_duration_seconds_bucket", **champion, le="+Inf") == 5
    assert at(samples, "request_duration_seconds_count", **champion) == 5
    assert at(samples, "request_duration_seconds_sum", **champion) == pytest.approx(603.0404)
    assert at(samples, "first_byte_seconds_count", **champion) == 1


async def test_mirrors_and_refusals_are_counted_by_outcome(site: Site) -> None:
    mirrors = [MirrorCount("churn", "v4", "sent", 8), MirrorCount("churn", "v4", "dropped_budget", 1)]
    await count(site, Counts([], mirrors, {"404:no_route": 3, "400:parse": 1}))
    samples = await samples_of(site)
    assert at(samples, "mirrors_total", route="churn", backend="v4", outcome="sent") == 8
    assert at(samples, "mirrors_total", route="churn", backend="v4", outcome="dropped_budget") == 1
    assert at(samples, "refused_total", code="404", stage="no_route") == 3
    assert at(samples, "refused_total", code="400", stage="parse") == 1


async def test_dropped_observations_and_unread_bodies_are_counted(site: Site) -> None:
    lost, unread = {"access_log": 7}, {"churn:too_large": 2, "churn:encoded": 1}
    await count(site, Counts(dropped=lost, unread=unread))
    await count(site, Counts(dropped=lost))
    samples = await samples_of(site)
    assert at(samples, "observations_dropped_total", reason="access_log") == 14
    assert at(samples, "unread_bodies_total", route="churn", reason="too_large") == 2
    assert at(samples, "unread_bodies_total", route="churn", reason="encoded") == 1


async def test_observations_are_counted_by_route(site: Site) -> None:
    seen = Observation("abc", 1.0, "churn", "v2", "v2", 1, None, 0.5, None)
    site.harness.seam.observations.add([seen, seen])
    assert at(await samples_of(site), "observations_total", route="churn") == 2


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
    verdict = next(v for v in site.harness.rollout.verdicts if v.bound is not None and v.evidence is not None)
    labels = {"check": verdict.check, "bound": f"{verdict.bound:.4g}"}
    read = at(samples, "check_evidence", route="churn", challenger="v3", **labels)
    assert read == pytest.approx(verdict.evidence)


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
