"""The simulation, small: fixed seeds, the real checks, and the page that shows the big run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from loadtests import rivals, simulate
from loadtests.worlds import ALTERNATIVES, LOOK, NULLS, Traffic, World, traffic

ROOT = Path(__file__).parents[2]
FIGURES = json.loads((ROOT / "loadtests/results/statistics.json").read_text())
OURS = {
    "`max_increase: 0`",
    "`max`",
    "`max_ratio: 1.1`",
    "`score_divergence max: 0.1`",
    "`score_divergence max_ratio: 1.5`",
    simulate.PLAIN,
}
(CUSTOMERS,) = (world for world in NULLS if world.customers)


@pytest.mark.parametrize("world", NULLS, ids=lambda world: world.name)
def test_a_healthy_challenger_is_kept(world):
    """Of 12 at α = 1 %, two would be a surprise of less than one in a hundred."""
    found = simulate.runs_of(world, 12, 30_000)
    assert OURS & found.keys()
    for name in OURS & found.keys():
        assert sum(at is not None for at in found[name]) < 2, name


def test_one_at_its_limit_beside_a_better_champion_is_kept():
    """The boundary of the one-sample test, where no common cause excuses anything."""
    world = World("at the limit", base=(0.01,), worse=2.0, room=2.0)
    found = simulate.runs_of(world, 20, 30_000)
    assert sum(at is not None for at in found["`max`"]) < 2


@pytest.mark.parametrize("world", ALTERNATIVES[1:], ids=lambda world: world.name)
def test_a_sick_challenger_is_found_and_a_late_one_after_it_fell_sick(world):
    found = simulate.runs_of(world, 5, 100_000)
    for name in OURS & found.keys():
        assert all(at is not None and at > world.onset for at in found[name]), name


def test_counting_throws_out_healthy_challengers():
    found = simulate.runs_of(NULLS[0], 10, 60_000)
    assert simulate.rate(found["Flagger-like counting"]) > 0.5


def test_a_seed_is_a_run():
    runs = [simulate.runs_of(NULLS[3], 2, 10_000) for _ in range(2)]
    assert runs[0] == runs[1]


@pytest.mark.parametrize("world", [*NULLS, *ALTERNATIVES], ids=lambda world: world.name)
def test_worlds_are_what_they_say(world):
    seen = traffic(world, 400, np.random.default_rng(1))
    assert (seen.n + seen.rest_n == LOOK).all()
    assert (seen.x <= seen.n).all() and (seen.rest_x <= seen.rest_n).all()
    assert set(seen.step) == set(range(len(world.shares)))
    share = seen.n.sum() / (400 * LOOK)
    assert share == pytest.approx(np.mean(world.shares), rel=0.15)
    assert [len(pair) for pair in seen.times] == [2] * (400 if world.timed else 0)


def counted(x: list[int]) -> Traffic:
    """Ten requests of the challenger and 90 of the champion at each look; the champion without errors."""
    n = np.full(len(x), 10)
    nothing = np.zeros(0)
    zeros = np.zeros(len(x), dtype=np.int64)
    return Traffic(zeros, n, np.array(x), n * 9, zeros, [], (nothing, nothing))


def test_rivals_by_hand():
    healthy, world = counted([0] * 100), NULLS[0]
    assert [rival(world, healthy) for rival in rivals.RIVALS.values()] == [None] * 4
    sick = counted([0] * 20 + [3] * 100)
    assert rivals.naive_z(world, sick) == 20
    assert rivals.argo(world, sick) == 59  # intervals 3, 4, 5 and 6 are over the limit
    assert rivals.flagger(world, sick) == 69
    assert rivals.mann_whitney(world, sick) == 99


def test_ranks_agree_with_a_value_worked_out_by_hand():
    """U = 8.5 of 9 with one tie: (8.5 − 4.5)/√(9/12 · (7 − 6/30))."""
    z = rivals.rank_z(np.array([3.0, 4.0, 5.0]), np.array([1.0, 2.0, 3.0]))
    assert z == pytest.approx(4 / np.sqrt(9 / 12 * (7 - 6 / 30)))


def test_delays_leave_out_what_was_aborted_for_nothing():
    world = World("late", onset=500)
    assert simulate.delays(world, [100, 700, 900, None]) == {"median": 400, "p90": None, "early": 0.25}


def test_the_page_shows_the_figures_of_the_big_run():
    text = (ROOT / "docs/statistics.md").read_text()
    assert simulate.page(FIGURES) in text
    assert simulate.rewritten(text, FIGURES) == text


def test_the_big_run_keeps_alpha_everywhere_and_the_wald_bound():
    """Within what so many runs can tell: three standard errors above α."""
    alpha, runs = FIGURES["alpha"], FIGURES["runs"]["null"]
    worst = alpha + 3 * (alpha * (1 - alpha) / runs) ** 0.5
    assert FIGURES["false_aborts"].keys() == {world.name for world in NULLS}
    for name in (world.name for world in NULLS):
        found = FIGURES["false_aborts"][name]
        assert OURS & found.keys()
        assert all(found[method] <= worst for method in OURS & found.keys()), name
    for name in ("1→2 %", "1→5 %"):
        assert FIGURES["delays"][name][simulate.PLAIN]["median"] <= 1.3 * FIGURES["wald"][name]


def test_the_command_writes_figures_and_page(tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text("before\n" + "\n".join(simulate.MARKS) + "\nafter\n")
    options = ["--nulls", "1", "--alternatives", "1", "--horizon", "2000"]
    assert simulate.main([*options, "--json", str(tmp_path / "f.json"), "--page", str(page)]) == 0
    figures = json.loads((tmp_path / "f.json").read_text())
    assert (
        page.read_text()
        == f"before\n{simulate.MARKS[0]}\n{simulate.page(figures)}\n{simulate.MARKS[1]}\nafter\n"
    )
    assert simulate.page(figures) in capsys.readouterr().out


@pytest.mark.parametrize(("share", "requests"), [(0.05, "2.5k"), (0.25, "0.7k")])
def test_the_wald_bounds_that_the_page_names(share, requests):
    assert simulate.brief(simulate.wald(World("", shares=(share,), worse=5.0))) == requests


def test_a_few_customers_may_cause_all_the_errors():
    """Half of the requests of a hundred customers fail, and none of the others'; so a side has more or fewer of them."""
    seen = traffic(CUSTOMERS, 3000, np.random.default_rng(2))
    rate = (seen.x.sum() + seen.rest_x.sum()) / (3000 * LOOK)
    assert rate == pytest.approx(0.01, rel=0.05)
    apart = [traffic(CUSTOMERS, 1000, np.random.default_rng(seed)).x.sum() for seed in range(8)]
    assert np.std(apart) > 2 * np.sqrt(np.mean(apart))  # far from the chance of independent requests
