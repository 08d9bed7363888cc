"""The bench of a tick, with few routes: it runs, and checks are evaluated only for new counts."""

from __future__ import annotations

import pytest

from crossfade.control import rollout_runtime
from crossfade.rollout.evaluation import EvaluationInput, evaluate
from crossfade.rollout.verdict import Finding
from loadtests import tick


def test_the_command_prints_a_cost_for_each_case(capsys: pytest.CaptureFixture[str]) -> None:
    assert tick.main(["--routes", "2", "--ticks", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("CPU time of one tick over 2 routes with 8 checks each")
    assert [line.split("  ")[1] for line in lines[1:]] == [
        "all routes, with errors",
        "all routes, without errors",
        "no route",
    ]


@pytest.mark.parametrize(("part", "evaluations"), [(1.0, 4), (0.5, 2), (0.0, 0)])
async def test_only_routes_with_new_counts_are_evaluated(
    part: float, evaluations: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers = tick.Workers()
    controller = await tick.controller_with_rollouts(4, workers)
    inputs: list[EvaluationInput] = []

    def recording(given: EvaluationInput) -> tuple[Finding, ...]:
        inputs.append(given)
        return evaluate(given)

    monkeypatch.setattr(rollout_runtime, "evaluate", recording)
    assert len(await tick.measure_ticks(controller, workers, 1, part, True)) == 1
    assert len(inputs) == evaluations
