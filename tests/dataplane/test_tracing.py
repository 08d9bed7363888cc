"""Which exchanges have a span, what the model gets as its parent, and the facts that the observer makes the span of."""

from __future__ import annotations

import re
from time import time
from typing import Any

import pytest

from crossfade.dataplane.tracing import SPANS
from crossfade.quality.samples import SpanSample
from crossfade.routing.snapshot import Match, Tracing
from tests.dataplane.plane import Harness, mirrored, route
from tests.dataplane.scripted import answering
from tests.dataplane.wire import get, ok, post, wait_until

TRACE, SPAN = b"0af7651916cd43dd8448eb211c80319c", b"b7ad6b7169203331"
SAMPLED, UNSAMPLED = (b"00-%b-%b-%b" % (TRACE, SPAN, flags) for flags in (b"01", b"00"))
ERROR = answering(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n")


def tracing(sample: float) -> Tracing:
    return Tracing("http://collector:4318/v1/traces", sample, "crossfade")


async def ask(harness: Harness, *requests: bytes) -> None:
    client = await harness.client()
    for request in requests:
        await client.send(request)
        await client.answer()


def spans(harness: Harness) -> list[SpanSample]:
    return [each for each in harness.plane.recorder.samples.take() if isinstance(each, SpanSample)]


async def test_a_sampled_client_gets_a_span_between_its_own_and_the_model_s(harness: Harness) -> None:
    backend = harness.backend("v2")
    harness.use(route("v2"), tracing=tracing(0.0))
    await ask(harness, get(fields=[b"Traceparent: " + SAMPLED, b"tracestate: a=b"]))
    (sent,) = backend.requests[0].all("traceparent")
    found = re.fullmatch(rb"00-%b-([0-9a-f]{16})-01" % TRACE, sent)
    assert found is not None and found[1] not in (SPAN, b"0" * 16)
    assert backend.requests[0].all("tracestate") == [b"a=b"]
    (span,) = spans(harness)
    assert span.ids == (TRACE, found[1], SPAN)


@pytest.mark.parametrize(
    "given",
    [
        [UNSAMPLED],
        [SAMPLED, SAMPLED],
        [SAMPLED + b"-more"],
        [SAMPLED.replace(b"00-", b"ff-")],
        [SAMPLED.upper()],
        [b"00-%b-%b-01" % (b"0" * 32, SPAN)],
        [b"00-%b-%b-01" % (TRACE, b"0" * 16)],
        [b"nonsense"],
    ],
)
async def test_what_is_not_sampled_or_not_valid_goes_to_the_model_as_it_is(
    harness: Harness, given: list[bytes]
) -> None:
    backend = harness.backend("v2")
    harness.use(route("v2"), tracing=tracing(1.0))
    await ask(harness, get(fields=[b"traceparent: " + each for each in given]))
    assert backend.requests[0].all("traceparent") == given
    assert spans(harness) == []


async def test_of_a_version_to_come_the_known_parts_are_read(harness: Harness) -> None:
    harness.backend("v2")
    harness.use(route("v2"), tracing=tracing(0.0))
    await ask(harness, get(fields=[b"traceparent: " + SAMPLED.replace(b"00-", b"cc-", 1) + b"-more"]))
    assert [span.ids[2] for span in spans(harness)] == [SPAN]


async def test_without_a_traceparent_a_share_of_the_requests_has_a_span(harness: Harness) -> None:
    backend = harness.backend("v2")
    harness.use(route("v2"), tracing=tracing(0.5))
    await ask(harness, *[get()] * 60)
    found = spans(harness)
    assert 10 < len(found) < 50
    sent = [trace for request in backend.requests for trace in request.all("traceparent")]
    assert sent == [b"00-%b-%b-01" % span.ids[:2] for span in found]
    assert len({span.ids[0] for span in found}) == len(found)
    assert all(not span.ids[2] for span in found)


async def test_off_nothing_is_added(harness: Harness) -> None:
    backend = harness.backend("v2")
    harness.use(route("v2"))
    await ask(harness, get(), get(fields=[b"traceparent: " + SAMPLED]))
    assert [request.all("traceparent") for request in backend.requests] == [[], [SAMPLED]]
    assert spans(harness) == []
    assert harness.plane.tracer is None


async def test_the_facts_of_a_span(harness: Harness) -> None:
    harness.backend("v2", answering(ok(b"{}")))
    harness.use(route("v2", steps=(("v3", 1),)), tracing=tracing(1.0))
    began = time()
    await ask(harness, post(b"{}", fields=[b"x-request-id: one"]))
    (span,) = spans(harness)
    assert (span.request_id, span.status, span.code, span.place) == (
        b"one",
        200,
        200,
        ("churn", "v2", "champion"),
    )
    assert span.request[:3] == (b"POST", b"/predict", b"1.1")
    assert (span.answered_by, span.step, span.stages, span.resent, span.secure) == ("v2", 1, [], 0, False)
    assert began - 1 < span.at - span.seconds <= span.at < time() + 1


async def test_a_span_of_a_fallback_says_who_failed(harness: Harness) -> None:
    harness.backend("v2", answering(ok(b"{}")))
    harness.backend("v3", ERROR)
    harness.use(route("v3", fallback="v2", pure=True), tracing=tracing(1.0))
    await ask(harness, get())
    (span,) = spans(harness)
    assert (span.place[1], span.answered_by, span.fell_back, span.status, span.code) == (
        "v3",
        "v2",
        True,
        200,
        500,
    )
    assert span.resent == 1


async def test_what_the_proxy_refuses_has_a_span_too(harness: Harness) -> None:
    harness.backend("v2")
    harness.use(route("v2", match=Match(path="/predict")), tracing=tracing(1.0))
    await ask(harness, get("/nowhere"))
    (span,) = spans(harness)
    assert (span.status, span.place, span.stages) == (404, ("", "", ""), ["no_route"])


async def test_copies_are_of_the_same_trace(harness: Harness) -> None:
    backend, copies = harness.backend("v2"), harness.backend("v3")
    harness.use(route("v2", mirrors=mirrored("v3")), tracing=tracing(1.0))
    await ask(harness, get(fields=[b"traceparent: " + SAMPLED]))
    await wait_until(lambda: copies.requests)
    assert copies.requests[0].all("traceparent") == backend.requests[0].all("traceparent") != [SAMPLED]


async def test_begin_and_spans_together(harness: Harness) -> None:
    backend = harness.backend("v2")
    harness.use(route("v2"), tracing=tracing(0.0), begins_traces=True)
    await ask(harness, get())
    assert len(backend.requests[0].all("traceparent")) == 1
    assert spans(harness) == []


async def test_spans_above_the_limit_are_counted(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crossfade.dataplane.tracing.SPANS", 3)
    harness.backend("v2")
    harness.use(route("v2"), tracing=tracing(1.0))
    await ask(harness, *[get()] * 5)
    counts = harness.plane.take()
    assert (len(spans(harness)), counts.dropped["spans"]) == (3, 2)
    await ask(harness, get())
    assert len(spans(harness)) == 1
    assert SPANS == 256


async def test_the_latest_trace_is_named_beside_the_durations(harness: Harness) -> None:
    harness.backend("v2")
    harness.use(route("v2"), tracing=tracing(1.0))
    await ask(harness, get(), get())
    counts: Any = harness.plane.take()
    last = spans(harness)[-1]
    (found,) = counts.exemplars
    assert (found.place, found.trace_id, found.seconds) == (
        ("churn", "v2", "champion"),
        last.ids[0].decode(),
        last.seconds,
    )
    assert harness.plane.take().exemplars == []
