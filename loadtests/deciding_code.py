"""A name for the code that decides how a simulated rollout ends, so that kept runs of other code are not counted with it."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path

from crossfade import rollout, stats
from crossfade.control import rollout_runtime

_HERE = Path(__file__).parent
_OF_WORLDS = ("rollouts.py", "traffic.py", "worlds.py", "rivals.py", "mirrored.py", "labelled.py")


def deciding_code() -> str:
    """The name of the present code."""
    packages = [Path(directory) for package in (stats, rollout) for directory in package.__path__]
    files = [file for package in packages for file in package.glob("*.py")]
    files += [Path(rollout_runtime.__file__ or ""), *(_HERE / name for name in _OF_WORLDS)]
    return name_of(file.read_text() for file in sorted(files, key=lambda file: (file.parent.name, file.name)))


def name_of(sources: Iterable[str]) -> str:
    """Comments and the layout do not change it, as they decide nothing."""
    trees = [ast.dump(ast.parse(source)) for source in sources]
    return blake2b("\n".join(trees).encode(), digest_size=6).hexdigest()
