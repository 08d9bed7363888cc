"""Metrics of the traffic: what backends said, what clients got, and what was lost.

Rule: under the backend *assigned* stands what that backend said, its failures included; what the fallback or a retry
saved is in `crossfade_responses_total`. Counters of rare things exist at 0 from the start, so that `increase()` shows
the first one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from prometheus_client.core import Metric

from crossfade.admin.families import Labels, counter, gauge, histogram
from crossfade.control.views import MetricsView, TrafficView
from crossfade.errors import FAILURES, Fallback, Source, Stage
from crossfade.stats.counts import SHADOW, Cell
from crossfade.stats.streams import FIRST_TOKEN, OUTPUT_LENGTH, TOKEN_GAP, TOKENS_PER_SECOND, Streams

_FAILED = (*(f.stage for f in FAILURES.values() if f.source is Source.UPSTREAM), Stage.OVERLOAD)
_FALLBACKS = tuple(f.stage for f in FAILURES.values() if f.fallback is not Fallback.NEVER)
_RETRIES = tuple(f.stage for f in FAILURES.values() if f.retries_endpoint)
_BY_BACKEND = ["route", "backend", "role"]
_RATES = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0)  # tokens a second
_LENGTHS = (1.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10_000.0)  # tokens


def of_traffic(view: MetricsView) -> Iterator[Metric]:
    traffic = view.traffic
    served = [((cell.route, cell.backend, cell.role), cell) for cell in traffic.cells]
    yield counter(
        "crossfade_requests",
        "Requests by assigned backend, with what that backend said; without an answer, the failure's status.",
        [*_BY_BACKEND, "code"],
        (((*labels, str(code)), n) for labels, cell in served for code, n in cell.codes.items()),
    )
    yield counter(
        "crossfade_responses",
        "What clients got, from the backend, a retry, the fallback or the proxy itself (route is empty before one is found).",
        ["route", "code"],
        _responses(traffic).items(),
    )
    yield histogram(
        "crossfade_request_duration_seconds",
        "Seconds from the request's head to the end of its response.",
        _BY_BACKEND,
        ((labels, cell.duration) for labels, cell in served),
        view.buckets,
        traffic.exemplars,
    )
    yield histogram(
        "crossfade_first_byte_seconds",
        "Seconds from the request's head to the first byte of its response.",
        _BY_BACKEND,
        ((labels, cell.first_byte) for labels, cell in served),
        view.buckets,
    )
    yield from _of_failures(view)
    yield counter(
        "crossfade_mirrors",
        "Mirrored requests, by outcome.",
        ["route", "backend", "outcome"],
        traffic.mirrors.items(),
    )
    yield gauge(
        "crossfade_mirror_silent",
        "1 if a mirror got no copy for a minute, though its route had requests.",
        ["route", "backend"],
        view.silent_mirrors.items(),
    )
    yield counter(
        "crossfade_endpoint_ejections",
        "How often a worker ejected an endpoint that kept failing.",
        ["backend", "endpoint"],
        traffic.ejections.items(),
    )


def of_streams(view: MetricsView) -> Iterator[Metric]:
    """What streamed answers took and said; those that were sampled."""
    streams = [
        ((cell.route, cell.backend, cell.role), cell.streams) for cell in view.traffic.cells if cell.streams
    ]
    yield from _of_stream_values(streams, view.buckets)
    yield counter(
        "crossfade_streams",
        "Streamed answers, by how they ended: complete, or broken behind the first piece of content.",
        [*_BY_BACKEND, "end"],
        [
            ((*labels, end), n)
            for labels, each in streams
            for end, n in (("complete", each.n - each.broken), ("broken", each.broken))
        ],
    )
    yield counter(
        "crossfade_stream_stalls",
        "Gaps of a second or more between two pieces of content.",
        _BY_BACKEND,
        [(labels, each.stalls) for labels, each in streams],
    )
    yield counter(
        "crossfade_finish_reasons",
        "Why texts ended, as the model says.",
        [*_BY_BACKEND, "reason"],
        [((*labels, why), n) for labels, each in streams for why, n in each.finish.items()],
    )
    yield counter(
        "crossfade_tokens",
        "Tokens that models say they used.",
        [*_BY_BACKEND, "kind"],
        [
            ((*labels, kind), n)
            for labels, each in streams
            for kind, n in (("output", each.tokens), ("prompt", each.prompt_tokens))
        ],
    )


def _of_stream_values(
    streams: Sequence[tuple[Labels, Streams]], seconds: tuple[float, ...]
) -> Iterator[Metric]:
    """`seconds`: the edges of buckets of durations."""
    for name, text, measure, edges in (
        (
            "crossfade_first_token_seconds",
            "Seconds from the request to the first piece of content.",
            FIRST_TOKEN,
            seconds,
        ),
        (
            "crossfade_token_gap_seconds",
            "Seconds between two pieces of content of a stream.",
            TOKEN_GAP,
            seconds,
        ),
        ("crossfade_tokens_per_second", "Tokens a second of a stream.", TOKENS_PER_SECOND, _RATES),
        ("crossfade_output_length_tokens", "Tokens of a streamed answer.", OUTPUT_LENGTH, _LENGTHS),
    ):
        found = [(labels, each.values(measure)) for labels, each in streams]
        yield histogram(name, text, _BY_BACKEND, found, edges)


def of_queues(view: MetricsView) -> Iterator[Metric]:
    """Requests that waited for a place in flight."""
    kept = {b.name for b in view.backends}
    queues = [((name,), queue) for name, queue in view.queues.items() if name in kept]
    yield gauge(
        "crossfade_queue_length",
        "Requests that wait for a place in flight.",
        ["backend"],
        [((b.name,), b.queued) for b in view.backends],
    )
    yield counter(
        "crossfade_queued",
        "Requests that have waited for a place in flight, by how the wait ended: sent, timeout, client_left and others.",
        ["backend", "outcome"],
        (((*labels, outcome), n) for labels, queue in queues for outcome, n in queue.outcomes.items()),
    )
    yield histogram(
        "crossfade_queue_wait_seconds",
        "Seconds that requests have waited for a place in flight, whatever came of it.",
        ["backend"],
        ((labels, queue.waits) for labels, queue in queues),
        view.buckets,
    )


def _responses(traffic: TrafficView) -> Counter[Labels]:
    out = Counter[Labels]()
    for cell in traffic.cells:
        if cell.role != SHADOW:
            out.update({(cell.route, str(code)): n for code, n in cell.responses.items()})
    for what, n in traffic.refused.items():
        out["", what.partition(":")[0]] += n
    return out


def _of_failures(view: MetricsView) -> Iterator[Metric]:
    """By the backend assigned, summed over its roles."""
    yield counter(
        "crossfade_upstream_failures",
        "Exchanges that failed at a backend, by stage; retried ones too. Those of `overload` had no place in flight.",
        ["route", "backend", "stage"],
        _by_reason(view, _FAILED, "failures").items(),
    )
    yield counter(
        "crossfade_fallbacks",
        "Requests that the fallback answered instead of this backend, by the failure that led to it.",
        ["route", "backend", "reason"],
        _by_reason(view, _FALLBACKS, "fallbacks").items(),
    )
    yield counter(
        "crossfade_retries",
        "Requests of this backend that were sent once more, by the failure that led to it.",
        ["route", "backend", "reason"],
        _by_reason(view, _RETRIES, "retries").items(),
    )
    kinds = ("errors", "rejected", "unreadable")
    answers = {(s.route, backend, kind): 0 for s in view.splits for backend in s.split for kind in kinds}
    found = Counter[Labels](answers)
    for cell in view.traffic.cells:
        for kind, n in zip(kinds, (cell.errors, cell.rejected, cell.unreadable), strict=True):
            if cell.role != SHADOW:
                found[cell.route, cell.backend, kind] += n
    yield counter(
        "crossfade_bad_answers",
        "What checks count against a backend: errors, rejected requests, and sampled answers that say no prediction.",
        ["route", "backend", "kind"],
        found.items(),
    )


def _by_reason(view: MetricsView, reasons: tuple[str, ...], field: str) -> Mapping[Labels, int]:
    """Of each backend of each route, at 0 for reasons that have not been met."""
    out = Counter[Labels](
        {(s.route, backend, str(why)): 0 for s in view.splits for backend in s.split for why in reasons}
    )
    for cell in view.traffic.cells:
        out.update({(cell.route, cell.backend, why): n for why, n in _counts(cell, field).items()})
    return out


def _counts(cell: Cell, field: str) -> dict[str, int]:
    found: dict[str, int] = getattr(cell, field)
    return found


def of_losses(traffic: TrafficView) -> Iterator[Metric]:
    """Requests that reached no backend, and contents that were not read."""
    yield counter(
        "crossfade_refused",
        "Requests that the proxy itself answered with an error.",
        ["code", "stage"],
        ((tuple(what.partition(":")[::2]), n) for what, n in traffic.refused.items()),
    )
    yield counter(
        "crossfade_observations",
        "Answers that were sampled as observations.",
        ["route"],
        (((route,), n) for route, n in traffic.observations.items()),
    )
    yield counter(
        "crossfade_observations_dropped",
        "Observations dropped because a buffer was full, by reason.",
        ["reason"],
        (((reason,), n) for reason, n in traffic.dropped.items()),
    )
    yield counter(
        "crossfade_unread_bodies",
        "Bodies that could not be read for a field that a route needs, by reason.",
        ["route", "reason"],
        ((tuple(what.split(":")), n) for what, n in traffic.unread.items()),
    )
    yield counter(
        "crossfade_cache",
        "What response caches did: hit, miss, bypass, and answers that were kept.",
        ["route", "outcome"],
        ((tuple(what.split(":")), n) for what, n in traffic.cache.items()),
    )
