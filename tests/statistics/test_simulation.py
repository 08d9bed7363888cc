"""The simulation with few runs and fixed seeds, and the page that shows the full run."""

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
    simulate.TWO_SAMPLE,
}
(CUSTOMERS,) = (world for world in NULLS if world.customers)


@pytest.mark.parametrize("world", NULLS, ids=lambda world: world.name)
def test_a_healthy_challenger_is_not_aborted(world):
    """Two of 12 at α = 1 % have a probability of less than 1 %."""
    found = simulate.runs_of(world, 12, 30_000)
    assert OURS & found.keys()
    for name in OURS & found.keys():
        assert sum(at is not None for at in found[name]) < 2, name


def test_a_challenger_at_its_limit_beside_a_better_champion_is_not_aborted():
    """The boundary of the one-sample test, without a common cause."""
    world = World("at the limit", base=(0.01,), worse=2.0, room=2.0)
    found = simulate.runs_of(world, 20, 30_000)
    assert sum(at is not None for at in found["`max`"]) < 2


@pytest.mark.parametrize("world", ALTERNATIVES[1:], ids=lambda world: world.name)
def test_a_faulty_challenger_is_aborted_after_its_fault_began(world):
    found = simulate.runs_of(world, 5, 100_000)
    for name in OURS & found.keys():
        assert all(at is not None and at > world.onset for at in found[name]), name


def test_flagger_like_counting_aborts_healthy_challengers():
    found = simulate.runs_of(NULLS[0], 10, 60_000)
    assert simulate.rate(found["Flagger-like counting"]) > 0.5


def test_the_same_seed_gives_the_same_run():
    runs = [simulate.runs_of(NULLS[3], 2, 10_000) for _ in range(2)]
    assert runs[0] == runs[1]


@pytest.mark.parametrize("world", [*NULLS, *ALTERNATIVES], ids=lambda world: world.name)
def test_traffic_matches_its_world(world):
    simulated = traffic(world, 400, np.random.default_rng(1))
    assert (simulated.n + simulated.rest_n == LOOK).all()
    assert (simulated.x <= simulated.n).all() and (simulated.rest_x <= simulated.rest_n).all()
    assert set(simulated.step) == set(range(len(world.shares)))
    share = simulated.n.sum() / (400 * LOOK)
    assert share == pytest.approx(np.mean(world.shares), rel=0.15)
    assert [len(pair) for pair in simulated.times] == [2] * (400 if world.timed else 0)


def traffic_with_errors(x: list[int]) -> Traffic:
    """Ten requests of the challenger and 90 of the champion at each look; the champion without errors."""
    n = np.full(len(x), 10)
    no_quantiles = np.zeros(0)
    zeros = np.zeros(len(x), dtype=np.int64)
    return Traffic(zeros, n, np.array(x), n * 9, zeros, [], (no_quantiles, no_quantiles))


def test_rivals_abort_where_computed_by_hand():
    healthy, world = traffic_with_errors([0] * 100), NULLS[0]
    assert [rival(world, healthy) for rival in rivals.RIVALS.values()] == [None] * 4
    faulty = traffic_with_errors([0] * 20 + [3] * 100)
    assert rivals.naive_z(world, faulty) == 20
    assert rivals.argo(world, faulty) == 59  # intervals 3, 4, 5 and 6 are over the limit
    assert rivals.flagger(world, faulty) == 69
    assert rivals.mann_whitney(world, faulty) == 99


def test_rank_z_by_hand():
    """U = 8.5 of 9 with one tie: (8.5 − 4.5)/√(9/12 · (7 − 6/30))."""
    z = rivals.rank_z(np.array([3.0, 4.0, 5.0]), np.array([1.0, 2.0, 3.0]))
    assert z == pytest.approx(4 / np.sqrt(9 / 12 * (7 - 6 / 30)))


def test_delays_leave_out_runs_aborted_before_the_onset():
    world = World("late", onset=500)
    assert simulate.delays(world, [100, 700, 900, None]) == {"median": 400, "p90": None, "early": 0.25}


def test_the_page_shows_the_figures_of_the_full_run():
    text = (ROOT / "docs/statistics.md").read_text()
    assert simulate.page(FIGURES) in text
    assert simulate.rewritten(text, FIGURES) == text


def test_the_full_run_keeps_alpha_in_every_world_and_is_near_the_wald_bound():
    """The tolerance is three standard errors above α."""
    alpha, runs = FIGURES["alpha"], FIGURES["runs"]["null"]
    worst = alpha + 3 * (alpha * (1 - alpha) / runs) ** 0.5
    assert FIGURES["false_aborts"].keys() == {world.name for world in NULLS}
    for name in (world.name for world in NULLS):
        found = FIGURES["false_aborts"][name]
        assert OURS & found.keys()
        assert all(found[method] <= worst for method in OURS & found.keys()), name
    for name in ("1→2 %", "1→5 %"):
        assert FIGURES["delays"][name][simulate.TWO_SAMPLE]["median"] <= 1.3 * FIGURES["wald"][name]


def test_the_command_writes_the_figures_and_the_page(tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text("before\n" + "\n".join(simulate.MARKERS) + "\nafter\n")
    options = ["--nulls", "1", "--alternatives", "1", "--horizon", "2000"]
    assert simulate.main([*options, "--json", str(tmp_path / "f.json"), "--page", str(page)]) == 0
    figures = json.loads((tmp_path / "f.json").read_text())
    assert (
        page.read_text()
        == f"before\n{simulate.MARKERS[0]}\n{simulate.page(figures)}\n{simulate.MARKERS[1]}\nafter\n"
    )
    assert simulate.page(figures) in capsys.readouterr().out


@pytest.mark.parametrize(("share", "requests"), [(0.05, "2.5k"), (0.25, "0.7k")])
def test_the_wald_bounds_that_the_page_states(share, requests):
    assert simulate.thousands_of(simulate.wald(World("", shares=(share,), worse=5.0))) == requests


def test_in_the_world_of_customers_a_few_cause_all_errors():
    """Half of the requests of 100 customers fail, and none of the others. A side may have more or fewer of the 100."""
    simulated = traffic(CUSTOMERS, 3000, np.random.default_rng(2))
    rate = (simulated.x.sum() + simulated.rest_x.sum()) / (3000 * LOOK)
    assert rate == pytest.approx(0.01, rel=0.05)
    errors = [traffic(CUSTOMERS, 1000, np.random.default_rng(seed)).x.sum() for seed in range(8)]
    assert np.std(errors) > 2 * np.sqrt(np.mean(errors))  # far more variance than independent requests have
