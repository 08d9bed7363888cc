"""What the summary counts, and that it can say no."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from crossfade.demo import main as demo
from crossfade.demo.acts import failed_row, moves_row
from crossfade.demo.processes import Stage, StageError
from crossfade.demo.traffic import Tally


def tally_of(*paths: str) -> Tally:
    """One customer for each word; each letter is the backend of one answer, in order."""
    tally = Tally(sent=1)
    for customer, path in enumerate(paths):
        for order, backend in enumerate(path):
            tally.note(customer, order, backend, backend)
    return tally


@pytest.mark.parametrize(
    ("paths", "made", "least"),
    [
        (["aaa", "b"], 0, 0),
        (["aab"], 1, 1),
        (["aabaa"], 2, 2),
        (["aabab"], 3, 1),
        (["aababa"], 4, 2),
        (["ab", "aba", "aa"], 3, 3),
    ],
)
def test_moves_made_and_needed(paths: list[str], made: int, least: int) -> None:
    tally = tally_of(*paths)
    assert tally.moves() == (made, least)
    assert moves_row(tally)[2] is (made == least)


def test_answers_count_in_the_order_of_asking() -> None:
    tally = Tally()
    for order, backend in ((1, "a"), (3, "b"), (2, "a")):  # the second came last
        tally.note(7, order, backend, backend)
    assert tally.moves() == (1, 1)


def test_a_failure_is_shown_and_does_not_hold() -> None:
    tally = tally_of("aa")
    assert failed_row(tally)[2]
    tally.failed = 1
    tally.failures["status 500"] = 1
    _, measured, held = failed_row(tally)
    assert not held
    assert "status 500" in measured


@pytest.mark.parametrize(("held", "code"), [(True, 0), (False, 1)])
async def test_the_exit_code_is_that_of_the_summary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: bool, code: int
) -> None:
    async def nothing(*_: Any) -> None:
        return None

    async def played(*_: Any) -> tuple[list[tuple[str, str, bool]], int]:
        return [("one", "1", True), ("two", "2", held)], 2

    for part in ("train", "start_models", "start_proxy"):
        monkeypatch.setattr(Stage, part, nothing)
    monkeypatch.setattr(demo, "play_all", played)
    assert await demo.perform(tmp_path, Console(quiet=True), keep=False) == code


async def test_without_scikit_learn_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    async with Stage(tmp_path) as stage:
        with pytest.raises(StageError, match=r"crossfade\[models\]"):
            await stage.train()
