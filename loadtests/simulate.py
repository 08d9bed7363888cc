"""False aborts, delays and false promotions of whole rollouts in simulated worlds, beside other methods.

    python -m loadtests.simulate                                        prints the tables
    python -m loadtests.simulate --only pauses                          of the worlds with this text in their name
    python -m loadtests.simulate --json FILE --page docs/statistics.md  writes them too

Each rollout runs the proxy's own plan, evidence, judgement and moves (loadtests/rollouts.py). A healthy challenger that is aborted
or rolled back is a false abort; α is that of the whole rollout.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from loadtests.rivals import RIVALS, Abort, Rivals
from loadtests.rollouts import Result, Rollout
from loadtests.simulated_page import page, rewritten
from loadtests.traffic import World
from loadtests.worlds import FAULTY, HEALTHY

ALPHA = 0.01
SEED = 20_261_127
WORLDS = {world.name: world for world in (*HEALTHY, *FAULTY)}

Rival = dict[str, Abort]


def rollout(name: str, run: int) -> Result:
    """The same name and number give the same run."""
    return Rollout(WORLDS[name], generator(name, run)).run()


def rivals(name: str, run: int) -> Rival:
    return Rivals(WORLDS[name], generator(name, run)).run()


def generator(name: str, run: int) -> np.random.Generator:
    return np.random.default_rng([SEED, run, *map(ord, name)])


def new_pool(jobs: int) -> ProcessPoolExecutor:
    """Of processes that leave the machine to others."""
    return ProcessPoolExecutor(jobs, initializer=os.nice, initargs=(10,))


def figures_of(pool: ProcessPoolExecutor, world: World, runs: int) -> dict[str, Any]:
    count = max(1, ceil(runs * world.runs))
    chunk = max(1, count // 40)
    results = list(pool.map(rollout, [world.name] * count, range(count), chunksize=chunk))
    found = {"runs": count} | summary(results)
    if "watch" in world.settings:
        return found | {"rivals": None}  # they do not watch
    others = list(pool.map(rivals, [world.name] * count, range(count), chunksize=chunk))
    return found | {"rivals": summary_of_rivals(others, results[0].onset)}


def summary(results: Sequence[Result]) -> dict[str, Any]:
    """Delays count from the onset of the fault, over the runs that were not aborted before it."""
    onset = results[0].onset
    aborted = [r for r in results if r.end == "aborted"]
    found = [r for r in aborted if r.at > onset]
    count = len(results) - (len(aborted) - len(found))
    waits = Counter(subject(r.why) for r in results if r.end == "waiting")
    return {
        "aborted": len(aborted),
        "promoted": sum(r.end == "promoted" for r in results),
        "waiting": sum(r.end == "waiting" for r in results),
        "early": len(aborted) - len(found),
        "requests": quantiles([r.requests - r.requests_before for r in found], count),
        "minutes": quantiles([(r.at - onset) / 60 for r in found], count),
        "checks": dict(Counter(check for r in aborted for check in r.checks)),
        "waits": dict(waits.most_common(2)),
    }


def subject(why: str) -> str:
    """What a rollout waits for, without the numbers of this run: the check and its verdict."""
    name, _, rest = why.partition(" (")
    return f"{name} ({rest.partition(':')[0]})" if rest else name


def quantiles(found: Sequence[float], count: int) -> list[float | None]:
    """Median and p90 over all runs; None where so many do not abort."""
    ordered = sorted(found)
    ranks = [ceil(q * count) - 1 for q in (0.5, 0.9)]
    return [round(ordered[rank], 1) if 0 <= rank < len(ordered) else None for rank in ranks]


def summary_of_rivals(found: Sequence[Rival], onset: float) -> dict[str, Any]:
    out = {}
    for name in RIVALS:
        aborts = [rival[name] for rival in found if name in rival]
        late = [abort for abort in aborts if abort.at > onset]
        minutes = [(abort.at - onset) / 60 for abort in late]
        count = len(found) - (len(aborts) - len(late))
        out[name] = {
            "aborted": len(aborts),
            "early": len(aborts) - len(late),
            "minutes": quantiles(minutes, count),
        }
    return out


def simulate(
    worlds: Sequence[World], runs: int, jobs: int, progress: Callable[[str], None]
) -> dict[str, Any]:
    found = {}
    with new_pool(jobs) as pool:
        for world in worlds:
            found[world.name] = figures_of(pool, world, runs)
            progress(f"{world.name}: {json.dumps(found[world.name], ensure_ascii=False)}")
    kinds = {"healthy": HEALTHY, "faulty": FAULTY}
    return {"alpha": ALPHA} | {
        kind: {world.name: found[world.name] for world in those if world.name in found}
        for kind, those in kinds.items()
    }


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtests.simulate", description=__doc__)
    parser.add_argument(
        "--runs", type=int, default=400, help="rollouts of each world; some worlds take a part"
    )
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--only", action="append", default=[], help="worlds whose name has this text")
    parser.add_argument("--json", type=Path, help="file for the figures; worlds that are not simulated stay")
    parser.add_argument("--page", type=Path, help="page whose tables are replaced")
    options = parser.parse_args(argv)
    chosen = [
        world
        for world in WORLDS.values()
        if not options.only or any(text in world.name for text in options.only)
    ]
    result = simulate(
        chosen, options.runs, options.jobs, lambda text: print(text, file=sys.stderr, flush=True)
    )
    if options.json:
        result = joined(options.json, result)
        options.json.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    print(page(result))
    if options.page:
        options.page.write_text(rewritten(options.page.read_text(), result))
    return 0


def joined(path: Path, result: dict[str, Any]) -> dict[str, Any]:
    """The figures with those of the file for the worlds that were not simulated now."""
    old = json.loads(path.read_text()) if path.exists() else {}
    out = {"alpha": result["alpha"]}
    for kind, worlds in (("healthy", HEALTHY), ("faulty", FAULTY)):
        both = old.get(kind, {}) | result[kind]
        out[kind] = {world.name: both[world.name] for world in worlds if world.name in both}
    return out


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
