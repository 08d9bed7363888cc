"""Metrics of traffic: requests, copies, streams, caches, queues and what was not observed, summed over workers."""

from __future__ import annotations

import pytest

from crossfade.config.model import BUCKETS
from crossfade.control.seam import QueueStatus, WorkerStatus
from crossfade.stats.counts import Cell, Counts, MirrorCount
from crossfade.stats.histogram import Histogram
from crossfade.stats.observation import Observation
from crossfade.stats.streams import Streams, StreamValues
from tests.admin.metrics_page import at, count, samples_of
from tests.admin.site import Site
from tests.control.harness import CANARY, HEAD


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
    read = [at(samples, "request_duration_seconds_bucket", **champion, le=str(edge)) for edge in BUCKETS]
    assert read == [1] * 7 + [3] * 13 + [4] * 7
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


async def test_what_caches_did_is_counted(site: Site) -> None:
    for n in (1, 2):
        await count(site, Counts(cache={"churn:hit": n, "churn:miss": 1}))
    samples = await samples_of(site)
    assert at(samples, "cache_total", route="churn", outcome="hit") == 3
    assert at(samples, "cache_total", route="churn", outcome="miss") == 2


async def test_streams_are_counted_by_backend(site: Site) -> None:
    streams = Streams(stalls=3, finish={"stop": 1, "length": 1}, tokens=150, prompt_tokens=20)
    streams.add(StreamValues(None, False, 0.2, 0.02, 40.0, 100.0))
    streams.add(StreamValues(None, True, 0.4, 0.02, None, None))
    streams.token_gap.add(0.02)
    cell = Cell("churn", "v2", "champion", 1, requests=2, streams=streams)
    site.harness.controller.state.totals.add(Counts([cell]))
    samples, labels = await samples_of(site), {"route": "churn", "backend": "v2", "role": "champion"}
    assert at(samples, "first_token_seconds_count", **labels) == 2
    assert at(samples, "first_token_seconds_bucket", le="0.2", **labels) == 1
    assert at(samples, "token_gap_seconds_count", **labels) == 1
    assert at(samples, "tokens_per_second_sum", **labels) == 40
    assert at(samples, "output_length_tokens_bucket", le="100.0", **labels) == 1
    assert at(samples, "streams_total", end="broken", **labels) == 1
    assert at(samples, "streams_total", end="complete", **labels) == 1
    assert at(samples, "stream_stalls_total", **labels) == 3
    assert at(samples, "finish_reasons_total", reason="length", **labels) == 1
    assert at(samples, "tokens_total", kind="output", **labels) == 150
    assert at(samples, "tokens_total", kind="prompt", **labels) == 20


async def test_observations_are_counted_by_route(site: Site) -> None:
    seen = Observation("abc", 1.0, "churn", "v2", "v2", 1, None, 0.5, None)
    site.harness.seam.observations.add([seen, seen])
    assert at(await samples_of(site), "observations_total", route="churn") == 2


async def test_what_a_backend_said_is_told_from_what_clients_got(site: Site) -> None:
    saved = Cell(
        "churn", "v3", "challenger", 2, requests=9, codes={500: 4, 200: 5}, responses={200: 9},
        fallbacks={"status": 4}, retries={"connect": 1}, errors=4,
    )  # fmt: skip
    copies = Cell("churn", "v3", "shadow", 2, requests=7, codes={404: 7}, rejections={"404": 7})
    rejecting = Cell(
        "churn", "v2", "champion", 2, requests=3, codes={404: 3}, responses={404: 3}, rejections={"404": 3}
    )
    await count(site, Counts([saved, copies, rejecting], refused={"404:no_route": 2}))
    samples = await samples_of(site)
    challenger = {"route": "churn", "backend": "v3"}
    assert at(samples, "requests_total", **challenger, role="challenger", code="500") == 4
    assert at(samples, "requests_total", **challenger, role="shadow", code="404") == 7
    assert at(samples, "responses_total", route="churn", code="200") == 9
    assert at(samples, "responses_total", route="churn", code="404") == 3
    assert at(samples, "responses_total", route="", code="404") == 2
    assert at(samples, "fallbacks_total", **challenger, reason="status") == 4
    assert at(samples, "retries_total", **challenger, reason="connect") == 1
    assert at(samples, "bad_answers_total", **challenger, kind="errors") == 4
    assert at(samples, "bad_answers_total", **challenger, kind="rejected") == 0
    assert at(samples, "bad_answers_total", route="churn", backend="v2", kind="rejected") == 3


async def test_queues_are_summed_over_workers(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    workers = [
        WorkerStatus(n, n, up, 1, 0, 0.0, {}, 0, {"v2": QueueStatus(n, {"sent": 2}, Histogram.of([0.5]))})
        for n, up in ((1, True), (2, True), (3, False))
    ]
    monkeypatch.setattr(site.harness.seam, "workers", lambda: workers)
    samples = await samples_of(site)
    assert at(samples, "queue_length", backend="v2") == 3, "those of a worker that died do not wait"
    assert at(samples, "queued_total", backend="v2", outcome="sent") == 6
    assert at(samples, "queue_wait_seconds_count", backend="v2") == 3


async def test_the_buckets_are_those_of_the_file(site: Site) -> None:
    await site.harness.load(CANARY, HEAD + "\nmetrics: {buckets: [20ms, 1s]}\n")
    await count(site, Counts([Cell("churn", "v2", "champion", 2)]))
    buckets = [
        labels for name, labels in await samples_of(site) if name == "crossfade_first_byte_seconds_bucket"
    ]
    assert sorted(dict(labels)["le"] for labels in buckets) == ["+Inf", "0.02", "1.0"]
