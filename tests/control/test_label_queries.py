"""Ripe labels, counted by SQL, against the definitions and scikit-learn."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator, Sequence
from math import isclose
from typing import NamedTuple

import pytest
from sklearn.metrics import brier_score_loss, log_loss, precision_score, recall_score, roc_auc_score

from crossfade.control import label_queries
from crossfade.control.label_queries import counts_of_labels
from crossfade.control.prediction_tables import id_hash, newest_until, prepare
from crossfade.quality.label_counts import STEPS, LabelQuestion
from crossfade.quality.label_summary import LabelSummary, label_summary

HORIZON, NOW = 100.0, 10_000.0
BACKENDS = ("v2", "v3")


class Row(NamedTuple):
    """`delay` None: there is no feedback."""

    backend: int = 1
    at: float = 1.0
    score: float | None = None
    label: object = None
    truth: object = 1
    delay: float | None = 1.0
    key: int | None = None
    answered: int | None = None
    name: str = "label"


@pytest.fixture
def log() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    prepare(connection, 0.0)
    for name in BACKENDS:
        connection.execute("INSERT INTO backend (name) VALUES (?)", (name,))
    yield connection
    connection.close()


def fill(connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
    for i, row in enumerate(rows, 1):
        request_id = b"r-%d" % i
        answered = row.answered or row.backend
        connection.execute(
            "INSERT INTO prediction (id_hash, request_id, backend, answered, role, ledger_version, key, at, "
            "logged_at, status, seconds, blamed, score, label) VALUES (?,?,?,?,'champion',1,?,?,?,200,0.1,0,?,?)",
            (
                id_hash(request_id),
                request_id,
                row.backend,
                answered,
                row.key,
                row.at,
                row.at,
                row.score,
                row.label,
            ),
        )
        if row.delay is not None:
            arrived = row.at + row.delay
            connection.execute(
                "INSERT INTO feedback VALUES (?, ?, ?, ?, ?)", (i, row.name, row.truth, arrived, arrived)
            )


def summary(
    connection: sqlite3.Connection, threshold: float | None = 0.5, since: float = 0.0
) -> LabelSummary:
    asked = LabelQuestion("label", threshold, HORIZON, NOW, since)
    return label_summary("churn", asked, counts_of_labels(connection, asked))


def drawn(n: int, backend: int = 1, seed: int = 1) -> list[Row]:
    draw = random.Random(seed)
    rows = []
    for i in range(n):
        score = round(draw.random(), 3)
        rows.append(Row(backend, 1 + i / n, score, None, int(draw.random() < score)))
    return rows


def test_events_are_measured_as_scikit_learn_does(log: sqlite3.Connection) -> None:
    rows = drawn(600)
    fill(log, rows)
    found = summary(log).backends["v2"]
    truth = [int(row.truth) for row in rows if isinstance(row.truth, int)]
    scores = [row.score for row in rows if row.score is not None]
    said = [int(score >= 0.5) for score in scores]
    clipped = [min(max(score, 1e-3), 1 - 1e-3) for score in scores]
    assert found.ripe == found.labelled == 600
    expected = {
        "accuracy": sum(a == b for a, b in zip(said, truth, strict=True)) / 600,
        "brier": brier_score_loss(truth, scores),
        "log_loss": log_loss(truth, clipped),
        "auc": roc_auc_score(truth, scores),
        "precision": precision_score(truth, said),
        "recall": recall_score(truth, said),
    }
    for name, value in expected.items():
        measured = getattr(found, name)
        assert isclose(measured.estimate, value, abs_tol=1e-9), name
        assert measured.interval is not None, name
        assert measured.interval[0] < value < measured.interval[1], name
    assert found.confusion is not None
    assert found.confusion.labels == ["0", "1"]
    assert sum(map(sum, found.confusion.counts)) == 600
    assert found.confusion.counts[1][1] == sum(a == b == 1 for a, b in zip(said, truth, strict=True))


def test_a_calibrated_model_is_on_the_diagonal_and_another_is_not(log: sqlite3.Connection) -> None:
    off = [row._replace(backend=2, score=None if row.score is None else row.score / 2) for row in drawn(3000)]
    fill(log, [*drawn(3000), *off])
    found = summary(log).backends
    assert [len(found[name].calibration) for name in BACKENDS] == [10, 10]
    assert sum(each.n for each in found["v2"].calibration) == 3000
    assert all(
        each.interval and each.interval[0] <= each.predicted <= each.interval[1]
        for each in found["v2"].calibration
    )
    assert (found["v2"].calibration_error or 0) < 0.03
    assert (found["v3"].calibration_error or 0) > 0.2


def test_classes_and_numbers_have_their_own_measures(log: sqlite3.Connection) -> None:
    fill(
        log,
        [
            Row(label=said, truth=truth)
            for said, truth in [("cat", "cat"), ("cat", "dog"), ("dog", "dog")] * 20
        ],
    )
    classes = summary(log, None)
    assert classes.kind == "classes"
    assert classes.backends["v2"].accuracy is not None
    assert classes.backends["v2"].accuracy.estimate == 2 / 3
    assert classes.backends["v2"].confusion is not None
    assert classes.backends["v2"].confusion.counts == [[20, 0], [20, 20]]
    assert classes.backends["v2"].auc is None


def test_numbers_have_errors(log: sqlite3.Connection) -> None:
    fill(log, [Row(score=10.0, truth=truth) for truth in (8.0, 11.0) * 30])
    found = summary(log, None)
    side = found.backends["v2"]
    assert found.kind == "numbers"
    assert side.mae is not None and side.bias is not None
    assert (side.mae.estimate, side.bias.estimate) == (1.5, 0.5)
    assert side.rmse is not None and isclose(side.rmse, 2.5**0.5)
    assert side.accuracy is None


def test_a_label_that_is_a_text_is_no_event_of_a_class_output(log: sqlite3.Connection) -> None:
    """The answer says `high`, the label 1, and nobody has declared a decision: nothing says which class is 1."""
    fill(log, [Row(score=0.9, label="high", truth=1)] * 50)
    side = summary(log, None).backends["v2"]
    assert side.accuracy is None
    assert side.confusion is None
    assert side.brier is not None and isclose(side.brier.estimate, 0.01)


def test_only_ripe_predictions_count(log: sqlite3.Connection) -> None:
    young = NOW - HORIZON + 1
    fill(log, [*[Row(score=0.9, truth=1)] * 3, Row(at=young, score=0.9, truth=0)])
    side = summary(log).backends["v2"]
    assert (side.ripe, side.labelled) == (3, 3)
    assert side.accuracy is not None
    assert side.accuracy.n == 3


def test_rows_before_since_are_left_out(log: sqlite3.Connection) -> None:
    fill(log, [Row(at=float(at), score=0.9, truth=1) for at in range(1, 11)])
    assert summary(log, since=5.0).backends["v2"].ripe == 5


def test_no_row_is_beyond_the_limit_where_numbering_begins_late(log: sqlite3.Connection) -> None:
    log.execute("UPDATE sqlite_sequence SET seq = 35000000000000 WHERE name = 'prediction'")
    log.execute("DELETE FROM feedback")
    fill(log, [Row(score=0.9, delay=None)] * 3)
    assert summary(log).left_out == 0
    assert summary(log, since=0.5).left_out == 0


def test_only_the_newest_rows_are_counted(log: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_queries, "MOST", 4)
    fill(log, [Row(at=float(at), score=0.9) for at in range(1, 11)])
    assert (summary(log).backends["v2"].ripe, summary(log).left_out) == (4, 6)
    assert summary(log, since=3.0).left_out == 3


def test_what_the_fallback_answered_has_no_loss(log: sqlite3.Connection) -> None:
    fill(log, [Row(score=0.9, truth=1), Row(score=0.1, truth=1, answered=2)])
    side = summary(log).backends["v2"]
    assert (side.ripe, side.labelled) == (2, 2)
    assert side.accuracy is not None
    assert side.accuracy.n == 1


def test_requests_of_one_customer_are_one_unit(log: sqlite3.Connection) -> None:
    rows = [row._replace(key=i % 40) for i, row in enumerate(drawn(400))]
    fill(log, rows)
    side = summary(log).backends["v2"]
    assert side.accuracy is not None
    assert (side.accuracy.n, side.accuracy.units) == (400, 40)


def test_other_names_are_kpis_and_texts_are_left_out(log: sqlite3.Connection) -> None:
    fill(
        log,
        [
            *[Row(truth=2.0, name="revenue"), Row(truth=4.0, name="revenue", backend=2)] * 40,
            Row(truth="no number", name="revenue"),
        ],
    )
    found = summary(log)
    assert {name: side.estimate for name, side in found.kpis["revenue"].items()} == {"v2": 2.0, "v3": 4.0}
    assert found.kpis["revenue"]["v2"].n == 40
    assert found.backends["v2"].labelled == 0


def test_the_delay_curve_is_over_those_old_enough(log: sqlite3.Connection) -> None:
    """Labels come after half of the horizon; of those that are younger nobody knows yet."""
    old = [Row(at=1.0, delay=HORIZON / 2)] * 10
    young = [Row(at=NOW - HORIZON / 4, delay=None)] * 90
    fill(log, [*old, *young])
    curve = dict(summary(log).backends["v2"].delay)
    step = HORIZON / STEPS
    assert curve[step] == 0.0
    assert curve[HORIZON / 2] == 0.0
    assert curve[HORIZON / 2 + step] == 1.0
    assert curve[HORIZON] == 1.0


def test_the_newest_row_until_a_time_is_found_among_gaps(log: sqlite3.Connection) -> None:
    assert newest_until(log, 5.0) == 0
    fill(log, [Row(at=float(at)) for at in (1, 1, 2, 4, 4, 9)])
    log.execute("DELETE FROM prediction WHERE seq IN (1, 4)")
    for at in (0.5, 1.0, 3.0, 4.0, 20.0):
        newest = newest_until(log, at)
        (until,) = log.execute("SELECT COUNT(*) FROM prediction WHERE seq <= ?", (newest,)).fetchone()
        (old,) = log.execute("SELECT COUNT(*) FROM prediction WHERE logged_at <= ?", (at,)).fetchone()
        assert until == old, at
