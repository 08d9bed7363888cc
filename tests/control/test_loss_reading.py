"""Concept drift with a real prediction log: ripe labels of the champion count once, also over restarts."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from crossfade.control.drift_view import drift_view
from crossfade.control.prediction_tables import id_hash
from crossfade.quality.profile import write_profile
from tests.control.harness import HEADING, NOW
from tests.control.profiled import PROFILE, WINDOW, Proxy

FIRST = int(NOW // WINDOW) + 1


@pytest.fixture
async def proxy(tmp_path: Path):
    path = tmp_path / "profile.json"
    path.write_bytes(write_profile(PROFILE))
    made = Proxy(tmp_path)
    yaml = (
        HEADING + "    prediction: {score: p}\n    feedback: {horizon: 1h}\n"
        f"    drift: {{baseline: {path}}}\n"
    )
    await made.open(yaml)
    yield made
    await made.close()


def predictions(slot: int, n: int, wrong: float, backend: str = "v2", answered: bool = True) -> list[Any]:
    draw = random.Random(slot)
    rows = []
    for i in range(n):
        score = float(draw.random() < 0.5)
        truth = 1 - int(score) if draw.random() < wrong else int(score)
        rows.append(
            (f"{slot}-{backend}-{i}".encode(), backend, answered, slot * WINDOW + i * 0.5, score, truth)
        )
    return rows


async def log(proxy: Proxy, rows: list[Any]) -> int:
    """Returns the last place in the log."""

    def work(connection: Any) -> int:
        seq = 0
        for request_id, backend, answered, at, score, truth in rows:
            connection.execute("INSERT OR IGNORE INTO backend (name) VALUES (?)", (backend,))
            (number,) = connection.execute("SELECT id FROM backend WHERE name = ?", (backend,)).fetchone()
            seq = connection.execute(
                "INSERT INTO prediction (id_hash, request_id, backend, answered, role, ledger_version, at, logged_at, "
                "status, seconds, blamed, score) VALUES (?, ?, ?, ?, 'champion', 1, ?, ?, 200, 0.1, 0, ?)",
                (id_hash(request_id), request_id, number, number if answered else None, at, at, score),
            ).lastrowid
            connection.execute("INSERT INTO feedback VALUES (?, 'label', ?, ?, ?)", (seq, truth, at, at))

        return seq

    return await proxy.controller.logs.write("churn", work)


async def pass_time(proxy: Proxy, slot: int, ticks: int = 6) -> None:
    for i in range(ticks):
        proxy.tick((slot + 0.5) * WINDOW + 10 * i)
        await proxy.drift.idle()


def loss(proxy: Proxy) -> Any:
    reading = proxy.drift.losses["churn"]
    return drift_view("churn", proxy.drift.route("churn"), reading.watch).loss


async def test_labels_count_when_they_are_ripe_and_once(proxy):
    last = await log(proxy, predictions(FIRST, 300, 0.1))
    await pass_time(proxy, FIRST)
    assert proxy.drift.losses["churn"].watch.fed_to < last
    assert loss(proxy) is None
    await pass_time(proxy, FIRST + 2)
    watch = proxy.drift.losses["churn"].watch
    assert (watch.backend, watch.fed_to, watch.reference.n, watch.is_given) == ("v2", last, 300, False)
    await pass_time(proxy, FIRST + 3)
    assert watch.reference.n == 300


async def test_others_and_answers_of_the_fallback_do_not_count(proxy):
    last = await log(
        proxy, predictions(FIRST, 50, 0.1, backend="v3") + predictions(FIRST, 50, 0.1, answered=False)
    )
    await pass_time(proxy, FIRST + 2)
    watch = proxy.drift.losses["churn"].watch
    assert (watch.fed_to, watch.reference.n) == (last, 0)


async def test_a_model_that_is_wrong_more_often_is_an_alarm_and_restarts_count_nothing_twice(proxy):
    await log(proxy, predictions(FIRST, 1000, 0.1))
    await pass_time(proxy, FIRST + 2)
    for slot in range(FIRST + 3, FIRST + 6):
        await log(proxy, predictions(slot, 400, 0.1))
        await pass_time(proxy, slot + 2)
    assert proxy.alarms == []
    before = proxy.drift.losses["churn"].watch
    await proxy.close()
    await proxy.open(proxy.yaml)
    after = proxy.drift.losses["churn"].watch
    assert (after.fed_to, after.reference) == (before.fed_to, before.reference)
    last = 0
    for slot in range(FIRST + 10, FIRST + 14):
        last = await log(proxy, predictions(slot, 400, 0.45))
        await pass_time(proxy, slot + 2)
    (found,) = proxy.alarms
    assert (found.alarm.kind, found.alarm.subject) == ("concept_drift", "v2")
    assert proxy.drift.losses["churn"].watch.fed_to == last
    view = loss(proxy)
    assert (view.backend, view.reference_n, view.is_given) == ("v2", 1000, False)
    assert view.alarm_at == found.alarm.at
    assert view.loss == pytest.approx(0.45, abs=0.08)


async def test_without_feedback_in_the_configuration_no_log_is_read(proxy):
    await proxy.close()
    await proxy.open(proxy.yaml.replace("    feedback: {horizon: 1h}\n", ""))
    await pass_time(proxy, FIRST + 2)
    assert loss(proxy) is None


async def test_a_log_that_cannot_be_read_is_said_once(proxy, caplog):
    folder = proxy.controller.logs.folder
    await log(proxy, predictions(FIRST, 1, 0.1))
    await proxy.close()
    for file in folder.iterdir():
        file.write_bytes(b"no database" * 100)
    await proxy.open(proxy.yaml)
    caplog.clear()
    proxy.drift.losses["churn"].quiet_until = 0.0
    await pass_time(proxy, FIRST + 2)
    said = [
        record
        for record in caplog.records
        if record.name == "crossfade.drift" and "cannot be read" in record.message
    ]
    assert len(said) == 1
