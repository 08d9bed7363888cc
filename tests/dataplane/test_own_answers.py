"""What the assigned backend itself said: its own status, rejections, errors by kind, retries and fallbacks by reason."""

from __future__ import annotations

from gzip import compress
from typing import Any

import pytest

from crossfade.quality.prediction import Prediction
from crossfade.routing.ledger import hash_of, salt_of
from crossfade.stats.counts import REJECTED, UNREADABLE, Cell, Events
from tests.build import interpreted
from tests.dataplane.plane import Harness, mirrored, route, sticky
from tests.dataplane.scripted import Script, answering, closing, silent
from tests.dataplane.wire import get, post

ONLY_429: dict[str, Any] = {"errors": ((500, 599), (429, 429))}


def saying(status: int, body: bytes = b"", fields: bytes = b"") -> Script:
    head = b"HTTP/1.1 %d What\r\nContent-Length: %d\r\n%b\r\n" % (status, len(body), fields)
    return answering(head + body)


async def asked(harness: Harness, script: Script, times: int = 1, **options: Any) -> Cell:
    harness.backend("v3", script, first_byte_timeout=0.05 if script is silent else 5.0)
    harness.backend("v2")
    harness.use(route("v3", **options))
    client = await harness.client()
    for _ in range(times):
        await client.send(get(fields=[b"x-customer: ann"]))
        await client.answer()
    return await harness.cell("v3")


@pytest.mark.parametrize(
    ("status", "options", "rejections", "errors"),
    [
        (200, {}, {}, 0),
        (302, {}, {}, 0),
        (400, {}, {"400": 1}, 0),
        (404, {}, {"404": 1}, 0),
        (422, {}, {"422": 1}, 0),
        (401, {}, {}, 0),
        (403, {}, {}, 0),
        (407, {}, {}, 0),
        (429, {}, {}, 0),
        (500, {}, {}, 1),
        (429, ONLY_429, {}, 1),
        (404, {"errors": ((400, 599),)}, {}, 1),
        (500, {"errors": ((503, 503),)}, {"500": 1}, 0),  # what is no error is still no gap
    ],
)
async def test_a_status_is_an_error_or_a_rejection_or_neither(
    harness: Harness, status: int, options: dict[str, Any], rejections: dict[str, int], errors: int
) -> None:
    cell = await asked(harness, saying(status), **options)
    assert (cell.rejections, cell.errors, cell.requests) == (rejections, errors, 1)
    assert cell.recent == [errors == 1]
    assert cell.faults == ({str(status): 1} if errors else {})
    assert cell.codes == cell.responses == {status: 1}


async def test_a_rejection_of_a_keyed_request_is_kept_with_its_key(harness: Harness) -> None:
    cell = await asked(harness, saying(404), 2, sticky=sticky("header", "x-customer"))
    key = hash_of(b"ann", salt_of("churn"))
    assert cell.events == {REJECTED: Events(keyed=2, keys=[key, key])}
    assert cell.rejections == {"404": 2}


async def test_what_the_proxy_itself_refuses_is_no_rejection_of_a_backend(harness: Harness) -> None:
    harness.backend("v3")
    harness.use(route("v3", body_limit=3))
    client = await harness.client()
    await client.send(post(b"hello"))
    await client.answer()
    assert all(not cell.rejections for cell in harness.plane.recorder.table.cells.values())


async def test_a_rejected_copy_is_a_rejection_of_the_shadow(harness: Harness) -> None:
    harness.backend("v2")
    harness.backend("v3", saying(404))
    harness.use(route("v2", mirrors=mirrored("v3")))
    client = await harness.client()
    await client.send(get())
    await client.answer()
    cell = await harness.shadow("v3")
    assert cell is not None
    assert (cell.rejections, cell.errors, cell.faults) == ({"404": 1}, 0, {})


@pytest.mark.parametrize(
    ("script", "kind"),
    [(saying(503), "503"), (closing(b"garbage\r\n\r\n"), "protocol"), (silent, "first_byte_timeout")],
)
async def test_an_error_of_a_copy_is_counted_by_kind(harness: Harness, script: Script, kind: str) -> None:
    harness.backend("v2")
    harness.backend("v3", script, first_byte_timeout=0.05 if script is silent else 5.0)
    harness.use(route("v2", mirrors=mirrored("v3")))
    client = await harness.client()
    await client.send(get())
    await client.answer()
    await harness.quiet()
    cell = await harness.shadow("v3")
    assert cell is not None
    assert (cell.faults, cell.errors) == ({kind: 1}, 1)


@pytest.mark.parametrize(
    ("script", "code", "reason", "fault"),
    [
        (saying(500), 500, "status", "500"),
        (saying(503), 503, "status", "503"),
        (silent, 504, "first_byte_timeout", "first_byte_timeout"),
        (closing(b"garbage\r\n\r\n"), 502, "protocol", "protocol"),
    ],
)
async def test_where_the_fallback_answers_the_code_is_still_the_backend_s_own(
    harness: Harness, script: Script, code: int, reason: str, fault: str
) -> None:
    cell = await asked(harness, script, fallback="v2", pure=True)
    assert (cell.codes, cell.responses) == ({code: 1}, {200: 1})
    assert (cell.fallbacks, cell.faults, cell.fell_back) == ({reason: 1}, {fault: 1}, 1)


async def test_a_status_that_the_route_lists_falls_back_like_any_error(harness: Harness) -> None:
    cell = await asked(harness, saying(429), fallback="v2", pure=True, **ONLY_429)
    assert (cell.codes, cell.responses, cell.fallbacks) == ({429: 1}, {200: 1}, {"status": 1})


@interpreted
async def test_retries_are_counted_by_reason(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crossfade.dataplane.exchange.pick", lambda choices, draw: choices[0])
    harness.refusing("v3")
    harness.another_endpoint("v3")
    harness.use(route("v3"))
    client = await harness.client()
    await client.send(get())
    await client.answer()
    cell = await harness.cell("v3")
    assert (cell.retries, cell.fallbacks, cell.codes) == ({"connect": 1}, {}, {200: 1})


async def test_a_fallback_where_nothing_was_sent_has_the_status_of_the_failure_table(
    harness: Harness,
) -> None:
    harness.refusing("v3")
    harness.backend("v2")
    harness.use(route("v3", fallback="v2"))
    client = await harness.client()
    await client.send(get())
    await client.answer()
    cell = await harness.cell("v3")
    assert (cell.codes, cell.responses, cell.fallbacks) == ({502: 1}, {200: 1}, {"connect": 1})


# ── answers without a prediction ──────────────────────────────────────────────────────────────────

SCORE, LABEL = Prediction(("p",)), Prediction(label=("class",))
BOTH = Prediction(("p",), ("class",), decision=0.5)


@pytest.mark.parametrize(
    ("prediction", "body", "unreadable", "scoreless"),
    [
        (SCORE, b'{"p": 0.3}', 0, 0),
        (SCORE, b'{"p": "0.3"}', 1, 1),
        (SCORE, b'{"score": 0.3}', 1, 1),
        (SCORE, b"0.3", 1, 1),
        (SCORE, b"", 1, 1),
        (SCORE, b"<html>", 1, 1),
        (LABEL, b'{"class": "yes"}', 0, 0),
        (LABEL, b'{"class": "%b"}' % (b"x" * 300), 0, 0),
        (LABEL, b'{"class": null}', 1, 0),
        (LABEL, b'{"class": ["yes"]}', 1, 0),
        (BOTH, b'{"p": 0.3, "class": 1}', 0, 0),
        (BOTH, b'{"p": 0.3}', 1, 0),
        (BOTH, b'{"class": 1}', 1, 1),
    ],
)
async def test_an_answer_that_says_no_prediction_is_unreadable(
    harness: Harness, prediction: Prediction, body: bytes, unreadable: int, scoreless: int
) -> None:
    cell = await asked(harness, saying(200, body), prediction=prediction)
    assert (cell.read, cell.answers, cell.unreadable, cell.scoreless) == (1, 1, unreadable, scoreless)


async def test_an_unreadable_answer_to_a_keyed_request_is_kept_with_its_key(harness: Harness) -> None:
    options: dict[str, Any] = {"sticky": sticky("header", "x-customer"), "prediction": SCORE}
    cell = await asked(harness, saying(200, b"{}"), 2, **options)
    key = hash_of(b"ann", salt_of("churn"))
    assert cell.events == {UNREADABLE: Events(keyed=2, keys=[key, key])}


@pytest.mark.parametrize("status", [404, 500])
async def test_a_rejection_or_an_error_is_not_unreadable_as_well(harness: Harness, status: int) -> None:
    cell = await asked(harness, saying(status), prediction=SCORE)
    assert (cell.read, cell.answers, cell.unreadable, cell.scoreless) == (1, 0, 0, 0)


@pytest.mark.parametrize("body", [b'{"p": null}', b'{"p": NaN}', b'{"p": 1e999}'])
async def test_an_answer_with_no_number_where_one_belongs_is_an_error(harness: Harness, body: bytes) -> None:
    cell = await asked(harness, saying(200, body), prediction=SCORE)
    assert (cell.errors, cell.faults, cell.unreadable) == (1, {"not_a_number": 1}, 0)
    assert (cell.requests, cell.codes, cell.scoreless) == (1, {200: 1}, 1)


@pytest.mark.parametrize(
    ("body", "coding", "unreadable", "scoreless", "dropped"),
    [
        (compress(b'{"p": 0.3}'), b"gzip", 0, 0, {}),
        (b"\x1f\x8b??", b"gzip", 1, 1, {"unreadable": 1}),
        (b"??", b"x-unknown", 0, 1, {"encoding": 1}),
    ],
    ids=["gzip", "not gzip", "unknown"],
)
async def test_a_compressed_answer_is_read_and_lost_where_the_proxy_does_not_know_the_coding(
    harness: Harness, body: bytes, coding: bytes, unreadable: int, scoreless: int, dropped: dict[str, int]
) -> None:
    answer = saying(200, body, b"Content-Encoding: " + coding + b"\r\n")
    cell = await asked(harness, answer, prediction=SCORE)
    assert (cell.answers, cell.unreadable, cell.scoreless) == (1, unreadable, scoreless)
    assert harness.plane.recorder.table.dropped == dropped
