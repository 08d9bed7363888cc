"""What the summary of the demo counts, and that its checks can fail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from crossfade.demo import main as demo
from crossfade.demo.processes import DemoError, DemoProcesses
from crossfade.demo.scenarios import changes_row, decision_line, failed_row
from crossfade.demo.traffic import Tally


def tally_of(*paths: str) -> Tally:
    """One customer for each word; each letter is the backend of one answer, in order."""
    tally = Tally(sent=1)
    for customer, path in enumerate(paths):
        for number, backend in enumerate(path):
            tally.record(customer, number, backend, backend)
    return tally


@pytest.mark.parametrize(
    ("paths", "changes", "fewest"),
    [
        (["aaa", "b"], 0, 0),
        (["aab"], 1, 1),
        (["aabaa"], 2, 2),
        (["aabab"], 3, 1),
        (["aababa"], 4, 2),
        (["ab", "aba", "aa"], 3, 3),
    ],
)
def test_backend_changes_are_compared_with_the_fewest_possible(
    paths: list[str], changes: int, fewest: int
) -> None:
    tally = tally_of(*paths)
    assert tally.backend_changes() == (changes, fewest)
    assert changes_row(tally)[2] is (changes == fewest)


def test_answers_count_in_the_order_of_the_requests() -> None:
    tally = Tally()
    for number, backend in ((1, "a"), (3, "b"), (2, "a")):  # the second answer arrived last
        tally.record(7, number, backend, backend)
    assert tally.backend_changes() == (1, 1)


def test_a_decision_is_printed_with_the_split_it_made() -> None:
    decision = {"at": 0.0, "action": "advance", "reason": "every check passed"}
    before, after = {"split": {"v2": 0.95, "v3": 0.05}}, {"split": {"v3": 0.25, "v2": 0.75, "v4": 0.0}}
    line = decision_line({**decision, "from": before, "to": after})
    assert line.endswith("  advance   every check passed → now v2 75%, v3 25%")
    without_zero = {"split": {"v2": 0.75, "v3": 0.25}}
    assert decision_line({**decision, "from": after, "to": without_zero}).endswith("every check passed")


def test_a_failed_request_fails_the_check_and_is_named() -> None:
    tally = tally_of("aa")
    assert failed_row(tally)[2]
    tally.failed = 1
    tally.failures["status 500"] = 1
    _, measured, passed = failed_row(tally)
    assert not passed
    assert "status 500" in measured


@pytest.mark.parametrize(("passed", "code"), [(True, 0), (False, 1)])
async def test_the_exit_code_is_1_if_a_check_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, passed: bool, code: int
) -> None:
    async def nothing(*_: Any) -> None:
        return None

    async def scenarios(*_: Any) -> tuple[list[tuple[str, str, bool]], int]:
        return [("one", "1", True), ("two", "2", passed)], 2

    for part in ("train", "start_models", "start_proxy"):
        monkeypatch.setattr(DemoProcesses, part, nothing)
    monkeypatch.setattr(demo, "run_scenarios", scenarios)
    assert await demo.run_demo(tmp_path, Console(quiet=True), keep=False) == code


async def test_an_error_names_the_extra_if_scikit_learn_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    async with DemoProcesses(tmp_path) as processes:
        with pytest.raises(DemoError, match=r"crossfade\[models\]"):
            await processes.train()
