"""Pairs: the champion's decision beside the challenger's for the copied request, and the champion's noise."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from crossfade.dataplane import comparison, kept_answer
from crossfade.quality.prediction import Prediction
from crossfade.quality.samples import AnswerSample, PairSample
from crossfade.routing.ledger import BUCKETS, hash_of, salt_of
from crossfade.routing.snapshot import Mirror
from crossfade.stats.counts import Cell
from crossfade.stats.distances import Distances
from crossfade.stats.paired_latency import PairedLatency
from crossfade.stats.pairs import Pair, Pairs
from tests.dataplane.plane import Harness, mirrored, route, sticky
from tests.dataplane.scripted import Conversation, Script, answering, closing, each, silent
from tests.dataplane.wire import Message, chunked, get, ok, post, wait_until

YES, NO, DECISION = b'{"out": {"p": 0.5}}', b'{"out": {"p": 0.4}}', Prediction(("out", "p"), decision=0.5)
LABEL = Prediction(label=("class",))
FAILING = answering(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n")
CREATED = answering(b"HTTP/1.1 201 Made\r\nContent-Length: %d\r\n\r\n%b" % (len(YES), YES))
IN_CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(YES[:9], YES[9:])


def ok_bodies(*bodies: bytes) -> Script:
    """Answer 200 with these bodies in order, then always with the last one."""
    left = list(bodies)

    async def handler(conversation: Conversation, request: Message) -> None:
        await conversation.send(ok(left.pop(0) if len(left) > 1 else left[0]))

    return each(handler)


def noise_mirror(noise: int = BUCKETS, sample: int = BUCKETS) -> tuple[Mirror, ...]:
    return (Mirror("v3", sample, noise),)


async def ask(harness: Harness, times: int = 1) -> None:
    client = await harness.client()
    for _ in range(times):
        await client.send(post(b"{}", fields=[b"x-customer: ann"]))
        await client.answer()
    await harness.quiet()


async def compared(
    harness: Harness, champion: Script, challenger: Script, times: int = 1, **options: Any
) -> Cell:
    harness.backend("v2", champion)
    harness.backend("v3", challenger, first_byte_timeout=5.0)
    defaults: dict[str, Any] = {"mirrors": mirrored("v3"), "prediction": DECISION}
    harness.use(route("v2", **defaults | options))
    await ask(harness, times)
    return await harness.shadow("v3") or Cell("churn", "v3", "shadow", 1)


def decisions(cell: Cell) -> Pairs:
    """The pairs without what is measured beside the decisions."""
    return replace(cell.pairs, distances=Distances(), segments={}, latency=PairedLatency())


def dropped(harness: Harness) -> dict[str, int]:
    return harness.plane.recorder.table.dropped


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


async def hanging(conversation: Conversation, request: Message) -> None:
    await asyncio.Event().wait()


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


# ── the champion's own noise ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("second", "challenger", "expected"),
    [
        (YES, YES, Pairs(n=1, chances=1, twice=1)),
        (YES, NO, Pairs(n=1, changed=1, lowered=1, chances=1, twice=1)),
        (NO, YES, Pairs(n=1, chances=1, twice=1, noise=1)),
        (NO, NO, Pairs(n=1, changed=1, lowered=1, chances=1, twice=1, noise=1, both=1)),
        (b"?", YES, Pairs(n=1, chances=1, twice=1, noise=1)),
    ],
)
async def test_the_champion_s_second_answer_is_compared_with_its_first(
    harness: Harness, second: bytes, challenger: bytes, expected: Pairs
) -> None:
    """A second answer that cannot be read counts as noise of the champion."""
    cell = await compared(harness, ok_bodies(YES, second), ok_bodies(challenger), mirrors=noise_mirror())
    assert (decisions(cell), dropped(harness)) == (expected, {})
    live, again = harness.backends["v2"].requests
    assert (live.first, live.body) == (again.first, again.body)
    assert (live.field("x-crossfade-mirror"), again.field("x-crossfade-mirror")) == (None, b"1")
    assert (harness.mirrors("v2"), harness.mirrors("v3")) == ({"sent": 1}, {"sent": 1})
    assert (await harness.cell("v2")).requests == 1
    assert await harness.shadow("v2") is None, "the second answer counts in the pair only"


@pytest.mark.parametrize("second", [b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", b"garbage\r\n\r\n", b""])
async def test_a_failed_second_answer_counts_as_noise(harness: Harness, second: bytes) -> None:
    requests = 0

    async def once(conversation: Conversation) -> None:
        nonlocal requests
        await conversation.request()
        requests += 1
        await conversation.send(ok(YES) if requests == 1 else second)
        conversation.close()

    cell = await compared(harness, once, ok_bodies(YES), mirrors=noise_mirror())
    assert (decisions(cell), dropped(harness)) == (Pairs(n=1, chances=1, twice=1, noise=1), {})


async def test_a_second_request_that_is_dropped_counts_as_noise(harness: Harness) -> None:
    async def last(conversation: Conversation, request: Message) -> None:
        harness.down("v2")
        harness.use(route("v2", mirrors=noise_mirror(), prediction=DECISION))
        await conversation.send(ok(YES))

    cell = await compared(harness, each(last), ok_bodies(YES), mirrors=noise_mirror())
    assert (harness.mirrors("v2"), dropped(harness)) == ({"dropped_no_endpoint": 1}, {})
    assert decisions(cell) == Pairs(n=1, chances=1, twice=1, noise=1)


async def test_the_copy_of_a_pair_asked_twice_is_sent_beside_the_second_request(harness: Harness) -> None:
    """So that the latencies of both are comparable."""
    order: list[str] = []

    def noted(name: str) -> Script:
        async def handler(conversation: Conversation, request: Message) -> None:
            order.append(name if request.field("x-crossfade-mirror") is None else f"{name} again")
            if len(order) == 1:
                await asyncio.sleep(0.05)
            await conversation.send(ok(YES))

        return each(handler)

    cell = await compared(harness, noted("v2"), noted("v3"), mirrors=noise_mirror())
    assert order[0] == "v2" and sorted(order[1:]) == ["v2 again", "v3 again"]
    assert cell.pairs.latency.both


async def test_each_pipelined_request_makes_a_pair(harness: Harness) -> None:
    harness.backend("v2", ok_bodies(YES))
    harness.backend("v3", ok_bodies(NO))
    harness.use(route("v2", mirrors=noise_mirror(), prediction=DECISION))
    client = await harness.client()
    await client.send(get() * 20)
    for _ in range(20):
        assert (await client.answer()).body == YES
    shadow = await harness.shadow("v3")
    assert shadow is not None
    assert decisions(shadow) == Pairs(n=20, changed=20, lowered=20, chances=20, twice=20)


async def test_a_share_of_requests_is_asked_twice(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    draws = iter([0.3, 0.1, 0.24, 0.9])
    monkeypatch.setattr(comparison, "random", lambda: next(draws))
    cell = await compared(harness, ok_bodies(YES), ok_bodies(YES), 4, mirrors=noise_mirror(BUCKETS // 4))
    assert decisions(cell) == Pairs(n=4, chances=1.0, twice=2)
    assert len(harness.backends["v2"].requests) == 6


async def test_the_champion_is_asked_twice_only_after_the_client_has_its_answer(harness: Harness) -> None:
    """The client goes on with further requests while the second answer hangs."""
    mirrored_flags: list[bool] = []

    async def hanging(conversation: Conversation, request: Message) -> None:
        mirrored_flags.append(request.field("x-crossfade-mirror") is not None)
        if mirrored_flags[-1]:
            assert answered
            await asyncio.Event().wait()
        await conversation.send(ok(YES))

    answered: list[bytes] = []
    harness.backend("v2", each(hanging), first_byte_timeout=60.0)
    harness.backend("v3", ok_bodies(YES))
    harness.use(route("v2", mirrors=noise_mirror(), prediction=DECISION))
    client = await harness.client()
    for n in range(3):
        await client.send(get())
        answered.append((await client.answer()).body)
        await wait_until(lambda n=n: sum(mirrored_flags) == n + 1, "the champion is asked twice")  # type: ignore[misc]
    assert answered == [YES] * 3
    assert harness.plane.in_flight() == {"v2": 0, "v3": 0}


# ── bounds ────────────────────────────────────────────────────────────────────────────────────────


async def test_pairs_per_report_are_bounded(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crossfade.dataplane.mirror.BEGUN", 3)
    cell = await compared(harness, ok_bodies(YES), ok_bodies(YES), 5, mirrors=noise_mirror())
    assert (cell.pairs.n, cell.requests, dropped(harness)) == (3, 5, {"pairs": 2})
    assert harness.mirrors("v2") == {"sent": 3}
    harness.plane.recorder.take()
    await ask(harness)
    shadow = await harness.shadow("v3")
    assert shadow is not None and shadow.pairs.n == 1


async def test_the_bytes_of_all_answers_of_a_pair_count_in_the_limit_of_a_report(harness: Harness) -> None:
    """Those of the live answer once."""
    body = YES + b" " * 100
    for name in ("v2", "v3"):
        harness.backend(name, ok_bodies(body))
    harness.use(route("v2", mirrors=noise_mirror(), prediction=DECISION))
    await ask(harness)
    assert harness.recorder.samples.size == 3 * len(body)
    harness.recorder.samples.take()
    assert harness.recorder.samples.size == 0


async def test_waiting_pairs_are_bounded(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crossfade.dataplane.mirror.MAX_WAITING_PAIRS", 2)
    harness.backend("v2", ok_bodies(YES))
    harness.backend("v3", silent, first_byte_timeout=0.5)
    harness.use(route("v2", mirrors=mirrored("v3"), prediction=DECISION))
    client = await harness.client()
    for _ in range(5):
        await client.send(get())
        await client.answer()
    assert (len(harness.plane.mirrors.comparisons), dropped(harness)) == (2, {"pairs": 3})
    await harness.quiet()
    assert (harness.plane.mirrors.comparisons, dropped(harness)) == (set(), {"pairs": 3})
    shadow = await harness.shadow("v3")
    assert shadow is not None
    assert decisions(shadow) == Pairs(n=2, changed=2, missing=2)


@pytest.mark.parametrize("hangs", ["v2", "v3", "second"])
async def test_a_waiting_pair_is_given_up_after_a_time_limit(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, hangs: str
) -> None:
    monkeypatch.setattr(comparison, "PATIENCE", 0.0)
    monkeypatch.setattr("crossfade.dataplane.listener.SWEEP", 0.01)

    async def hanging(conversation: Conversation, request: Message) -> None:
        second = request.field("x-crossfade-mirror") is not None
        if hangs == conversation.backend.name or (
            hangs == "second" and second and conversation.backend.name == "v2"
        ):
            await asyncio.Event().wait()
        await conversation.send(ok(YES))

    harness.backend("v2", each(hanging))
    harness.backend("v3", each(hanging))
    harness.use(route("v2", mirrors=noise_mirror(), prediction=DECISION))
    client = await harness.client()
    await client.send(get())
    await wait_until(
        lambda: not harness.plane.mirrors.comparisons and harness.accepted, "the pair is given up"
    )
    harness.read_answers()
    cells = harness.plane.recorder.table.cells.values()
    pairs = [decisions(cell) for cell in cells if cell.role == "shadow"]
    if hangs == "second":
        assert (pairs, dropped(harness)) == ([Pairs(n=1, chances=1, twice=1, noise=1)], {})
    else:
        assert dropped(harness) == {"pair_time": 1}
        assert all((p.n, p.changed) == (0, 0) for p in pairs)


async def test_a_dropped_copy_leaves_no_waiting_pair(harness: Harness) -> None:
    harness.backend("v2", ok_bodies(YES))
    harness.backend("v3")
    harness.down("v3")
    harness.use(route("v2", mirrors=noise_mirror(), prediction=DECISION))
    await ask(harness)
    assert (harness.mirrors("v3"), harness.mirrors("v2")) == ({"dropped_no_endpoint": 1}, {})
    assert (harness.plane.mirrors.comparisons, dropped(harness)) == (set(), {"pair_room": 1})
    shadow = await harness.shadow("v3")
    assert shadow is not None
    assert decisions(shadow) == Pairs(lost=1)


@pytest.mark.parametrize("sample", [BUCKETS, 0])
@pytest.mark.parametrize("reported", [False, True])
async def test_a_copy_is_passed_on_with_the_answer_to_the_client_where_that_waits(
    harness: Harness, reported: bool, sample: int
) -> None:
    """Not where the answer has been reported, or is no sample."""
    released = asyncio.Event()

    async def slow(conversation: Conversation, request: Message) -> None:
        await released.wait()
        await conversation.send(ok(NO))

    harness.backend("v2", ok_bodies(YES))
    harness.backend("v3", each(slow))
    harness.use(route("v2", mirrors=mirrored("v3"), prediction=replace(DECISION, sample=sample)))
    client = await harness.client()
    await client.send(get())
    await client.answer()
    samples = harness.plane.recorder.samples
    before = samples.take() if reported else []
    released.set()
    await wait_until(lambda: not harness.plane.mirrors.comparisons, "the pair is complete")
    taken = samples.take()
    answers = [each for each in before + taken if isinstance(each, AnswerSample)]
    apart = [each for each in taken if isinstance(each, PairSample)]
    copies = [copied for each in answers for copied in each.copies] + [each.copied for each in apart]
    assert (len(answers), len(apart)) == (sample > 0, reported or not sample)
    assert [copied.copy.body for copied in copies] == [NO]
    assert [each.live.body for each in apart] == [YES] * len(apart)
