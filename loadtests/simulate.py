"""False aborts, delays and false promotions of whole rollouts in simulated worlds, beside other methods.

    python -m loadtests.simulate                                        prints the tables
    python -m loadtests.simulate --only pauses                          of the worlds with this text in their name
    python -m loadtests.simulate --kept FILE                            keeps each run, and goes on where it was stopped
    python -m loadtests.simulate --kept FILE --also CODE                counts kept runs of this older code too
    python -m loadtests.simulate --json FILE --page docs/statistics.md  writes them too

Each rollout runs the proxy's own plan, evidence, judgement and moves (loadtests/rollouts.py). A healthy challenger that is aborted
or rolled back is a false abort; α is that of the whole rollout. Worlds of mirrored pairs (loadtests/mirrored.py) and of feedback (loadtests/labelled.py) ask one check. Worlds that were
not chosen keep the figures that the file of `--json` has. A kept run has the name of the code that decided it; runs of
other code are not counted, and are made again.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from math import ceil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from loadtests.deciding_code import deciding_code
from loadtests.labelled import LABEL_WORLDS, LABELS_ALIKE, LABELS_UNLIKE, LabelWorld
from loadtests.labelled import run as run_labels
from loadtests.mirrored import ALIKE, PAIR_WORLDS, UNLIKE, PairWorld
from loadtests.mirrored import run as run_pairs
from loadtests.rivals import RIVALS, Abort, Rivals
from loadtests.rollouts import Result, Rollout
from loadtests.simulated_page import page, rewritten
from loadtests.traffic import World
from loadtests.worlds import FAULTY, HEALTHY

ALPHA = 0.01
SEED = 20_261_127
CODE = deciding_code()
AnyWorld = World | PairWorld | LabelWorld
WORLDS = {world.name: world for world in (*HEALTHY, *FAULTY)}


class Record(msgspec.Struct):
    """One run of one world: of the rollout, and of the rivals.

    `rivals`: None where they have no answer. `code`: of loadtests.deciding_code; "" in files from before it was kept.
    """

    world: str
    run: int
    rollout: Result
    rivals: dict[str, Abort] | None
    code: str = ""


def one(name: str, run: int) -> Record:
    """The same name and number give the same run."""
    if name in PAIR_WORLDS:
        return Record(name, run, run_pairs(PAIR_WORLDS[name], generator(name, run)), None, CODE)
    if name in LABEL_WORLDS:
        return Record(name, run, run_labels(LABEL_WORLDS[name], generator(name, run)), None, CODE)
    world = WORLDS[name]
    found = Rollout(world, generator(name, run)).run()
    others = Rivals(world, generator(name, run)).run() if has_rivals(world) else None
    return Record(name, run, found, others, CODE)


def has_rivals(world: World) -> bool:
    """They do not watch after a promote, and do not read scores."""
    return "watch" not in world.settings and not world.scored


def generator(name: str, run: int) -> np.random.Generator:
    return np.random.default_rng([SEED, run, *map(ord, name)])


def new_pool(jobs: int) -> ProcessPoolExecutor:
    """Of processes that leave the machine to others."""
    return ProcessPoolExecutor(jobs, initializer=os.nice, initargs=(10,))


def simulate(
    worlds: Sequence[AnyWorld], runs: int, jobs: int, kept: Path | None, also: Sequence[str] = ()
) -> list[Record]:
    """All runs of these worlds. `kept`: a file of the runs so far; each new one is added at once. `also`: codes that count too."""
    found = read(kept, also)
    asked = [(world, run) for world in worlds for run in range(ceil(runs * world.runs))]
    asked.sort(key=lambda task: task[1] / task[0].runs)  # so that a part of the work is a part of each world
    missing = [(world.name, run) for world, run in asked if (world.name, run) not in found]
    with new_pool(jobs) as pool:
        for done in as_completed([pool.submit(one, *task) for task in missing]):
            record = done.result()
            found[record.world, record.run] = record
            if kept:
                with kept.open("ab") as file:
                    file.write(msgspec.json.encode(record) + b"\n")
    names = {world.name for world in worlds}
    return [found[key] for key in sorted(found) if key[0] in names]


def read(kept: Path | None, also: Sequence[str] = ()) -> dict[tuple[str, int], Record]:
    """The kept runs of the present code, and where there is none, of the older codes."""
    lines = kept.read_bytes().splitlines() if kept and kept.exists() else []
    records = [msgspec.json.decode(line, type=Record) for line in lines]
    of_old = {(r.world, r.run): r for r in records if r.code in also}
    return of_old | {(r.world, r.run): r for r in records if r.code == CODE}


def figures(records: Sequence[Record]) -> dict[str, Any]:
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(record.world, []).append(record)
    out: dict[str, Any] = {"alpha": ALPHA}
    for kind, worlds in (("healthy", HEALTHY), ("faulty", FAULTY)):
        out[kind] = {world.name: figures_of(found[world.name]) for world in worlds if world.name in found}
    for kind, pairs in (("alike", ALIKE), ("unlike", UNLIKE)):
        out[kind] = {world.name: figures_of(found[world.name]) for world in pairs if world.name in found}
    for kind, labelled in (("labels alike", LABELS_ALIKE), ("labels unlike", LABELS_UNLIKE)):
        out[kind] = {world.name: figures_of(found[world.name]) for world in labelled if world.name in found}
    return out


def joined(before: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    """The figures of before, but for the worlds that have new ones."""
    return {
        kind: before.get(kind, {}) | found if isinstance(found, dict) else found
        for kind, found in result.items()
    }


def figures_of(records: Sequence[Record]) -> dict[str, Any]:
    results = [record.rollout for record in records]
    others = [record.rivals for record in records if record.rivals is not None]
    compares = others != [] and has_rivals(WORLDS[records[0].world])
    rivals = summary_of_rivals(others, results[0].onset) if compares else None
    return {"runs": len(records)} | summary(results) | {"rivals": rivals}


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


def summary_of_rivals(found: Sequence[dict[str, Abort]], onset: float) -> dict[str, Any]:
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


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtests.simulate", description=__doc__)
    parser.add_argument(
        "--runs",
        type=int,
        default=400,
        help="rollouts of each world; some worlds take a part; 0: those that are kept",
    )
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--only", action="append", default=[], help="worlds whose name has this text")
    parser.add_argument("--kept", type=Path, help="file of runs, to go on later")
    parser.add_argument("--also", action="append", default=[], help="older code whose kept runs count too")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--page", type=Path, help="page whose tables are replaced")
    options = parser.parse_args(argv)
    texts = options.only or [""]
    every: list[AnyWorld] = [*WORLDS.values(), *PAIR_WORLDS.values(), *LABEL_WORLDS.values()]
    chosen = [world for world in every if any(text in world.name for text in texts)]
    result = figures(simulate(chosen, options.runs, options.jobs, options.kept, options.also))
    if options.json and options.json.exists():
        result = joined(json.loads(options.json.read_text()), result)
    print(page(result))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    if options.page:
        options.page.write_text(rewritten(options.page.read_text(), result))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
