"""GET /api/v1/labels/{route}: ripe labels of each backend, from the prediction log."""

from __future__ import annotations

import sqlite3

import pytest

from crossfade.control.prediction_rows import add_rows
from crossfade.quality.logged import LoggedExchange, LoggedOutput
from tests.admin.site import Site
from tests.control.harness import CHECKS, HEAD, HEADING

PATH = "/api/v1/labels/churn"
ROUTE = (
    "    prediction: {score: p, decision: 0.5}\n    feedback: {horizon: 100s}\n"
    f"    rollout: {{strategy: canary, champion: v2, challenger: v3, checks: {CHECKS}}}\n"
)


async def fill(site: Site, n: int = 40) -> None:
    """v2 is right in three of four, v3 always; the labels came at once, and all are ripe."""
    site.reloads.file = HEAD + HEADING + ROUTE
    await site.reloads.reload(site.reloads.order("test"))
    exchanges, outputs, labels = [], [], []
    for i in range(n):
        for backend in ("v2", "v3"):
            name = f"{backend}-{i}".encode()
            exchanges.append(LoggedExchange(name, 1.0, backend, "member", 1, None, 200, 0.1, backend))
            outputs.append(LoggedOutput(name, backend, 0.9, None))
            labels.append(int(backend == "v3" or i % 4 > 0))

    def work(log: sqlite3.Connection) -> None:
        add_rows(log, exchanges, outputs, site.harness.now - 1000)
        rows = log.execute("SELECT seq, logged_at FROM prediction ORDER BY seq").fetchall()
        for (seq, at), label in zip(rows, labels, strict=True):
            log.execute("INSERT INTO feedback VALUES (?, 'label', ?, ?, ?)", (seq, label, at, at))

    await site.harness.controller.logs.write("churn", work)


async def test_it_has_the_fields_of_the_schema(site: Site) -> None:
    await fill(site)
    schemas = (await site.get("/openapi.json"))["components"]["schemas"]
    found = await site.get(PATH)
    assert set(found) == set(schemas["LabelSummary"]["properties"])
    assert (found["route"], found["name"], found["kind"], found["horizon"]) == (
        "churn",
        "label",
        "events",
        100.0,
    )
    sides = found["backends"]
    assert {name: side["accuracy"]["estimate"] for name, side in sides.items()} == {"v2": 0.75, "v3": 1.0}
    assert sides["v2"]["labelled"] == sides["v2"]["ripe"] == 40
    assert sides["v2"]["accuracy"]["interval"][0] < 0.75 < sides["v2"]["accuracy"]["interval"][1]


async def test_another_name_and_a_later_time_give_other_labels(site: Site) -> None:
    await fill(site)
    assert (await site.get(f"{PATH}?name=other"))["backends"]["v2"]["labelled"] == 0
    assert (await site.get(f"{PATH}?since={site.harness.now}"))["backends"] == {}


async def test_a_route_without_feedback_has_no_labels(site: Site) -> None:
    problem = await site.get(PATH, 404)
    assert "no `feedback`" in problem["detail"]
    await site.get("/api/v1/labels/nope", 404)


@pytest.mark.parametrize("since", ["yesterday", "-1", "nan", "inf"])
async def test_a_wrong_time_is_refused(site: Site, since: str) -> None:
    await fill(site, 1)
    assert "since must be" in (await site.get(f"{PATH}?since={since}", 422))["detail"]


async def test_a_route_whose_log_is_empty_has_no_backends(site: Site) -> None:
    site.reloads.file = HEAD + HEADING + ROUTE
    await site.reloads.reload(site.reloads.order("test"))
    assert (await site.get(PATH))["backends"] == {}
