"""GET /api/v1/value/{route} and `crossfade value`: what another split would have been worth."""

from __future__ import annotations

import random
from contextlib import closing
from pathlib import Path
from urllib.parse import urlencode

import pytest

from crossfade.control.prediction_rows import add_ledger
from tests.admin.site import Site
from tests.cli.conftest import Result, Shell
from tests.control.harness import HEADING, NOW
from tests.control.logged import WrittenLog

PREDICTION = "    prediction: {score: p, decision: 0.5, segment: [risk, {header: X-Country}]}\n"
KPI = "{metric: kpi, name: bought, kind: event, min_increase: 0}"
FILE = (
    HEADING
    + PREDICTION
    + (
        "    feedback: {horizon: 1h}\n    rollout: {strategy: ab_test, champion: v2, challenger: v3, steps: [{weight: 5%, hold: 1d}], "
        f"checks: [{KPI}]}}\n"
    )
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """v3 sells to 30 %, v2 to 20 %; among the customers of DE, v3 sells to 60 %. Half of the requests had each."""
    rng = random.Random(1)
    log = WrittenLog(tmp_path)
    with closing(log.connection) as connection:
        add_ledger(connection, {2: {"v2": 5000, "v3": 5000}})
        for i in range(4000):
            country, backend = rng.choice(["DE", "FR", "FR"]), rng.choice(["v2", "v3"])
            rate = 0.2 if backend == "v2" else 0.6 if country == "DE" else 0.15
            right = float(rng.random() < (0.9 if backend == "v3" else 0.8))
            values = {"bought": float(rng.random() < rate), "label": right, "amount": rng.random()}
            seq = log.add(backend, 2, NOW - 7200 + i / 1000, said=(1.0, None), feedback=values)
            row = (f'["low", "{country}"]', seq)
            connection.execute("UPDATE prediction SET segment = ? WHERE seq = ?", row)
    return tmp_path


@pytest.fixture
async def valued(folder: Path, site: Site) -> Site:
    logs = site.harness.controller.logs
    await site.harness.load(FILE)
    await logs.read_in_order(
        "churn", lambda connection: None
    )  # the load has looked for a log of an earlier route
    logs.folder = folder
    await site.harness.tick()
    return site


async def value(site: Site, *rules: str, status: int = 200, **query: str):
    encoded = urlencode([("if", rule) for rule in rules] + list(query.items()))
    return await site.get(f"/api/v1/value/churn?{encoded}", status)


async def test_a_policy_has_a_value_with_intervals(valued: Site) -> None:
    answer = await value(valued, "v3=100%", name="bought")
    found = answer["found"]
    assert (answer["route"], answer["rules"], answer["measure"]) == ("churn", ["v3=100%"], "kpi")
    assert found["refused"] == ""
    assert found["value"] == pytest.approx(0.3, abs=0.03)
    assert found["as_it_was"] == pytest.approx(0.25, abs=0.03)
    assert found["interval"][0] < 0.3 < found["interval"][1]
    assert found["exact"] is True
    assert found["units"] == 4000


async def test_a_policy_by_segment_is_better_than_either_backend(valued: Site) -> None:
    answer = await value(valued, "X-Country=DE: v3=100%", "v2=100%", name="bought")
    assert answer["found"]["value"] == pytest.approx(0.6 / 3 + 0.2 * 2 / 3, abs=0.03)


async def test_the_label_gives_the_accuracy(valued: Site) -> None:
    answer = await value(valued, "v3=100%")
    assert (answer["name"], answer["measure"]) == ("label", "accuracy")
    assert answer["found"]["value"] == pytest.approx(0.9, abs=0.03)
    assert (await value(valued, "v3=100%", measure="kpi"))["measure"] == "kpi"


async def test_amounts_without_a_check_have_an_interval_for_many_rows(valued: Site) -> None:
    found = (await value(valued, "v3=50%", name="amount"))["found"]
    assert found["exact"] is False
    assert found["value"] == pytest.approx(0.5, abs=0.05)


async def test_what_cannot_be_said_is_refused_with_a_reason(valued: Site) -> None:
    found = (await value(valued, "v4=100%"))["found"]
    assert found["refused"] == "no support: v4 had 0% of the requests; 1% is the least"
    assert found["value"] is None
    assert (await value(valued, "v3=100%", name="unheard"))["found"]["refused"] == (
        "none of the predictions has a label"
    )


@pytest.mark.parametrize(
    ("rules", "query", "status", "detail"),
    [
        ((), {}, 422, "at least one rule"),
        (("v3",), {}, 422, "each backend once"),
        (("v9=100%",), {}, 404, "no backend is called v9"),
        (("risk=low: v3=100%",), {}, 422, "depends on the backend"),
        (("plan=pro: v3=100%",), {}, 422, "the route has risk, x-country"),
        (("v3=100%",), {"measure": "auc"}, 422, "kpi or accuracy"),
        (("v3=100%",), {"since": "yesterday"}, 422, "since"),
    ],
)
async def test_bad_questions(valued: Site, rules, query, status, detail) -> None:
    assert detail in (await value(valued, *rules, status=status, **query))["detail"]


async def test_a_route_without_a_log_has_no_value(site: Site) -> None:
    assert "no `feedback`" in (await value(site, "v3=100%", status=404))["detail"]
    await site.get("/api/v1/value/nope?if=v3=100%25", 404)


async def test_a_log_that_is_empty_says_nothing(site: Site) -> None:
    await site.harness.load(FILE)
    assert (await value(site, "v3=100%"))["found"]["refused"] == "there are no ripe predictions"


async def command(site: Site, capsys: pytest.CaptureFixture[str], *words: str) -> Result:
    return await Shell(capsys, site.url).run_with_admin("value", "churn", *words)


async def test_the_command_prints_the_value(valued: Site, capsys: pytest.CaptureFixture[str]) -> None:
    result = await command(valued, capsys, "--if", "v3=100%", "--name", "bought")
    assert result.code == 0, result.err
    lines = [line.split() for line in result.out.splitlines()]
    assert lines[0] == ["churn:", "the", "mean", "of", "bought", "if", "v3=100%"]
    assert [line[:2] for line in lines[1:4]] == [["the", "policy"], ["as", "it"], ["the", "change"]]
    assert "4000 requests with a label counted" in result.out
    assert (await command(valued, capsys, "--if", "v3=100%", "--json")).json["measure"] == "accuracy"


async def test_the_command_says_why_nothing_can_be_said(
    valued: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    result = await command(valued, capsys, "--if", "v4=100%")
    assert result.code == 1
    assert "Nothing can be said: no support: v4 had 0% of the requests" in result.out
    result = await command(valued, capsys, "--if", "v3")
    assert result.code == 1
    assert "each backend once" in result.err
