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
    for piece in [case.request, *case.answer] * 2:
        (bench.client if piece is case.request else bench.upstream).data_received(piece)
    (cell,) = bench.plane.recorder.table.cells.values()
    assert (cell.requests, cell.codes, cell.errors) == (2, {200: 2}, 0)
    assert cell.route == ("usual" if case.name == "chunks" else case.name)
    assert len(cell.keyed_scores) == (2 if case.name == "prediction" else 0)
    assert bench.client_side.written > 2 * len(exchange.ANSWER_BODY)
    assert not bench.plane.active
