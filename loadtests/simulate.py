"""False aborts and delays of the real checks, looked at continuously, beside what others do.

    python -m loadtests.simulate                    the table
    python -m loadtests.simulate --json FILE --page docs/statistics.md     … and where it is kept

A healthy challenger that is aborted within the horizon is a false abort; α is that of the single check
(of the whole rollout, where the world is a ramp). In healthy worlds the absolute limits lie exactly at
the truth, where a test is most easily wrong; in sick ones they leave the healthy some room.
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
PLAIN = "two-arm test alone"
MARKS = ("<!-- simulation: begin -->", "<!-- simulation: end -->")
SPELLED = "`{}`".format
SPREAD_OUT = 0x9E3779B97F4A7C15  # makes a number of a customer look like the hash of a key

Aborts = dict[str, int | None]  # by method: the look at which it aborts


def checks_of(world: World) -> dict[str, Check]:
    if world.scored:
        return {
            SPELLED("score_divergence max: 0.1"): Check("score_divergence", "max", 0.1, "max"),
            SPELLED("score_divergence max_ratio: 1.5"): Check("score_divergence", "max_ratio", 1.5, "ratio"),
        }
    if world.timed:
        return {
            SPELLED("max_ratio: 1.1"): Check("latency", "max_ratio", 1.1, "ratio", quantile=0.99),
            SPELLED("max"): Check("latency", "max", P99 * world.room, "max", quantile=0.99),
        }
    return {
        SPELLED("max_increase: 0"): Check("error_rate", "max_increase", 0.0, "increase"),
        SPELLED("max"): Check("error_rate", "max", max(world.base) * world.room, "max"),
    }


def crossfade(world: World, seen: Traffic) -> Aborts:
    """At which look each check says FAIL.

    Evidence against the challenger can rise only with a bad outcome of its own, so it is judged when one
    came, and now and then between, since what excuses it may cease.
    """
    checks, steps = checks_of(world), len(world.shares)
    alpha = ALPHA / (steps + 1) if steps > 1 else ALPHA
    aborts: Aborts = dict.fromkeys(checks)
    evidence = Evidence("v2", "v3", baseline=warmed(world))
    fix_limits(evidence, checks.values())
    for look, step in enumerate(seen.step):
        if len(evidence.strata) == step:
            evidence.open("r", int(step), int(step), world.shares[step])
        gather(evidence, reported(evidence, cells_of(seen, look)), checks.values())
        if look % 5 == 0 if world.scored else seen.x[look] or look % 20 == 0:
            for name, check in checks.items():
                verdict = evaluate_check(check, evidence, CheckContext(int(step), 100, alpha, ALPHA))
                if aborts[name] is None and verdict.verdict is Verdict.FAIL:
                    aborts[name] = look
            if None not in aborts.values():
                break
    return aborts


def warmed(world: World) -> Histogram:
    """The champion is known before the challenger comes."""
    known = Histogram()
    if world.timed:
        rng = np.random.default_rng(SEED)
        (_, times), *_ = traffic(
            World("", shares=(0.0,), timed=True), 10 * MIN_FOR_QUANTILE // LOOK, rng
        ).times
        fill(known, times)
    return known


def cells_of(seen: Traffic, look: int) -> list[Cell]:
    version = int(seen.step[look])
    ours = Cell("r", "v3", "challenger", version, int(seen.n[look]), int(seen.x[look]))
    theirs = Cell("r", "v2", "champion", version, int(seen.rest_n[look]), int(seen.rest_x[look]))
    if seen.times:
        ours.errors = theirs.errors = 0
        for cell, times in zip((ours, theirs), seen.times[look], strict=True):
            fill(cell.duration, times)
    for side, cell in enumerate((ours, theirs)):
        if seen.failed:
            keys = [(int(who) + 1) * SPREAD_OUT % 2**64 for who in seen.failed[look][side]]
            cell.events[ERROR] = Events(keyed=len(keys), keys=keys)
        if seen.scores:
            for score in seen.scores[look][side].tolist():
                cell.scores.add(score)
    if seen.scores:
        ours.errors = theirs.errors = 0
    return [ours, theirs]


def reported(evidence: Evidence, cells: list[Cell]) -> list[Cell]:
    """Slow answers counted as workers count them, who know the limits."""
    for side, cell in enumerate(cells):
        for title, limit in evidence.limits.items():
            slow = cell.duration.above(bucket_of(limit[side] * 0.999))  # a bucket's edge belongs to it
            cell.events[title] = Events(unkeyed=slow)
    return cells


def fill(histogram: Histogram, buckets: Ints) -> None:
    for bucket in buckets.tolist():
        histogram.buckets[bucket] = histogram.buckets.get(bucket, 0) + 1
    histogram.count += len(buckets)


def plain(world: World, seen: Traffic) -> int | None:
    """The test with nothing around it, to compare with its Wald bound."""
    here, rest = np.cumsum(seen.x), np.cumsum(seen.rest_x)
    for look in np.flatnonzero(seen.x).tolist():
        tosses = SplitCounts(world.shares[0], int(here[look]), int(rest[look]))
        if log_e_worse([tosses], 1.0) >= bound(ALPHA):
            return int(look)
    return None


def wald(world: World) -> int:
    """Requests until abort that no test of this level can beat by much, for a change from the start."""
    share, base = world.shares[0], world.base[0]
    return ceil(bound(ALPHA) / (gain_worse(share, base * world.worse, base, 1.0) * share))


def aborts_of(world: World, seen: Traffic) -> Aborts:
    found = crossfade(world, seen)
    if len(world.shares) == 1 and not (world.timed or world.customers or world.scored):
        found[PLAIN] = plain(world, seen)
    return found | {name: rival(world, seen) for name, rival in RIVALS.items()}


def runs_of(world: World, runs: int, horizon: int) -> dict[str, list[int | None]]:
    """Requests until abort, for each run, by method."""
    out: dict[str, list[int | None]] = {}
    for run in range(runs):
        rng = np.random.default_rng([SEED, run, *map(ord, world.name)])
        for name, look in aborts_of(world, traffic(world, horizon // LOOK, rng)).items():
            out.setdefault(name, []).append(None if look is None else (look + 1) * LOOK)
    return out


def delays(world: World, found: Sequence[int | None]) -> dict[str, float | int | None]:
    """Of the runs that were not aborted before there was a reason: median and p90 of requests after the onset."""
    honest = [at for at in found if at is None or at > world.onset]
    waits = sorted(at - world.onset for at in honest if at is not None)

    def rank(q: float) -> int | None:
        place = ceil(q * len(honest)) - 1
        return waits[place] if 0 <= place < len(waits) else None

    return {"median": rank(0.5), "p90": rank(0.9), "early": 1 - len(honest) / len(found)}


def simulate(nulls: int, alternatives: int, horizon: int, tell: Callable[[str], None]) -> dict[str, Any]:
    result: dict[str, Any] = {
        "alpha": ALPHA,
        "horizon": horizon,
        "runs": {"null": nulls, "alternative": alternatives},
        "false_aborts": {},
        "delays": {},
        "wald": {},
    }
    for world in NULLS:
        tell(world.name)
        runs = runs_of(world, nulls, horizon)
        result["false_aborts"][world.name] = {m: rate(found) for m, found in runs.items()}
    for world in ALTERNATIVES:
        tell(world.name)
        runs = runs_of(world, alternatives, horizon)
        result["delays"][world.name] = {m: delays(world, found) for m, found in runs.items()}
        if not (world.timed or world.scored):
            result["wald"][world.name] = wald(world)
    return result


def rate(found: Sequence[int | None]) -> float:
    return sum(at is not None for at in found) / len(found)


def page(result: dict[str, Any]) -> str:
    """Two Markdown tables."""
    runs, alpha, thousand = result["runs"], result["alpha"], result["horizon"] // 1000
    wrong = [[m, *cells] for m, cells in rows(result["false_aborts"], lambda share: f"{share:.1%}")]
    late = [[m, *cells] for m, cells in rows(result["delays"], spelled)]
    bounds = ["Wald bound, α = 1 %", *(brief(result["wald"].get(name)) for name in result["delays"])]
    return "\n".join(
        [
            f"Healthy challengers aborted within {thousand} 000 requests (α = {alpha:.0%}, {runs['null']} runs each):",
            "",
            *table(["", *result["false_aborts"]], wrong),
            "",
            f"Requests until a sick challenger is aborted, median (p90), {runs['alternative']} runs each:",
            "",
            *table(["", *result["delays"]], [*late, bounds]),
        ]
    )


def rows(worlds: dict[str, dict[str, Any]], say: Callable[[Any], str]) -> list[tuple[str, list[str]]]:
    """Methods in the order in which they first appear, our own first."""
    methods = list(dict.fromkeys(name for found in worlds.values() for name in found))
    ranked = sorted(methods, key=lambda m: (m in RIVALS, m == PLAIN))
    return [(m, [say(f[m]) if m in f else "–" for f in worlds.values()]) for m in ranked]


def spelled(delay: dict[str, Any]) -> str:
    early = f", {delay['early']:.0%} before it was sick" if delay["early"] >= 0.05 else ""
    return f"{brief(delay['median'], 'not found')} ({brief(delay['p90'], '–')}){early}"


def brief(requests: int | None, otherwise: str = "–") -> str:
    return otherwise if requests is None else f"{requests / 1000:.1f}k"


def table(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *body)]


def rewritten(text: str, result: dict[str, Any]) -> str:
    """The page with its tables renewed."""
    before, _, rest = text.partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    return f"{before}{MARKS[0]}\n{page(result)}\n{MARKS[1]}{after}"


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtests.simulate", description=__doc__)
    parser.add_argument("--nulls", type=int, default=1000, help="runs of each healthy world")
    parser.add_argument("--alternatives", type=int, default=1000, help="runs of each sick world")
    parser.add_argument("--horizon", type=int, default=HORIZON, help="requests of a run")
    parser.add_argument("--json", type=Path, help="where the figures go")
    parser.add_argument("--page", type=Path, help="a page whose tables are renewed")
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
