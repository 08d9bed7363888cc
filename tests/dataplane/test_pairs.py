"""Pairs: the champion's decision beside the challenger's for the copied request."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from crossfade.dataplane import kept_answer
from crossfade.quality.prediction import Prediction
from crossfade.routing.ledger import BUCKETS, hash_of, salt_of
from crossfade.routing.snapshot import Mirror
from crossfade.stats.pairs import Pair, Pairs
from tests.dataplane.pairing import (
    CREATED,
    DECISION,
    FAILING,
    IN_CHUNKS,
    LABEL,
    NO,
    YES,
    ask,
    compared,
    decisions,
    dropped,
    hanging,
    noise_mirror,
    ok_bodies,
)
from tests.dataplane.plane import Harness, mirrored, route, sticky
from tests.dataplane.scripted import Conversation, Script, answering, closing, each, silent
from tests.dataplane.wire import Message, get, ok, wait_until


@pytest.mark.parametrize(
    ("live", "copied", "expected"),
    [
        (YES, YES, Pairs(n=1)),
        (NO, YES, Pairs(n=1, changed=1, raised=1)),
        (YES, NO, Pairs(n=1, changed=1, lowered=1)),
        (b'{"out": {"p": 0.6}}', b'{"out": {"p": 1e9}}', Pairs(n=1)),
    ],
)
async def test_decisions_are_compared(harness: Harness, live: bytes, copied: bytes, expected: Pairs) -> None:
    cell = await compared(harness, ok_bodies(live), ok_bodies(copied))
    assert (decisions(cell), cell.keyed_pairs, dropped(harness)) == (expected, [], {})


@pytest.mark.parametrize(
    ("live", "copied", "expected"),
    [
        (b'"high"', b'"high"', Pairs(n=1)),
        (b'"high"', b'"low"', Pairs(n=1, changed=1)),
        (b"1", b"1.0", Pairs(n=1)),
        (b"1", b'"1"', Pairs(n=1, changed=1)),
        (b"false", b"true", Pairs(n=1, changed=1, raised=1)),
    ],
)
async def test_labels_are_compared(harness: Harness, live: bytes, copied: bytes, expected: Pairs) -> None:
    champion, challenger = (ok_bodies(b'{"class": %b}' % label) for label in (live, copied))
    cell = await compared(harness, champion, challenger, prediction=LABEL)
    assert (decisions(cell), dropped(harness)) == (expected, {})


@pytest.mark.parametrize("script", [answering(IN_CHUNKS), closing(b"HTTP/1.1 200 OK\r\n\r\n" + YES)])
async def test_copies_answered_in_any_framing_are_read(harness: Harness, script: Script) -> None:
    assert (await compared(harness, ok_bodies(NO), script)).pairs.raised == 1


async def test_a_pair_of_a_sticky_request_has_the_hash_of_its_key(harness: Harness) -> None:
    cell = await compared(harness, ok_bodies(YES), ok_bodies(NO), 2, sticky=sticky("header", "x-customer"))
    key = hash_of(b"ann", salt_of("churn"))
    assert decisions(cell) == Pairs()
    assert [pair._replace(measured=None) for pair in cell.keyed_pairs] == [
        Pair(key, True, False, 0.0, None)
    ] * 2


@pytest.mark.parametrize("first", ["v2", "v3"])
async def test_a_pair_is_complete_whichever_answer_comes_first(harness: Harness, first: str) -> None:
    released = asyncio.Event()

    async def slow(conversation: Conversation, request: Message) -> None:
        await released.wait()
        await conversation.send(ok(YES))

    for name in ("v2", "v3"):
        harness.backend(name, ok_bodies(NO) if name == first else each(slow))
    harness.use(route("v2", mirrors=mirrored("v3"), prediction=DECISION))
    client = await harness.client()
    await client.send(get())
    if first == "v2":
        await client.answer()
    else:
        await wait_until(lambda: harness.mirrors("v3"), "the copy has its answer")
    (waiting,) = harness.plane.mirrors.comparisons
    arrived = (waiting.live is not None, waiting.copied is not None)
    assert arrived == ((True, False) if first == "v2" else (False, True))
    released.set()
    if first == "v3":
        await client.answer()
    shadow = await harness.shadow("v3")
    assert shadow is not None
    assert (shadow.pairs.n, shadow.pairs.changed) == (1, 1)


# ── no pair ───────────────────────────────────────────────────────────────────────────────────────


async def uncounted(harness: Harness, champion: Script, challenger: Script) -> tuple[Pairs, dict[str, int]]:
    harness.backend("v2", champion)
    harness.backend("v3", challenger, first_byte_timeout=0.1 if challenger is silent else 5.0)
    harness.use(route("v2", mirrors=mirrored("v3"), prediction=DECISION, retry_attempts=0))
    client = await harness.client()
    await client.send(get())
    await harness.quiet()
    cell = await harness.shadow("v3")
    assert cell is not None
    assert cell.requests == 1
    return decisions(cell), {reason: n for reason, n in dropped(harness).items() if reason.startswith("pair")}


@pytest.mark.parametrize(
    "champion",
    [
        FAILING,
        CREATED,
        closing(b""),
        closing(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n" + YES),
    ],
)
async def test_without_the_champion_s_own_200_there_is_no_pair(harness: Harness, champion: Script) -> None:
    assert await uncounted(harness, champion, ok_bodies(YES)) == (Pairs(), {"pair_status": 1})


@pytest.mark.parametrize(
    "challenger",
    [
        FAILING,
        CREATED,
        silent,
        answering(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"),
        closing(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n" + YES),
        closing(b"garbage\r\n\r\n"),
        ok_bodies(b"\xff["),
        ok_bodies(b""),
        ok_bodies(b'{"out": {"p": true}}'),
        ok_bodies(b'{"out": {"p": null}}'),
        ok_bodies(b'{"out": {"p": NaN}}'),
    ],
)
async def test_a_challenger_that_gives_no_decision_has_changed_it(
    harness: Harness, challenger: Script
) -> None:
    """Law 17: a rejection, an unreadable answer or nothing is evidence, never a gap."""
    assert await uncounted(harness, ok_bodies(YES), challenger) == (Pairs(n=1, changed=1, missing=1), {})


LONG = YES + b" " * kept_answer.LARGEST


@pytest.mark.parametrize(
    ("champion", "challenger", "expected", "reason"),
    [
        (ok_bodies(b"{}"), ok_bodies(YES), Pairs(champion_lost=1), "pair_decision"),
        (ok_bodies(b"{}"), ok_bodies(b"{}"), Pairs(), "pair_decision"),
        (ok_bodies(YES), ok_bodies(LONG), Pairs(lost=1), "pair_body_size"),
        (ok_bodies(LONG), ok_bodies(YES), Pairs(champion_lost=1), "pair_body_size"),
    ],
)
async def test_a_lost_answer_is_counted_with_the_side_that_lost_it(
    harness: Harness, champion: Script, challenger: Script, expected: Pairs, reason: str
) -> None:
    assert await uncounted(harness, champion, challenger) == (expected, {reason: 1})


@pytest.mark.parametrize("label", [b"null", b"[1]", b"{}", b'"%b"' % (b"x" * 257)])
async def test_an_invalid_label_of_the_challenger_is_a_changed_decision(
    harness: Harness, label: bytes
) -> None:
    cell = await compared(
        harness, ok_bodies(b'{"class": 1}'), ok_bodies(b'{"class": %b}' % label), prediction=LABEL
    )
    assert (decisions(cell), dropped(harness)) == (Pairs(n=1, changed=1, missing=1), {})


async def test_an_answer_of_the_fallback_makes_no_pair(harness: Harness) -> None:
    harness.backend("v4", ok_bodies(YES))
    options: dict[str, Any] = {"fallback": "v4", "pure": True, "mirrors": mirrored("v3")}
    assert decisions(await compared(harness, FAILING, ok_bodies(YES), **options)) == Pairs()
    assert dropped(harness) == {"pair_status": 1}


async def client_leaves(harness: Harness, mirror: Mirror, asked: str, challenger: Script) -> None:
    """Once this backend is asked. The champion does not answer."""
    harness.backend("v2", each(hanging))
    harness.backend("v3", challenger)
    harness.use(route("v2", mirrors=(mirror,), prediction=DECISION))
    client = await harness.client()
    await client.send(get())
    await wait_until(lambda: harness.backends[asked].requests, f"{asked} is asked")
    client.close()
    await harness.quiet()


async def test_a_request_whose_client_left_makes_no_pair(harness: Harness) -> None:
    await client_leaves(harness, noise_mirror()[0], "v2", ok_bodies(YES))
    assert dropped(harness) == {"pair_abandoned": 1}
    assert harness.mirrors("v2") == {}, "the champion is not asked twice"
    assert harness.mirrors("v3") == {"sent": 1}, "the challenger gets the requests of clients that hung up"


@pytest.mark.parametrize("noise", [0, BUCKETS])
async def test_a_mirror_without_abandoned_requests_takes_its_copy_back(harness: Harness, noise: int) -> None:
    """With noise the copy would be sent when the client is gone, and is not."""
    mirror = Mirror("v3", BUCKETS, noise, abandoned=False)
    await client_leaves(harness, mirror, "v2" if noise else "v3", each(hanging))
    assert dropped(harness) == {"pair_abandoned": 1}
    assert harness.mirrors("v3") == {"dropped_abandoned": 1}
    assert len(harness.backends["v3"].requests) == (0 if noise else 1)
    assert await harness.shadow("v3") is None, "it says nothing about the challenger"


async def test_only_the_champion_s_answers_to_clients_make_pairs(harness: Harness) -> None:
    """An answer of the challenger or of another member to a client makes no pair."""
    harness.backend("v2", ok_bodies(YES))
    harness.backend("v4", ok_bodies(YES))
    harness.backend("v3", ok_bodies(NO))
    split = {"v2": 0, "v3": BUCKETS // 2, "v4": BUCKETS // 2}
    harness.use(route(split, mirrors=noise_mirror(), prediction=DECISION))
    await ask(harness, 20)
    assert (await harness.cell("v3")).requests and (await harness.cell("v4")).requests
    shadow = await harness.shadow("v3")
    assert shadow is not None
    assert (shadow.requests, decisions(shadow), dropped(harness)) == (20, Pairs(), {})


async def test_a_promoted_challenger_is_not_compared_with_itself(harness: Harness) -> None:
    harness.backend("v3", ok_bodies(YES))
    harness.use(route("v3", mirrors=noise_mirror(), prediction=DECISION))
    await ask(harness)
    shadow = await harness.shadow("v3")
    assert shadow is not None
    assert (shadow.requests, decisions(shadow), dropped(harness)) == (1, Pairs(), {})


async def test_without_a_decision_scores_are_compared(harness: Harness) -> None:
    prediction = Prediction(("out", "p"))
    cell = await compared(
        harness, ok_bodies(YES), ok_bodies(NO), prediction=prediction, mirrors=noise_mirror()
    )
    assert (decisions(cell), dropped(harness)) == (Pairs(), {})
    assert (cell.pairs.distances.n, cell.pairs.distances.twice) == (1, 1)


async def test_without_a_prediction_there_are_no_pairs(harness: Harness) -> None:
    cell = await compared(harness, ok_bodies(YES), ok_bodies(NO), prediction=None, mirrors=noise_mirror())
    assert (decisions(cell), cell.requests, dropped(harness)) == (Pairs(), 1, {})
    assert len(harness.backends["v2"].requests) == 1
    (exchange,) = harness.accepted
    assert not exchange.awaited
