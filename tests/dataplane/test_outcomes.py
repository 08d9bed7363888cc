"""Recorder, access log and comparison read an outcome, and nothing else of an exchange: outcomes are made by hand here."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from crossfade.dataplane import observe
from crossfade.dataplane.access_log import ENCODE, line_of
from crossfade.dataplane.comparison import Comparison
from crossfade.dataplane.outcome import Outcome, is_failure
from crossfade.dataplane.recorder import Recorder
from crossfade.errors import Stage
from crossfade.http1.lines import Start
from crossfade.routing.router import AssignedBackend, CompiledRoute
from crossfade.routing.snapshot import Mirror, Prediction
from crossfade.stats.counts import ERROR, Cell, Events
from crossfade.stats.observation import Observation
from crossfade.stats.pairs import Pairs
from crossfade.stats.scores import bucket_of_score
from tests.build import interpreted
from tests.dataplane.plane import route

POST = Start(b"POST", b"/predict?token=secret", b"1")
BEGAN, ENDED = 100.0, 100.5
SCORE = Prediction(("p",), ("class",), segment=(("country",), ("plan", "name")))
ANSWER = b'{"p": 0.25, "class": "low", "country": "DE", "plan": {"name": "pro"}}'


def on(**options: Any) -> dict[str, Any]:
    """Outcome fields of a request that v2 was assigned on this route."""
    compiled = CompiledRoute(route("v2", **options))
    (assigned,) = compiled.assignable
    return {"route": compiled, "assigned": assigned, "answered_by": "v2", "endpoint": b"v2:80"}


def outcome(status: int = 200, first_byte_at: float = 100.25, **fields: Any) -> Outcome:
    return Outcome(b"abc", b"10.0.0.1", POST, BEGAN, ENDED, status, first_byte_at=first_byte_at, **fields)


def recorded(*outcomes: Outcome) -> tuple[Cell, Recorder]:
    recorder = Recorder()
    for each in outcomes:
        assert each.assigned is not None
        recorder.record(each, each.assigned)
    (cell,) = recorder.table.cells.values()
    return cell, recorder


# ── the recorder ──────────────────────────────────────────────────────────────────────────────────


def test_an_answer_counts_its_status_and_its_times() -> None:
    cell, _ = recorded(outcome(201, **on()))
    assert cell.key == ("churn", "v2", "champion", 1)
    assert (cell.requests, cell.codes, cell.unkeyed, cell.errors) == (1, {201: 1}, 1, 0)
    assert (cell.duration.total, cell.first_byte.total) == (0.5, 0.25)
    assert cell.recent == [False]


def test_a_failure_that_the_fallback_answered_counts_against_the_backend_assigned() -> None:
    fields = {"stages": (Stage.CONNECT,), "fell_back": True, "blamed": True, "key": 7}
    cell, _ = recorded(outcome(**on() | fields))
    assert (cell.errors, cell.fell_back, cell.failures, cell.recent) == (1, 1, {"connect": 1}, [True])
    assert cell.events == {ERROR: Events(keyed=1, keys=[7])}


def test_an_abandoned_exchange_gives_no_duration_and_no_error() -> None:
    cell, _ = recorded(outcome(499, 0.0, abandoned=True, stages=(Stage.CLIENT_LEFT,), **on()))
    assert (cell.requests, cell.abandoned, cell.errors, cell.duration.count) == (1, 1, 0, 0)
    assert cell.recent == []


def test_limits_that_a_sweep_has_counted_are_not_counted_again() -> None:
    limits = {"v2": (("p50", 0.1), ("p90", 0.2), ("p99", 0.9))}
    cell, _ = recorded(outcome(slow=1, early=1, **on(limits=limits)))
    assert cell.events == {"p50": Events(early=-1), "p90": Events(unkeyed=1)}


def test_a_run_of_usual_exchanges_counts_what_single_outcomes_count() -> None:
    fields = on()
    assigned: AssignedBackend = fields["assigned"]
    recorder = Recorder()
    recorder.usual(assigned, BEGAN, ENDED, ENDED, None)
    recorder.usual(assigned, BEGAN, 100.25, ENDED, 7)
    (run,) = recorder.table.cells.values()
    single, _ = recorded(outcome(first_byte_at=ENDED, **fields), outcome(key=7, **fields))
    assert run == single


# ── observations ──────────────────────────────────────────────────────────────────────────────────


def test_an_observation_holds_what_the_answer_said_and_the_join_key() -> None:
    cell, recorder = recorded(outcome(key=7, said=ANSWER, **on(prediction=SCORE)))
    (found,) = recorder.take_observations()
    assert abs(found.at - datetime.now(UTC).timestamp()) < 60
    assert msgspec.structs.replace(found, at=0.0) == Observation(
        "abc", 0.0, "churn", "v2", "v2", 1, 7, 0.25, "low", ("DE", "pro")
    )
    assert cell.keyed_scores == [(7, bucket_of_score(0.25))]


def test_the_answer_of_the_fallback_is_observed_and_its_score_not_counted() -> None:
    fields = on(prediction=SCORE) | {"fell_back": True, "answered_by": "v1", "stages": (Stage.CONNECT,)}
    cell, recorder = recorded(outcome(said=ANSWER, **fields))
    (found,) = recorder.take_observations()
    assert (found.backend, found.answered_by, cell.scores.count) == ("v2", "v1", 0)


@pytest.mark.parametrize(
    ("prediction", "said", "reason"),
    [
        (SCORE, b"[]", "no_score"),
        (SCORE, None, "body_size"),
        (Prediction(label=("class",)), None, "body_size"),
        (Prediction(label=("class",)), b"[]", ""),  # nothing was said, so nothing is dropped
        (Prediction(label=("class",)), b'{"class": 99999999999999999999}', ""),
    ],
)
def test_an_answer_that_says_nothing_is_no_observation(
    prediction: Prediction, said: bytes | None, reason: str
) -> None:
    _, recorder = recorded(outcome(said=said, **on(prediction=prediction)))
    assert recorder.take_observations() == []
    assert recorder.take().dropped == ({reason: 1} if reason else {})


@interpreted
def test_observations_of_a_route_are_bounded_for_each_report_and_drops_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(observe, "OBSERVED", 2)
    one = outcome(said=ANSWER, **on(prediction=SCORE))
    cell, recorder = recorded(*[one] * 5)
    assert cell.scores.count == 5
    assert (len(recorder.take_observations()), recorder.take().dropped) == (2, {"observations": 3})
    assert one.assigned is not None
    recorder.record(one, one.assigned)
    assert (len(recorder.take_observations()), recorder.take().dropped) == (1, {})


def test_routes_without_a_prediction_give_no_observations() -> None:
    _, recorder = recorded(outcome(said=ANSWER, **on()))
    assert (recorder.take_observations(), recorder.take().dropped) == ([], {})


# ── the access log ────────────────────────────────────────────────────────────────────────────────


def test_a_line_says_what_the_outcome_says() -> None:
    made = outcome(502, key=7, stages=(Stage.CONNECT,), bytes_in=5, bytes_out=4, **on())
    line = json.loads(ENCODE(line_of(made, query=False)))
    assert abs(datetime.fromisoformat(line.pop("time")) - datetime.now(UTC)) < timedelta(minutes=1)
    assert line == {
        "request_id": "abc", "client": "10.0.0.1", "method": "POST", "target": "/predict", "route": "churn",
        "backend": "v2", "role": "champion", "ledger_version": 1, "keyed": True, "answered_by": "v2",
        "endpoint": "v2:80", "status": 502, "failures": ["upstream/connect"], "bytes_in": 5, "bytes_out": 4,
        "first_byte": 0.25, "duration": 0.5,
    }  # fmt: skip


def test_a_line_of_a_request_without_a_backend_names_none() -> None:
    line = line_of(outcome(404, 0.0, stages=(Stage.NO_ROUTE,)), query=True)
    assert (line.target, line.route, line.backend, line.answered_by) == (
        POST.target.decode(),
        None,
        None,
        None,
    )


@pytest.mark.parametrize(
    ("status", "stages", "failed"),
    [
        (200, (), False),
        (500, (), True),
        (200, (Stage.CONNECT,), True),
        (499, (Stage.CLIENT_LEFT,), False),
        (503, (Stage.OVERLOAD,), True),
    ],
)
def test_a_failure_is_one_of_a_model_or_of_the_proxy(
    status: int, stages: tuple[Stage, ...], failed: bool
) -> None:
    assert is_failure(status, stages) is failed


# ── the comparison ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("fields", "pairs", "dropped"),
    [
        ({}, 1, {}),
        ({"status": 404}, 0, {"pair_status": 1}),
        ({"fell_back": True}, 0, {"pair_status": 1}),
        ({"blamed": True}, 0, {"pair_status": 1}),
        ({"said": None}, 0, {"pair_body_size": 1}),
        ({"said": b"{}"}, 0, {"pair_decision": 1}),
    ],
)
def test_a_pair_needs_a_decision_in_the_champion_s_answer(
    fields: dict[str, Any], pairs: int, dropped: dict[str, int]
) -> None:
    recorder = Recorder()
    live = outcome(**on(prediction=Prediction(("p",), decision=0.5)) | {"said": b'{"p": 0.4}'} | fields)
    assert live.route is not None
    comparison = Comparison(recorder, live.route, None, "v2", Mirror("v3", 10_000), 0.0)
    comparison.on_copy(200, b'{"p": 0.6}')
    comparison.on_live(live)
    comparison.join()
    found = [cell.pairs for cell in recorder.table.cells.values()]
    assert found == [Pairs(n=1, changed=1, raised=1)] * pairs
    assert recorder.table.dropped == dropped
