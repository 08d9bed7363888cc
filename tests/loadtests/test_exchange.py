"""The bench of one exchange, small: it runs, and each exchange that it counts is a whole one."""

from __future__ import annotations

import pytest

from loadtests import exchange


def test_the_command_prints_a_cost_for_each_case(capsys: pytest.CaptureFixture[str]) -> None:
    assert exchange.main(["--rounds", "2", "--count", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("CPU of one exchange, ")
    assert [line.split("  ")[1] for line in lines[1:]] == [case.title for case in exchange.CASES]


@pytest.mark.parametrize("case", exchange.CASES, ids=lambda case: case.name)
async def test_each_exchange_is_answered_with_200_and_the_connection_kept(case: exchange.Case) -> None:
    bench = exchange.Bench()
    for _ in range(2):
        bench.exchange(case)
    cell, *shadows = bench.plane.recorder.table.cells.values()
    assert [shadow.requests for shadow in shadows] == ([2] if case.is_copied else [])
    assert (cell.requests, cell.codes, cell.errors) == (2, {200: 2}, 0)
    of_usual = dict.fromkeys(("chunks", "connection", "large", "logged"), "usual")
    assert cell.route == (of_usual | {"kept": "cached", "hit": "cached"}).get(case.name, case.name)
    assert (cell.role == "cached") == (case.name == "hit")
    taken = bench.plane.recorder.samples.take()
    assert len(taken) == (2 if case.name in ("prediction", "compared") else 0)
    assert [len(sample.copies) for sample in taken] == [case.name == "compared"] * len(taken)
    assert bench.client_side.written > 2 * len(exchange.ANSWER_BODY)
    assert not bench.plane.active
