"""Rows of different requests are scored together: how many, how long they wait, and that nobody notices.

Waits of an hour show that nobody waits; what waits is seen by the turns of the event loop, never by the time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from crossfade_backends.batching import (
    Batcher,
    BatchLimits,
    mean_gap,
    patience_after,
    worth_waiting_for,
)
from crossfade_backends.data import FEATURES, FloatArray, as_request, draw_sample
from crossfade_backends.scoring import load_served_model
from tests.backends.serving import ROW, TENSOR, fetch, serving

HOUR = 3600.0
BAD = -1.0  # no model can score this row
seconds = st.floats(0, HOUR)
limits_ = st.builds(BatchLimits, st.integers(1, 1000), st.floats(0, 1))


@given(gap=seconds, limits=limits_)
def test_a_batch_waits_for_one_row_to_the_limit(gap, limits):
    assert 1 <= worth_waiting_for(gap, limits) <= limits.rows
    if gap > limits.wait or limits.wait == 0:
        assert worth_waiting_for(gap, limits) == 1


@given(gaps=st.tuples(seconds, seconds), limits=limits_)
def test_fewer_requests_are_never_waited_for_longer(gaps, limits):
    often, seldom = sorted(gaps)
    assert worth_waiting_for(often, limits) >= worth_waiting_for(seldom, limits)


@pytest.mark.parametrize(
    ("gap", "rows"), [(0.0021, 1), (0.002, 2), (0.0011, 2), (0.0005, 5), (0.0001, 21), (1e-9, 64), (0.0, 64)]
)
def test_a_batch_waits_for_the_rows_expected_in_two_milliseconds(gap, rows):
    assert worth_waiting_for(gap, BatchLimits(64, 0.002)) == rows


@given(before=st.floats(0, 16), wait=st.floats(0.001, 1), silence=st.floats(16, 1e6))
def test_after_a_silence_nobody_waits(before, wait, silence):
    gap = mean_gap(before * wait, silence * wait, wait)
    assert worth_waiting_for(gap, BatchLimits(64, wait)) == 1


@given(wait=st.floats(0.001, 1), share=st.floats(0, 0.5), silence=st.floats(16, 1e6))
def test_a_burst_after_a_silence_is_noticed_within_fifty_requests(wait, share, silence):
    gap = mean_gap(16 * wait, silence * wait, wait)
    for _ in range(50):
        gap = mean_gap(gap, share * wait, wait)
    assert worth_waiting_for(gap, BatchLimits(64, wait)) > 1


def test_waits_in_vain_are_followed_by_more_and_more_batches_that_do_not_wait():
    assert [patience_after(times) for times in range(8)] == [0, 1, 3, 7, 15, 31, 63, 63]


class Scored:
    """A batcher whose model doubles the first feature, and what it was asked. All requests come at one time."""

    def __init__(self, rows: int, wait: float = 0.0) -> None:
        self.sizes: list[int] = []
        self.waits: list[float] = []
        self.batcher = Batcher(BatchLimits(rows, wait), self.score, self.observe, lambda: 0.0)

    def score(self, matrix: FloatArray) -> FloatArray:
        if (matrix == BAD).any():
            raise ValueError("a bad row")
        return matrix[:, 0] * 2

    def observe(self, rows: int, waited: float) -> None:
        self.sizes.append(rows)
        self.waits.append(waited)

    def ask(self, *values: float) -> Coroutine[Any, Any, FloatArray]:
        return self.batcher.score(np.array([[value] * len(FEATURES) for value in values]))

    async def burst(self) -> None:
        """So many that a batch is worth waiting for."""
        await asyncio.gather(*(self.ask(1) for _ in range(100 * self.batcher._limits.rows)))
        self.sizes.clear()


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_requests_of_one_turn_are_scored_together_at_most_so_many_rows():
    scored = Scored(rows=4)
    answers = await asyncio.gather(*(scored.ask(value) for value in range(10)))
    assert [answer.tolist() for answer in answers] == [[2.0 * value] for value in range(10)]
    assert scored.sizes == [4, 4, 2]


@given(
    requests=st.lists(st.lists(st.sampled_from([1.0, 2.0, 3.0, BAD]), min_size=1, max_size=9), max_size=20),
    rows=st.integers(1, 8),
    wait=st.sampled_from([0.0, 0.001]),
)
def test_each_request_gets_its_own_scores_or_its_own_error(requests, rows, wait):
    scored = Scored(rows, wait)

    async def ask_all() -> list[FloatArray | BaseException]:
        return await asyncio.gather(*(scored.ask(*values) for values in requests), return_exceptions=True)

    for values, answer in zip(requests, asyncio.run(ask_all()), strict=True):
        if BAD in values:
            assert isinstance(answer, ValueError)
        else:
            assert isinstance(answer, np.ndarray)
            assert answer.tolist() == [value * 2 for value in values]
    assert all(size <= max(rows, *map(len, requests)) for size in scored.sizes)


async def test_a_batch_that_fails_is_scored_request_by_request():
    scored = Scored(rows=64)
    found = await asyncio.gather(scored.ask(1), scored.ask(BAD, 2), scored.ask(3, 4), return_exceptions=True)
    scores = [answer.tolist() for answer in found if isinstance(answer, np.ndarray)]
    assert scores == [[2.0], [6.0, 8.0]]
    assert isinstance(found[1], ValueError)
    assert scored.sizes == [5, 1, 2, 2]


async def test_the_row_of_a_client_that_has_gone_is_not_scored():
    scored = Scored(rows=64)
    gone = asyncio.ensure_future(scored.ask(BAD))
    stayed = asyncio.ensure_future(scored.ask(2))
    await asyncio.sleep(0)
    gone.cancel()
    assert (await stayed).tolist() == [4.0]
    assert scored.sizes == [1]


async def test_a_request_in_a_while_does_not_wait():
    scored = Scored(rows=64, wait=HOUR)
    assert (await scored.ask(1)).tolist() == [2.0]


async def test_one_request_of_a_burst_waits_for_others():
    scored = Scored(rows=3, wait=HOUR)
    await scored.burst()
    first = asyncio.ensure_future(scored.ask(1))
    await turns()
    second = asyncio.ensure_future(scored.ask(2))
    await turns()
    assert not first.done()
    assert not second.done()
    third = await scored.ask(3)
    assert [(await first).tolist(), (await second).tolist(), third.tolist()] == [[2.0], [4.0], [6.0]]
    assert scored.sizes == [3]


async def test_a_request_that_does_not_fit_ends_the_wait_of_the_others():
    scored = Scored(rows=3, wait=HOUR)
    await scored.burst()
    first = asyncio.ensure_future(scored.ask(1, 2))
    await turns()
    second = asyncio.ensure_future(scored.ask(3, 4))
    assert (await first).tolist() == [2.0, 4.0]
    await asyncio.gather(scored.ask(5), second)
    assert scored.sizes == [2, 3]


async def test_a_batch_that_was_due_already_does_not_end_the_next_one():
    scored = Scored(rows=3, wait=HOUR)
    await scored.burst()
    asked = [asyncio.ensure_future(scored.ask(*values)) for values in ([1, 2], [3], [4])]
    await turns()
    assert scored.sizes == [3]
    await asyncio.gather(*asked, scored.ask(5, 6))
    assert scored.sizes == [3, 3]


@pytest.mark.parametrize("rows", [1, 2])
def test_a_request_with_as_many_rows_as_a_batch_is_scored_at_once(rows):
    scored = Scored(rows)

    async def ask() -> FloatArray:
        await asyncio.sleep(0)
        return await scored.ask(*[3.0] * rows)

    asking = ask()
    asking.send(None)
    with pytest.raises(StopIteration) as ended:
        asking.send(None)
    assert ended.value.value.tolist() == [6.0] * rows


@pytest.fixture
def timers(monkeypatch: pytest.MonkeyPatch) -> list[asyncio.TimerHandle]:
    """The waits of batches that have begun."""
    begun: list[asyncio.TimerHandle] = []
    call_later = asyncio.BaseEventLoop.call_later

    def noted(loop: asyncio.BaseEventLoop, delay: float, callback: Any, *args: Any, **more: Any) -> Any:
        handle = call_later(loop, delay, callback, *args, **more)
        if callback.__name__ == "_end_wait":
            begun.append(handle)
        return handle

    monkeypatch.setattr(asyncio.BaseEventLoop, "call_later", noted)
    return begun


async def lone_waits(scored: Scored, timers: list[asyncio.TimerHandle], requests: int) -> list[int]:
    """Which of so many requests, each after the answer to the one before, have waited."""
    waited = []
    for number in range(1, requests + 1):
        before = len(timers)
        await scored.ask(1)
        if len(timers) > before:
            waited.append(number)
    return waited


async def test_a_client_that_asks_again_and_again_alone_seldom_waits(timers):
    scored = Scored(rows=64, wait=0.001)
    await scored.burst()
    assert await lone_waits(scored, timers, 127) == [1, 3, 7, 15, 31, 63, 127]


@pytest.mark.parametrize("rows", [2, 64], ids=["a full batch", "the end of the wait"])
async def test_after_a_wait_that_met_a_row_the_next_ones_wait_again(timers, rows):
    scored = Scored(rows, wait=0.001)
    await scored.burst()
    assert await lone_waits(scored, timers, 6) == [1, 3]
    scored.sizes.clear()
    await asyncio.gather(scored.ask(1), scored.ask(2))
    assert scored.sizes == [2]
    assert await lone_waits(scored, timers, 7) == [1, 3, 7]


async def test_a_wait_ends_with_its_batch(timers):
    scored = Scored(rows=2, wait=HOUR)
    await scored.burst()
    await asyncio.gather(scored.ask(1), scored.ask(2))
    assert timers and all(handle.cancelled() for handle in timers)


# With real models, over real sockets


@pytest.mark.parametrize("version", ["v2", "v3", "v4"])
async def test_a_row_has_the_same_score_in_batches_of_every_size(registry, version):
    model = load_served_model(registry, "churn", version)
    sample = draw_sample(700, 12).features
    alone = [model.score(row[np.newaxis])[0] for row in sample]
    for size in (*range(2, 68), 129, 500, 700):
        assert model.score(sample[-size:]).tolist() == alone[-size:]


def batches(text: str) -> tuple[float, float]:
    """How often the model was called, and for how many rows."""
    [family] = [f for f in text_string_to_metric_families(text) if f.name == "model_server_batch_rows"]
    values = {sample.name: sample.value for sample in family.samples}
    return values["model_server_batch_rows_count"], values["model_server_batch_rows_sum"]


@pytest.mark.parametrize("limits", [BatchLimits(), BatchLimits(16, 0.002)], ids=["no wait", "wait"])
async def test_requests_at_once_get_the_answers_that_they_get_alone(registry: Path, limits: BatchLimits):
    model = load_served_model(registry, "churn", "v3")
    sample = draw_sample(40, 5)
    expected = model.score(sample.features).tolist()
    bodies = [as_request(sample, index) for index in range(40)]
    tensors = {"inputs": [TENSOR | {"shape": [3, 5], "data": sample.features[:3].ravel().tolist()}]}
    async with serving(registry, batch=limits) as client:
        calls, rows = 0.0, 0.0
        while calls * 47 == rows * 42:  # until requests were scored together
            found, (_, several), (_, inferred), (wrong, _) = await asyncio.gather(
                asyncio.gather(*(fetch(client, "POST", "/predict", json=body) for body in bodies)),
                fetch(client, "POST", "/batch", json={"rows": bodies[:4]}),
                fetch(client, "POST", "/v2/models/churn/infer", json=tensors),
                fetch(client, "POST", "/predict", json=ROW | {"support_tickets_90d": -1}),
            )
            assert [answer["churn_probability"] for _, answer in found] == expected
            assert [answer["customer_id"] for _, answer in found] == [body["customer_id"] for body in bodies]
            assert [each["churn_probability"] for each in several["predictions"]] == expected[:4]
            assert inferred["outputs"][0]["data"] == expected[:3]
            assert wrong == 422
            async with client.get("/metrics") as answer:
                calls, rows = batches(await answer.text())
        assert rows % 47 == 0


async def test_a_fault_distorts_only_its_own_request(registry: Path):
    sample = draw_sample(40, 5)
    expected = load_served_model(registry, "churn", "v3").score(sample.features).tolist()
    async with serving(registry) as client:
        await fetch(client, "PUT", "/faults", json={"wrong_scores": 0.5})
        found = await asyncio.gather(
            *(fetch(client, "POST", "/predict", json=as_request(sample, index)) for index in range(40))
        )
    wrong = 0
    for (_, answer), right in zip(found, expected, strict=True):
        assert answer["churn_probability"] in (right, 1 - right)
        wrong += answer["churn_probability"] != right
    assert 0 < wrong < 40
