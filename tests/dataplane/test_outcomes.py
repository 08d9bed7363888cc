"""The recorder, the access log and the comparison read only the outcome of an exchange. These tests construct the outcomes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.dataplane.log_line import LONGEST_TARGET, LineWriter
from crossfade.dataplane.outcome import Outcome, is_failure
from crossfade.dataplane.recorder import Recorder
from crossfade.errors import Stage
from crossfade.http1.lines import Start
from crossfade.quality.prediction import Prediction, SegmentSource
from crossfade.routing.router import AssignedBackend, CompiledRoute
from crossfade.stats.counts import ERROR, Cell, Events
from tests.dataplane.plane import route

POST = Start(b"POST", b"/predict?token=secret", b"1")
BEGAN, ENDED = 100.0, 100.5
PREDICTION = Prediction(
    ("p",), ("class",), segment=(SegmentSource("answer", "country"), SegmentSource("answer", "plan.name"))
)
ANSWER = b'{"p": 0.25, "class": "low", "country": "DE", "plan": {"name": "pro"}}'


def assigned_fields(**options: Any) -> dict[str, Any]:
    """Outcome fields of a request with v2 as the assigned backend."""
    compiled = CompiledRoute(route("v2", **options))
    (assigned,) = compiled.assignable
    return {"route": compiled, "assigned": assigned, "answered_by": "v2", "endpoint": b"v2:80"}


def outcome(status: int = 200, first_byte_at: float = 100.25, **fields: Any) -> Outcome:
    made = Outcome(b"abc", b"10.0.0.1", POST, BEGAN, ENDED, status)
    made.first_byte_at = first_byte_at
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def recorded(*outcomes: Outcome) -> tuple[Cell, Recorder]:
    recorder = Recorder()
    for one in outcomes:
        assert one.assigned is not None
        recorder.record(one, one.assigned)
    (cell,) = recorder.table.cells.values()
    return cell, recorder


# ── the recorder ──────────────────────────────────────────────────────────────────────────────────


def test_an_answer_is_counted_with_its_status_and_times() -> None:
    cell, _ = recorded(outcome(201, **assigned_fields()))
    assert cell.key == ("churn", "v2", "champion", 1, 0)
    assert (cell.requests, cell.codes, cell.unkeyed, cell.errors) == (1, {201: 1}, 1, 0)
    assert (cell.duration.total, cell.first_byte.total) == (0.5, 0.25)
    assert cell.recent == [False]


def test_a_failure_with_a_fallback_answer_counts_against_the_assigned_backend() -> None:
    fields = {"stages": (Stage.CONNECT,), "fell_back": True, "blamed": True, "key": 7}
    cell, _ = recorded(outcome(**assigned_fields() | fields))
    assert (cell.errors, cell.fell_back, cell.failures, cell.recent) == (1, 1, {"connect": 1}, [True])
    assert cell.events == {ERROR: Events(keyed=1, keys=[7])}


def test_an_abandoned_exchange_counts_no_duration_and_no_error() -> None:
    cell, _ = recorded(outcome(499, 0.0, abandoned=True, stages=(Stage.CLIENT_LEFT,), **assigned_fields()))
    assert (cell.requests, cell.abandoned, cell.errors, cell.duration.count) == (1, 1, 0, 0)
    assert cell.recent == []


def test_latency_limits_that_a_sweep_has_counted_are_not_counted_again() -> None:
    limits = {"v2": (("p50", 0.1), ("p90", 0.2), ("p99", 0.9))}
    cell, _ = recorded(outcome(slow=1, early=1, **assigned_fields(limits=limits)))
    assert cell.events == {"p50": Events(early=-1), "p90": Events(unkeyed=1)}


def test_usual_exchanges_give_the_same_counts_as_their_outcomes() -> None:
    fields = assigned_fields()
    assigned: AssignedBackend = fields["assigned"]
    recorder = Recorder()
    recorder.usual(assigned, BEGAN, ENDED, ENDED, None, None)
    recorder.usual(assigned, BEGAN, 100.25, ENDED, 7, None)
    (usual,) = recorder.table.cells.values()
    expected, _ = recorded(outcome(first_byte_at=ENDED, **fields), outcome(key=7, **fields))
    assert usual == expected


# ── the access log ────────────────────────────────────────────────────────────────────────────────

NOON = datetime(2026, 11, 27, 12, 0, 0, 750_000, tzinfo=UTC).timestamp()


def logged(made: Outcome, query: bool = False) -> dict[str, Any]:
    line: dict[str, Any] = json.loads(LineWriter(query).line(made, NOON))
    return line


def test_a_line_has_the_fields_of_the_outcome() -> None:
    failed = outcome(502, key=7, stages=(Stage.CONNECT,), bytes_in=5, bytes_out=4, **assigned_fields())
    line = logged(failed)
    assert datetime.fromisoformat(line.pop("time")) == datetime(2026, 11, 27, 12, 0, 0, 250_000, tzinfo=UTC)
    assert line == {
        "request_id": "abc", "client": "10.0.0.1", "method": "POST", "target": "/predict", "route": "churn",
        "backend": "v2", "role": "champion", "ledger_version": 1, "keyed": True, "answered_by": "v2",
        "endpoint": "v2:80", "status": 502, "failures": ["upstream/connect"], "bytes_in": 5, "bytes_out": 4,
        "first_byte": 0.25, "duration": 0.5,
    }  # fmt: skip


def test_the_line_of_a_request_without_a_backend_has_no_backend() -> None:
    line = logged(outcome(404, 0.0, stages=(Stage.NO_ROUTE,)), query=True)
    assert line["target"] == POST.target.decode()
    absent = ("route", "backend", "role", "ledger_version", "keyed", "answered_by", "endpoint", "first_byte")
    assert [line[name] for name in absent] == [None] * len(absent)


def test_only_a_request_that_waited_has_the_time_in_the_queue() -> None:
    assert "queued" not in logged(outcome(**assigned_fields()))
    waited = logged(outcome(queued=1.5, **assigned_fields()))
    assert (waited["queued"], waited["time"]) == (1.5, "2026-11-27T11:59:58.750000Z")


@given(
    st.text(st.characters(codec="ascii", min_codepoint=33, exclude_characters="#%\x7f")), st.floats(0, 1e6)
)
def test_any_target_and_any_duration_can_be_read_again(target: str, seconds: float) -> None:
    request = Start(b"GET", b"/" + target.encode(), b"1")
    made = Outcome(b"abc", b"10.0.0.1", request, 0.0, seconds, 200)
    line = logged(made, query=True)
    assert line["target"] == ("/" + target)[:LONGEST_TARGET]
    assert line["duration"] == pytest.approx(seconds, abs=1e-6)
    assert datetime.fromisoformat(line["time"]).timestamp() == pytest.approx(NOON - seconds, abs=2e-6)


def test_a_line_follows_the_clock_into_the_next_second_and_back() -> None:
    writer, made = LineWriter(query=False), Outcome(b"abc", b"10.0.0.1", POST, 0.0, 0.0, 200)
    times = [json.loads(writer.line(made, NOON + after))["time"][-10:] for after in (-0.25, 0.25, -0.5)]
    assert times == ["00.500000Z", "01.000000Z", "00.250000Z"]


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
def test_only_failures_of_a_model_or_of_the_proxy_are_failures(
    status: int, stages: tuple[Stage, ...], failed: bool
) -> None:
    assert is_failure(status, stages) is failed
