"""Many simulated rollouts of one world, on several processes, and what they come to."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from math import ceil

import numpy as np

from loadtests.rollout_worlds import WORLDS
from loadtests.rollouts import Result, Rollout

SEED = 20_261_127


def run_one(name: str, run: int) -> Result:
    """The same name and number give the same run."""
    return Rollout(WORLDS[name], np.random.default_rng([SEED, run, *map(ord, name)])).run()


def run_many(pool: ProcessPoolExecutor, name: str, runs: int) -> list[Result]:
    return list(pool.map(run_one, [name] * runs, range(runs), chunksize=max(1, runs // 40)))


def runs_of(name: str, asked: int) -> int:
    return max(1, ceil(asked * WORLDS[name].runs))


def new_pool(jobs: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(jobs, initializer=os.nice, initargs=(10,))


def ends_of(results: Sequence[Result]) -> Counter[str]:
    return Counter(result.end for result in results)
