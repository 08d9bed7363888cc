"""Each law finds a violation where there is one, and none where there is none."""

from __future__ import annotations

import pytest

from tests.soak.laws import CUTS, DEAD, KILLED, SLACK, requests_violations, usage_violations
from tests.soak.measure import log_violations
from tests.soak.record import End, Fault, Record, Request, Usage

PURE = frozenset({"/predict"})


def laws_broken(record: Record) -> list[str]:
    return [violation.law for violation in requests_violations(record, PURE)]


def record_with(*faults: Fault, **fields: object) -> tuple[Record, Request]:
    """One request that was answered well, but for `fields`."""
    record = Record(begun=0.0, faults=list(faults))
    request = record.new_request("/predict", "c1")
    request.begun, request.ended, request.end, request.status = 100.0, 101.0, End.ANSWERED, 200
    request.seen = ("v2",)
    for name, value in fields.items():
        setattr(request, name, value)
    return record, request


def test_a_request_that_was_answered_once_breaks_no_law() -> None:
    record, _ = record_with()
    assert laws_broken(record) == []


def test_a_request_that_was_lost_is_found() -> None:
    record, _ = record_with(end=End.PENDING, ended=float("inf"), status=0)
    assert laws_broken(record) == ["9"]


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"status": 502, "error": "upstream/connect"}, DEAD),
        ({"status": 500}, "backend fails"),
        ({"status": 404, "error": "internal/no_route"}, "route out"),
        ({"end": End.CUT}, CUTS),
        ({"end": End.CLOSED, "status": 0}, KILLED),
    ],
)
def test_a_failure_needs_a_fault_of_its_kind_and_time(fields: dict[str, object], kind: str) -> None:
    for fault, expected in (
        (Fault(kind, "", 90.0, 95.0), []),
        (Fault(kind, "", 100.5, 110.0), []),
        (Fault(kind, "", 10.0, 100.0 - SLACK - 1), ["9"]),
        (Fault(kind, "", 102.0, 110.0), ["9"]),
        (Fault("reload by signal", "", 100.0, 101.0), ["9"]),
    ):
        record, _ = record_with(fault, **fields)
        assert laws_broken(record) == expected, fault


def test_an_answer_of_the_proxy_s_own_bug_is_never_explained() -> None:
    every = [Fault(kind, "", 90.0, 110.0) for kind in (DEAD, KILLED, CUTS, "starved")]
    record, _ = record_with(*every, status=500, error="internal/bug")
    assert laws_broken(record) == ["9"]


def test_no_connection_is_explained_by_no_kill() -> None:
    record, _ = record_with(Fault(KILLED, "", 99.0, 101.0), end=End.REFUSED, status=0, seen=())
    assert laws_broken(record) == ["9"]


def test_a_body_that_looks_complete_is_found() -> None:
    record, _ = record_with(wrong="an incomplete body of 7 bytes looks complete")
    assert laws_broken(record) == ["8"]


def test_an_answer_to_another_request_is_found() -> None:
    record, _ = record_with(wrong="the answer has the id soak-9")
    assert laws_broken(record) == ["1"]


def test_an_answer_that_no_backend_gave_is_found() -> None:
    record, _ = record_with(seen=())
    assert laws_broken(record) == ["1"]


@pytest.mark.parametrize(
    ("path", "times", "expected"), [("/predict", 4, []), ("/predict", 5, ["1"]), ("/strict", 2, ["1"])]
)
def test_a_request_that_is_sent_too_often_is_found(path: str, times: int, expected: list[str]) -> None:
    record, _ = record_with(path=path, seen=("v2",) * times)
    assert laws_broken(record) == expected


def test_a_pipelined_request_is_not_executed_behind_the_last_answer() -> None:
    assert laws_broken(record_with(end=End.UNSERVED, status=0, seen=())[0]) == []
    assert laws_broken(record_with(end=End.UNSERVED, status=0, seen=("v2",))[0]) == ["1"]


def test_a_client_that_leaves_loses_nothing() -> None:
    assert laws_broken(record_with(end=End.LEFT, status=0, seen=())[0]) == []


def test_a_backend_cannot_receive_what_nobody_sent() -> None:
    record = Record()
    record.saw(7, "v2")
    assert [violation.law for violation in record.found] == ["1"]


def usage(role: str, megabytes: list[float], descriptors: int = 30) -> list[Usage]:
    return [Usage(role, float(at), size, descriptors) for at, size in enumerate(megabytes)]


def test_memory_and_descriptors_that_grow_are_found() -> None:
    assert list(usage_violations(usage("worker", [50.0] * 30))) == []
    grown = [50.0] * 10 + [120.0] * 10 + [300.0] * 10
    (violation,) = usage_violations(usage("worker", [50.0] * 30) + usage("control", grown))
    assert "control" in violation.what
    leak = [Usage("control", float(at), 50.0, 30 + 10 * at) for at in range(60)]
    assert ["descriptors" in v.what for v in usage_violations(leak)] == [True]


def test_an_error_in_a_log_needs_a_fault() -> None:
    ended = "2026-01-01 00:00:00,000 ERROR crossfade.workers: worker 1 (pid 7) ended with exit code -9; starting another"
    traceback = ["Traceback (most recent call last):", '  File "x.py", line 1, in f', "ValueError: surprise"]
    lines = ["2026-01-01 00:00:00,000 INFO crossfade: draining", ended, *traceback]
    assert len(list(log_violations(lines, []))) == 2
    (violation,) = log_violations(lines, [Fault(KILLED, "", 1.0, 2.0)])
    assert violation.what == "ValueError: surprise"
