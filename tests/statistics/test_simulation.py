"""The simulated rollouts with few runs and fixed seeds, and the page that shows the full run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from crossfade.stats.counts import ERROR, REQUESTS
from crossfade.stats.histogram import bucket_of
from loadtests import rivals, simulate
from loadtests.binomial import clopper_pearson
from loadtests.deciding_code import deciding_code, name_of
from loadtests.mirrored import ALIKE, UNLIKE
from loadtests.rollouts import CHALLENGER, START, Result, Rollout
from loadtests.simulated_page import MARKERS, page, rewritten
from loadtests.traffic import Position, Requests, Traffic, World, episodes, errors, pauses, poison
from loadtests.worlds import FAULTY, HEALTHY, error_increase, error_max, p99_ratio, plan

ROOT = Path(__file__).parents[2]
FIGURES = json.loads((ROOT / "loadtests/results/statistics.json").read_text())
QUICK = plan(("60s", "60s", "60s"), error_max("2%"), error_increase("0.5%"), p99_ratio(1.25))


def drawn(world: World, begin: int = START, length: int = 10, weight: float = 0.5, seed: int = 1) -> Requests:
    traffic = Traffic(world, np.random.default_rng(seed), START + 1000.0)
    return traffic.draw(begin, begin + length, Position(weight, weight / 2, float(START), 1000.0))


def run(world: World, seed: int = 1) -> Result:
    return Rollout(world, np.random.default_rng(seed)).run()


@pytest.mark.parametrize("world", [*HEALTHY, *FAULTY], ids=lambda world: world.name)
def test_traffic_matches_its_world(world):
    found = drawn(world, weight=0.25, length=60)
    rate = world.rate(np.array([float(START)]))[0] if callable(world.rate) else world.rate
    assert len(found.at) == pytest.approx(60 * rate, abs=6 + 12 * np.sqrt(rate) + 20 * rate)
    assert (found.here == (found.bucket < 0.25)).all()
    assert (found.added == found.here & (found.bucket >= 0.125)).all()
    assert (found.customer >= 0).all() == (world.customers > 0)
    assert (found.endpoint < np.where(found.here, *world.endpoints)).all()
    assert ((found.fails >= 0) & (found.fails <= 1)).all() and (found.seconds > 0).all()


def test_a_customer_keeps_its_side_and_the_first_is_the_busiest():
    found = drawn(World("", customers=20, skew=1.0), length=30)
    for who in range(20):
        assert len(set(found.here[found.customer == who])) <= 1
    assert np.bincount(found.customer, minlength=20).argmax() == 0


def test_an_episode_hits_both_sides_and_a_lag_only_the_champion():
    found = drawn(World("", (episodes(1e9, 1e9, fails=0.5, factor=2.0, lag=7.0),)), begin=START)
    assert set(found.fails) <= {0.0, 0.5}
    late = drawn(World("", (episodes(100.0, 100.0, fails=0.5, lag=7.0),)))
    assert set(late.lag[late.here]) == {0.0} and set(late.lag[~late.here & (late.fails > 0)]) == {7.0}


def test_what_comes_to_an_endpoint_in_a_pause_waits_for_its_end():
    world = World("", (pauses(3600.0, 1.0, (1, 1)),), endpoints=(1, 1))
    seconds = drawn(world, length=60).seconds
    assert 0.02 < (seconds > 0.5).mean() < 0.9 and seconds.max() < 1 + 2.0
    assert (drawn(World(""), length=60).seconds < 1.0).all()


def test_the_chosen_customers_fail_on_either_side():
    found = drawn(World("", (poison(1.0, every=4),), customers=40))
    assert (found.bad == (found.customer % 4 == 2)).all()


def test_cells_have_every_request_once_with_its_endpoint_and_limits():
    world = World("", (errors(0.1),), QUICK, customers=50)
    rollout = Rollout(world, np.random.default_rng(3))
    rollout.move(START)
    requests = rollout.traffic.draw(START, START + 20, Position(0.5, 0.0, START, 60.0))
    requests.bad[:] = requests.fails > 0
    cells = rollout.cells_of(requests, START + 20)
    assert len(cells) == 4 and {cell.second for cell in cells} == {START, START + 10}
    assert sum(cell.requests for cell in cells) == sum(cell.errors for cell in cells) == len(requests.at)
    for cell in cells:
        assert sum(of[REQUESTS] for of in cell.by_endpoint.values()) == cell.requests == cell.duration.count
        assert sum(of[ERROR] for of in cell.by_endpoint.values()) == cell.errors == cell.events[ERROR].n
        for title, limit in rollout.runtime.limits[cell.backend]:
            slow = cell.events[title].n if title in cell.events else 0
            assert slow == pytest.approx(cell.duration.above(bucket_of(limit * 0.999)), abs=1)


def test_a_failure_that_is_known_late_comes_later_with_its_second_and_waits_until_then():
    world = World("", (episodes(1.0, 1e9, fails=1.0, lag=5.0),), QUICK, look=1)
    rollout = Rollout(world, np.random.default_rng(3))
    rollout.move(START)
    requests = rollout.traffic.draw(START + 10, START + 11, Position(0.5, 0.0, START, 60.0))
    now = rollout.cells_of(requests, START + 11)
    assert {cell.backend for cell in now} == {CHALLENGER}
    waiting = rollout.waiting()
    assert waiting == {"v2": {START + 10: int((~requests.here).sum())}}
    nothing = rollout.traffic.draw(START + 15, START + 15, Position(0.5, 0.0, START, 60.0))
    (late,) = rollout.cells_of(nothing, START + 16)
    assert (late.second, late.errors, late.backend) == (START + 10, int((~requests.here).sum()), "v2")
    assert not rollout.waiting()


def test_a_rollout_goes_through_its_steps_and_each_gets_a_stratum_with_its_share():
    rollout = Rollout(World("quick", (errors(0.002),), QUICK), np.random.default_rng(1))
    assert rollout.run().end == "promoted"
    assert [(s.step, s.share) for s in rollout.evidence.strata][:3] == [(0, 0.05), (1, 0.25), (2, 0.5)]
    assert rollout.state.step == len(rollout.state.steps) - 1


def test_a_challenger_that_fails_often_is_aborted_with_its_check_and_reason():
    found = run(World("bad", (errors(0.002, 0.2),), QUICK))
    assert found.end == "aborted" and 0 < found.requests < 2000
    assert any(check.startswith("error_rate") for check in found.checks) and "failed" in found.why


def test_a_rollout_without_requests_waits_until_the_horizon():
    found = run(World("idle", (), QUICK, rate=0.0, horizon=300.0))
    assert (found.end, found.requests) == ("waiting", 0)
    assert simulate.subject(found.why) == "100 more requests on v3"


@pytest.mark.parametrize("world", [*HEALTHY, *FAULTY], ids=lambda world: world.name)
def test_each_world_runs_and_the_same_seed_gives_the_same_run(world):
    """A short part of each world: the first two minutes."""
    short = replace(world, horizon=120.0)
    first, again = run(short), run(short)
    assert first == again and first.end in ("waiting", "aborted")


LONG = {world.name for world in HEALTHY if world.runs < 1 or world.horizon}


@pytest.mark.parametrize("world", [w for w in HEALTHY if w.name not in LONG], ids=lambda world: world.name)
def test_a_healthy_challenger_is_not_aborted(world):
    """One whole rollout of each world that takes less than a second; `python -m loadtests.simulate` runs hundreds of all."""
    assert Rollout(world, simulate.generator(world.name, 0)).run().end in ("promoted", "waiting")


WATCH = "watch of 4 h{} 60 s at 20 % on both each hour"
LATE = "1→5 % in the last 10 min of 4 h at 5 %"


@pytest.mark.parametrize(
    ("name", "number", "end"),
    [
        (WATCH.format(", `holdback: 2%`,"), 98, "promoted"),  # the fuse: 10 of 20 failed by chance
        (WATCH.format(" without a holdback,"), 26, "promoted"),  # the fuse
        (WATCH.format(" without a holdback,"), 62, "promoted"),  # a minute's burst counted as 12
        (LATE, 0, "aborted"),  # passed at less than 10 to 1 against it
        (LATE, 15, "aborted"),
    ],
)
def test_runs_that_ended_wrong_end_right(name, number, end):
    world = simulate.WORLDS[name]
    assert Rollout(world, simulate.generator(name, number)).run().end == end


def test_the_end_of_a_step_does_not_delay_a_healthy_rollout_with_few_customers():
    """Each customer of the champion has had its first slow answer, so the late part has those of the challenger alone."""
    found = Rollout(simulate.WORLDS["50 customers"], simulate.generator("50 customers", 9)).run()
    assert found.end == "promoted" and found.at == 2400  # the sum of the holds; 3360 where 10 to 3 held it


@pytest.mark.parametrize(
    "name", ["1→2 %", "1→5 %", "twice `max: 2%`, champion at 1 %", "p99 × 1.5", "scores 0.17 apart"]
)
def test_a_faulty_challenger_is_aborted(name):
    found = Rollout(simulate.WORLDS[name], simulate.generator(name, 0)).run()
    assert found.end == "aborted" and found.checks


def test_rivals_abort_a_challenger_that_fails_and_not_one_that_never_does():
    bad = World("bad", (errors(0.01, 0.3),), plan(("15m", "1m", "1m"), error_max("2%")))
    found = rivals.Rivals(bad, np.random.default_rng(1)).run()
    assert found.keys() == set(rivals.RIVALS)
    assert found[rivals.ARGO].at == 240 and found[rivals.FLAGGER].at == 300  # the 4th and the 5th interval
    assert found[rivals.KAYENTA].at == 600  # the tenth
    good = World("good", (), plan(("15m", "1m", "1m"), error_max("2%")))
    assert rivals.Rivals(good, np.random.default_rng(1)).run() == {}


def test_rank_z_by_hand():
    """U = 8.5 of 9 with one tie: (8.5 − 4.5)/√(9/12 · (7 − 6/30))."""
    z = rivals.rank_z(np.array([3.0, 4.0, 5.0]), np.array([1.0, 2.0, 3.0]))
    assert z == pytest.approx(4 / np.sqrt(9 / 12 * (7 - 6 / 30)))


def test_z_by_hand():
    """12 of 100 against 4 of 100: 0.08/√(0.08 · 0.92 · 2/100)."""
    sums = np.array([[100.0, 12.0, 0.0], [100.0, 4.0, 0.0]])
    assert rivals.z_of(sums, 1) == pytest.approx(0.08 / np.sqrt(0.08 * 0.92 * 0.02))


@pytest.mark.parametrize(
    ("k", "n", "interval"),
    [(0, 400, (0, 0.0091798)), (8, 60, (0.0593644, 0.2459222)), (60, 60, (0.9403705, 1))],
)
def test_clopper_pearson(k, n, interval):
    """Of no event, 1 − (α/2)^(1/n); the second is of scipy's beta quantiles."""
    assert clopper_pearson(k, n) == pytest.approx(interval, abs=1e-6)


def result(end: str, at: float, requests: int, onset: float = 0.0) -> Result:
    return Result(end, at, requests, 0, ("error_rate",), "error_rate (VOID: 3 of 4)", onset, 100)


def test_delays_count_from_the_onset_and_leave_out_runs_aborted_before_it():
    ends = [
        ("aborted", 30.0, 90),
        ("aborted", 120.0, 400),
        ("aborted", 180.0, 500),
        ("promoted", 900.0, 9000),
    ]
    found = simulate.summary([result(*end, onset=60.0) for end in ends])
    assert (found["aborted"], found["early"], found["promoted"]) == (3, 1, 1)
    assert found["requests"] == [400, None] and found["minutes"] == [2.0, None]
    assert simulate.summary([result("waiting", 9.0, 9)])["waits"] == {"error_rate (VOID)": 1}


def test_the_page_shows_the_figures_of_the_full_run():
    text = (ROOT / "docs/statistics.md").read_text()
    assert page(FIGURES) in text
    assert rewritten(text, FIGURES) == text


def test_the_full_run_has_every_world():
    assert list(FIGURES["healthy"]) == [world.name for world in HEALTHY]
    assert list(FIGURES["faulty"]) == [world.name for world in FAULTY]
    assert list(FIGURES["alike"]) == [world.name for world in ALIKE]
    assert list(FIGURES["unlike"]) == [world.name for world in UNLIKE]


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind in ("healthy", "alike") for name in FIGURES[kind]]
)
def test_the_full_run_keeps_alpha(kind, name):
    """The rate of false aborts is not proven to be above α, with 97.5 %."""
    found = FIGURES[kind][name]
    assert clopper_pearson(found["aborted"], found["runs"])[0] <= FIGURES["alpha"]


@pytest.mark.parametrize("name", ["1→2 %", "1→2 %, 10 a second", "1→5 %", "twice `max: 2%`, champion at 1 %"])
def test_the_full_run_promotes_a_challenger_at_twice_the_limit_seldom(name):
    found = FIGURES["faulty"][name]
    assert clopper_pearson(found["promoted"], found["runs"])[0] <= 0.05


def test_the_command_writes_the_figures_and_the_page_and_goes_on_with_kept_runs(tmp_path, capsys):
    file, text, kept = tmp_path / "f.json", tmp_path / "page.md", tmp_path / "runs"
    text.write_text("before\n" + "\n".join(MARKERS) + "\nafter\n")
    options = ["--jobs", "1", "--json", str(file), "--page", str(text), "--kept", str(kept)]
    options += ["--only", "p99 × 1.5", "--only", "twice `max"]
    assert simulate.main(["--runs", "4", *options]) == 0
    first = kept.read_text().splitlines()
    assert len(first) == 2
    assert simulate.main(["--runs", "8", *options]) == 0
    assert kept.read_text().splitlines()[:2] == first and len(simulate.read(kept)) == 4
    figures = json.loads(file.read_text())
    assert [found["runs"] for found in figures["faulty"].values()] == [2, 2] and not figures["healthy"]
    assert text.read_text() == f"before\n{MARKERS[0]}\n{page(figures)}\n{MARKERS[1]}\nafter\n"
    assert page(figures) in capsys.readouterr().out


def test_kept_runs_of_other_code_count_only_if_asked_for(tmp_path):
    kept, world = tmp_path / "runs", next(world for world in FAULTY if world.name == "p99 × 1.5")
    old = simulate.Record(world.name, 0, result("promoted", 1.0, 5), None, "0a1b")
    kept.write_bytes(msgspec.json.encode(old) + b"\n")
    assert [r.rollout.end for r in simulate.simulate([world], 0, 1, kept, ["0a1b"])] == ["promoted"]
    assert not simulate.simulate([world], 0, 1, kept)
    assert [r.rollout.end for r in simulate.simulate([world], 1, 1, kept)] == ["aborted"]
    assert [r.code for r in simulate.read(kept, ["0a1b"]).values()] == [simulate.CODE]
    kept.write_bytes(kept.read_bytes().replace(b',"code":"0a1b"', b""))
    assert len(simulate.read(kept)) == 1


def test_the_name_of_the_code_is_that_of_what_decides():
    first = name_of(["LIMIT = 3  # nats\n"])
    assert first == name_of(["LIMIT = (\n    3\n)\n"]) and first != name_of(["LIMIT = 10\n"])
    assert deciding_code() == simulate.CODE


def test_a_watch_has_no_rivals():
    world = next(world for world in FAULTY if "watch" in world.settings)
    record = simulate.Record(world.name, 0, result("promoted", 1.0, 5), None)
    assert simulate.figures_of([record])["rivals"] is None and not simulate.has_rivals(world)
