"""Pairs of a report, their bytes, and pairs that wait for an answer are bounded."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from crossfade.dataplane import comparison
from crossfade.quality.samples import AnswerSample, PairSample
from crossfade.routing.ledger import BUCKETS
from crossfade.stats.pairs import Pairs
from tests.dataplane.pairing import (
    DECISION,
    NO,
    YES,
    ask,
    compared,
    decisions,
    dropped,
    noise_mirror,
    ok_bodies,
)
from tests.dataplane.plane import Harness, mirrored, route
from tests.dataplane.scripted import Conversation, each, silent
from tests.dataplane.wire import Message, get, ok, wait_until


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
