"""The laws that compare answers with the journal, on records and decisions made by hand."""

from __future__ import annotations

from typing import Any

from crossfade.control.views import Decision
from tests.soak.journal_laws import (
    LATE,
    acknowledged_violations,
    backend_violations,
    edit_violations,
    splits_of,
    sticky_violations,
)
from tests.soak.record import Acknowledged, Edit, End, Fault, Record, Request

CHURN = frozenset({"churn"})
V2, HALF = {"v2": 1.0}, {"v2": 0.5, "v3": 0.5}


def decision(number: int, at: float, split: dict[str, float], **fields: Any) -> Decision:
    given: dict[str, Any] = {"route": "churn", "action": "advance", "actor": "loop", "from_": {}} | fields
    to = {"split": split, "ledger_version": number} if split else {}
    return Decision(
        id=number, at=at, to=to, reason="", evidence={}, ledger_version=number, config_hash="",
        previous_hash="", hash="", **given,
    )  # fmt: skip


def request(begun: float, assigned: str, key: str = "c1") -> Request:
    return Request(1, "/predict", key, begun, End.ANSWERED, begun + 0.1, 200, assigned)


def backends_found(decisions: list[Decision], *requests: Request, faults: tuple[Fault, ...] = ()) -> int:
    return len(list(backend_violations(requests, splits_of(decisions, CHURN), faults)))


def test_exposure_without_a_decision_is_found() -> None:
    journal = [decision(1, 0.0, V2), decision(2, 100.0, HALF), decision(3, 200.0, V2)]
    assert backends_found(journal, request(50.0, "v2"), request(150.0, "v3"), request(150.0, "v2")) == 0
    assert backends_found(journal, request(50.0, "v3")) == 1
    assert backends_found(journal, request(200.0 + LATE + 1, "v3")) == 1
    assert backends_found(journal, request(150.0, "v9")) == 1


def test_workers_without_a_control_process_may_keep_the_split_before() -> None:
    journal = [decision(1, 0.0, HALF), decision(2, 100.0, V2)]
    killed = Fault("control killed", "", 100.2, 140.0)
    assert backends_found(journal, request(130.0, "v3")) == 1
    assert backends_found(journal, request(130.0, "v3"), faults=(killed,)) == 0
    assert backends_found(journal, request(140.0 + LATE + 1, "v3"), faults=(killed,)) == 1


def test_a_route_that_has_left_the_file_answers_nobody() -> None:
    journal = [decision(1, 0.0, V2), decision(2, 100.0, {})]
    assert backends_found(journal, request(100.0 + LATE + 1, "v2")) == 1


def test_a_renamed_route_goes_on() -> None:
    removed, returned = decision(2, 100.0, {}), decision(3, 100.0, V2, route="other")
    for pair in ((removed, returned), (returned, removed)):
        splits = splits_of([decision(1, 0.0, V2), *pair], CHURN | {"other"})
        assert list(backend_violations([request(150.0, "v2")], splits, ())) == []


def test_a_key_that_changes_its_backend_under_one_map_is_found() -> None:
    splits = splits_of([decision(1, 0.0, HALF), decision(2, 100.0, HALF)], CHURN)
    mine = [request(50.0, "v2"), request(60.0, "v3")]
    assert len(list(sticky_violations(mine, splits, ()))) == 1
    assert list(sticky_violations([request(50.0, "v2"), request(60.0, "v3", "c2")], splits, ())) == []
    assert list(sticky_violations([request(50.0, "v2"), request(150.0, "v3")], splits, ())) == []


def test_traffic_after_an_abort_was_acknowledged_is_found() -> None:
    journal = [decision(1, 0.0, HALF), decision(2, 100.0, V2, action="abort"), decision(3, 200.0, HALF)]
    splits = splits_of(journal, CHURN)

    def found(*requests: Request) -> list[str]:
        record = Record(requests=dict(enumerate(requests)))
        record.acknowledged.append(Acknowledged("/predict", "abort", 101.0, frozenset({"v2"})))
        return [violation.law for violation in acknowledged_violations(record, "/predict", splits)]

    assert found(request(100.9, "v3"), request(102.0, "v2"), request(201.0, "v3")) == []
    assert found(request(102.0, "v3")) == ["3"]


def test_an_abort_that_was_acknowledged_and_forgotten_is_found() -> None:
    record = Record(acknowledged=[Acknowledged("/predict", "abort", 101.0, frozenset({"v2"}))])
    splits = splits_of([decision(1, 0.0, HALF)], CHURN)
    assert len(list(acknowledged_violations(record, "/predict", splits))) == 1


def test_an_edit_that_moves_somebody_is_found() -> None:
    moving = decision(2, 50.0, V2, actor="file", action="edit", from_={"split": HALF})
    record = Record(edits=[Edit("the hold of a step", "", 49.0, 51.0, moves=False)])
    assert [v.law for v in edit_violations(record, [moving])] == ["13"]
    staying = decision(2, 50.0, HALF, actor="file", action="edit", from_={"split": HALF})
    assert list(edit_violations(record, [staying])) == []
    record.edits[0].moves = True
    assert list(edit_violations(record, [moving])) == []
