"""The bench of a tick, small: it runs, and what it measures is judged as seldom as it may be."""

from __future__ import annotations

import pytest

from crossfade.control import rollout_runtime
from crossfade.rollout.evaluation import EvaluationInput, evaluate
from crossfade.rollout.verdict import Finding
from loadtests import tick


def test_the_command_prints_a_cost_for_each_case(capsys: pytest.CaptureFixture[str]) -> None:
    assert tick.main(["--routes", "2", "--ticks", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("CPU of one tick over 2 routes with 8 checks each")
    assert [line.split("  ")[1] for line in lines[1:]] == [
        "all routes, with errors",
        "all routes, without",
        "none",
    ]


@pytest.mark.parametrize(("part", "judged"), [(1.0, 4), (0.5, 2), (0.0, 0)])
async def test_only_routes_with_news_are_judged(
    part: float, judged: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers = tick.Workers()
    controller = await tick.ready(4, workers)
    seen: list[EvaluationInput] = []

    def noticed(given: EvaluationInput) -> tuple[Finding, ...]:
        seen.append(given)
        return evaluate(given)

    monkeypatch.setattr(rollout_runtime, "evaluate", noticed)
    assert len(await tick.measured(controller, workers, 1, part, True)) == 1
    assert len(seen) == judged
