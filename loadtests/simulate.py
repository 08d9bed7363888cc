"""False aborts and delays of the real checks at continuous looks, compared with other methods.

    python -m loadtests.simulate                                        prints the tables
    python -m loadtests.simulate --json FILE --page docs/statistics.md  writes them too

A healthy challenger that is aborted within the horizon is a false abort. α is that of the single check, or of the
whole rollout in the world with a ramp. In healthy worlds the absolute limits equal the true values, where a
false abort is most likely; in faulty worlds they are above the healthy values.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from crossfade.rollout.checks import evaluate_check
from crossfade.rollout.evidence import MIN_FOR_QUANTILE, Evidence, fix_limits, gather
from crossfade.rollout.plan import Check
from crossfade.rollout.verdict import Verdict
from crossfade.rollout.verdict_rule import CheckContext
from crossfade.stats.counts import ERROR, Cell, Events
from crossfade.stats.histogram import Histogram, bucket_of
from crossfade.stats.sequential import SplitCounts, bound, gain_worse, log_e_worse
from loadtests.rivals import RIVALS
from loadtests.worlds import ALTERNATIVES, LOOK, NULLS, P99, Ints, Traffic, World, traffic

ALPHA = 0.01
HORIZON = 100_000  # requests
SEED = 20_261_121
TWO_SAMPLE = "two-sample test alone"
MARKERS = ("<!-- simulation: begin -->", "<!-- simulation: end -->")
AS_CODE = "`{}`".format
HASH_FACTOR = 0x9E3779B97F4A7C15  # turns the number of a customer into a 64-bit hash

Aborts = dict[str, int | None]  # by method: the look at which it aborts, None if it does not


def checks_of(world: World) -> dict[str, Check]:
    if world.scored:
        return {
            AS_CODE("score_divergence max: 0.1"): Check("score_divergence", "max", 0.1, "max"),
            AS_CODE("score_divergence max_ratio: 1.5"): Check("score_divergence", "max_ratio", 1.5, "ratio"),
        }
    if world.timed:
        return {
            AS_CODE("max_ratio: 1.1"): Check("latency", "max_ratio", 1.1, "ratio", quantile=0.99),
            AS_CODE("max"): Check("latency", "max", P99 * world.room, "max", quantile=0.99),
        }
    return {
        AS_CODE("max_increase: 0"): Check("error_rate", "max_increase", 0.0, "increase"),
        AS_CODE("max"): Check("error_rate", "max", max(world.base) * world.room, "max"),
    }


def checks_abort(world: World, simulated: Traffic) -> Aborts:
    """The look at which each check FAILs.

    Evidence against the challenger grows only with a bad outcome of the challenger, so checks are evaluated when one
    came. They are also evaluated every 20 looks, since a VOID may end without one.
    """
    checks, steps = checks_of(world), len(world.shares)
    alpha = ALPHA / (steps + 1) if steps > 1 else ALPHA
    aborts: Aborts = dict.fromkeys(checks)
    evidence = Evidence("v2", "v3", baseline=champion_baseline(world))
    fix_limits(evidence, checks.values())
    for look, step in enumerate(simulated.step):
        if len(evidence.strata) == step:
            evidence.open("r", int(step), int(step), world.shares[step])
        gather(evidence, with_slow_answers(evidence, cells_of(simulated, look)), checks.values())
        if look % 5 == 0 if world.scored else simulated.x[look] or look % 20 == 0:
            for name, check in checks.items():
                finding = evaluate_check(check, evidence, CheckContext(int(step), 100, alpha, ALPHA))
                if aborts[name] is None and finding.verdict is Verdict.FAIL:
                    aborts[name] = look
            if None not in aborts.values():
                break
    return aborts


def champion_baseline(world: World) -> Histogram:
    """Durations of the champion before the challenger gets traffic."""
    baseline = Histogram()
    if world.timed:
        rng = np.random.default_rng(SEED)
        (_, times), *_ = traffic(
            World("", shares=(0.0,), timed=True), 10 * MIN_FOR_QUANTILE // LOOK, rng
        ).times
        fill(baseline, times)
    return baseline


def cells_of(simulated: Traffic, look: int) -> list[Cell]:
    version = int(simulated.step[look])
    ours = Cell("r", "v3", "challenger", version, int(simulated.n[look]), int(simulated.x[look]))
    theirs = Cell("r", "v2", "champion", version, int(simulated.rest_n[look]), int(simulated.rest_x[look]))
    if simulated.times:
        ours.errors = theirs.errors = 0
        for cell, times in zip((ours, theirs), simulated.times[look], strict=True):
            fill(cell.duration, times)
    for side, cell in enumerate((ours, theirs)):
        if simulated.failed:
            keys = [(int(who) + 1) * HASH_FACTOR % 2**64 for who in simulated.failed[look][side]]
            cell.events[ERROR] = Events(keyed=len(keys), keys=keys)
        if simulated.scores:
            for score in simulated.scores[look][side].tolist():
                cell.scores.add(score)
    if simulated.scores:
        ours.errors = theirs.errors = 0
    return [ours, theirs]


def with_slow_answers(evidence: Evidence, cells: list[Cell]) -> list[Cell]:
    """Add the counts of slow answers, as workers do with the limits that they are sent."""
    for side, cell in enumerate(cells):
        for title, limit in evidence.limits.items():
            slow = cell.duration.above(
                bucket_of(limit[side] * 0.999)
            )  # the upper edge of a bucket belongs to it
            cell.events[title] = Events(unkeyed=slow)
    return cells


def fill(histogram: Histogram, buckets: Ints) -> None:
    for bucket in buckets.tolist():
        histogram.buckets[bucket] = histogram.buckets.get(bucket, 0) + 1
    histogram.count += len(buckets)


def two_sample_abort(world: World, simulated: Traffic) -> int | None:
    """The two-sample test alone, without restarts, to compare with its Wald bound."""
    here, rest = np.cumsum(simulated.x), np.cumsum(simulated.rest_x)
    for look in np.flatnonzero(simulated.x).tolist():
        counts = SplitCounts(world.shares[0], int(here[look]), int(rest[look]))
        if log_e_worse([counts], 1.0) >= bound(ALPHA):
            return int(look)
    return None


def wald(world: World) -> int:
    """The Wald bound: requests until abort that no test of this level beats by much, for a fault from the start."""
    share, base = world.shares[0], world.base[0]
    return ceil(bound(ALPHA) / (gain_worse(share, base * world.worse, base, 1.0) * share))


def aborts_of(world: World, simulated: Traffic) -> Aborts:
    found = checks_abort(world, simulated)
    if len(world.shares) == 1 and not (world.timed or world.customers or world.scored):
        found[TWO_SAMPLE] = two_sample_abort(world, simulated)
    return found | {name: rival(world, simulated) for name, rival in RIVALS.items()}


def runs_of(world: World, runs: int, horizon: int) -> dict[str, list[int | None]]:
    """Requests until abort of each run, by method."""
    out: dict[str, list[int | None]] = {}
    for run in range(runs):
        rng = np.random.default_rng([SEED, run, *map(ord, world.name)])
        for name, look in aborts_of(world, traffic(world, horizon // LOOK, rng)).items():
            out.setdefault(name, []).append(None if look is None else (look + 1) * LOOK)
    return out


def delays(world: World, found: Sequence[int | None]) -> dict[str, float | int | None]:
    """Median and p90 of requests from the onset of the fault to the abort, over runs not aborted before the onset."""
    valid = [at for at in found if at is None or at > world.onset]
    delays_found = sorted(at - world.onset for at in valid if at is not None)

    def rank(q: float) -> int | None:
        place = ceil(q * len(valid)) - 1
        return delays_found[place] if 0 <= place < len(delays_found) else None

    return {"median": rank(0.5), "p90": rank(0.9), "early": 1 - len(valid) / len(found)}


def simulate(nulls: int, alternatives: int, horizon: int, progress: Callable[[str], None]) -> dict[str, Any]:
    result: dict[str, Any] = {
        "alpha": ALPHA,
        "horizon": horizon,
        "runs": {"null": nulls, "alternative": alternatives},
        "false_aborts": {},
        "delays": {},
        "wald": {},
    }
    for world in NULLS:
        progress(world.name)
        runs = runs_of(world, nulls, horizon)
        result["false_aborts"][world.name] = {m: rate(found) for m, found in runs.items()}
    for world in ALTERNATIVES:
        progress(world.name)
        runs = runs_of(world, alternatives, horizon)
        result["delays"][world.name] = {m: delays(world, found) for m, found in runs.items()}
        if not (world.timed or world.scored):
            result["wald"][world.name] = wald(world)
    return result


def rate(found: Sequence[int | None]) -> float:
    return sum(at is not None for at in found) / len(found)


def page(result: dict[str, Any]) -> str:
    """Two Markdown tables."""
    runs, alpha, thousands = result["runs"], result["alpha"], result["horizon"] // 1000
    false_aborts = [[m, *cells] for m, cells in rows(result["false_aborts"], lambda share: f"{share:.1%}")]
    delays = [[m, *cells] for m, cells in rows(result["delays"], delay_cell)]
    bounds = ["Wald bound, α = 1 %", *(thousands_of(result["wald"].get(name)) for name in result["delays"])]
    return "\n".join(
        [
            f"Healthy challengers aborted within {thousands} 000 requests (α = {alpha:.0%}, {runs['null']} runs each):",
            "",
            *table(["", *result["false_aborts"]], false_aborts),
            "",
            f"Requests until a faulty challenger is aborted, median (p90), {runs['alternative']} runs each:",
            "",
            *table(["", *result["delays"]], [*delays, bounds]),
        ]
    )


def rows(worlds: dict[str, dict[str, Any]], render: Callable[[Any], str]) -> list[tuple[str, list[str]]]:
    """One row for each method, in the order in which they first appear: checks, the test alone, rivals."""
    methods = list(dict.fromkeys(name for found in worlds.values() for name in found))
    ranked = sorted(methods, key=lambda m: (m in RIVALS, m == TWO_SAMPLE))
    return [(m, [render(f[m]) if m in f else "–" for f in worlds.values()]) for m in ranked]


def delay_cell(delay: dict[str, Any]) -> str:
    early = f", {delay['early']:.0%} before the fault" if delay["early"] >= 0.05 else ""
    return f"{thousands_of(delay['median'], 'not found')} ({thousands_of(delay['p90'], '–')}){early}"


def thousands_of(requests: int | None, otherwise: str = "–") -> str:
    return otherwise if requests is None else f"{requests / 1000:.1f}k"


def table(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *body)]


def rewritten(text: str, result: dict[str, Any]) -> str:
    """The page with new tables between the markers."""
    before, _, rest = text.partition(MARKERS[0])
    _, _, after = rest.partition(MARKERS[1])
    return f"{before}{MARKERS[0]}\n{page(result)}\n{MARKERS[1]}{after}"


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtests.simulate", description=__doc__)
    parser.add_argument("--nulls", type=int, default=1000, help="runs of each healthy world")
    parser.add_argument("--alternatives", type=int, default=1000, help="runs of each faulty world")
    parser.add_argument("--horizon", type=int, default=HORIZON, help="requests of a run")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--page", type=Path, help="page whose tables are replaced")
    options = parser.parse_args(argv)
    result = simulate(
        options.nulls, options.alternatives, options.horizon, lambda name: print(name, file=sys.stderr)
    )
    print(page(result))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    if options.page:
        options.page.write_text(rewritten(options.page.read_text(), result))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
