"""Text → configuration: the one way in, for `run`, `check`, reload and the admin API alike.

Rule: all problems at once, in file order, or a configuration with its warnings; never anything else.
No file and no environment is read here: both are arguments.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from pydantic import ValidationError

from crossfade.config.document import Document, Mark
from crossfade.config.model import BackendTlsConfig, Config
from crossfade.config.pending import not_acted_on
from crossfade.config.problem import ConfigError, Problem, place_of
from crossfade.config.reader import read
from crossfade.config.rules import RULES
from crossfade.config.sentences import problems_of

Examine = Callable[[BackendTlsConfig], tuple[str, dict[str, str]]]


def _no_files(tls: BackendTlsConfig) -> tuple[str, dict[str, str]]:
    """As if the files were as they should be."""
    return "", {}


@dataclass(frozen=True, slots=True)
class Loaded:
    """`hash` tells configurations apart by what they mean: spelling, comments and order of keys do not count.

    `stamps` tells, by backend, what its TLS files hold.
    """

    config: Config
    warnings: tuple[Problem, ...]
    hash: str
    source: str
    stamps: Mapping[str, str] = field(default_factory=dict)


def load(text: str, source: str, env: Mapping[str, str], examine: Examine = _no_files) -> Loaded:
    """`source` is the file's name for messages; `examine` looks at the files that are named in it.

    Raises ConfigError with every problem found.
    """
    document = read(text, source, env)
    config, invalid = _validated(document)
    ruled = [problem for rule in RULES for problem in rule(document)]
    stamps, unusable = _examine_tls_files(document, config, examine)
    problems = [*document.problems, *invalid, *ruled, *unusable, *not_acted_on(document)]
    found = _without_repeats(problems, document)
    if config is None or any(problem.severity == "error" for problem in found):
        raise ConfigError(found)
    return Loaded(config, found, _hash_of(config), source, stamps)


def _validated(document: Document) -> tuple[Config | None, list[Problem]]:
    try:
        return Config.model_validate(document.root.plain()), []
    except ValidationError as error:
        return None, problems_of(error, document)


def _examine_tls_files(
    document: Document, config: Config | None, examine: Examine
) -> tuple[dict[str, str], list[Problem]]:
    """What the files hold that backends name, and what is wrong with them."""
    stamps, problems = {}, []
    for name, backend in config.backends.items() if config else ():
        if backend.tls is not None:
            stamps[name], faults = examine(backend.tls)
            place = ("backends", name, "tls")
            problems += [document.problem((*place, key), fault) for key, fault in faults.items()]
    return stamps, problems


def _without_repeats(problems: list[Problem], document: Document) -> tuple[Problem, ...]:
    """In file order, without what merely follows from another problem at the same place."""
    first = frozenset(document.problems)
    wrong = {Mark(p.line, p.column) for p in problems if p.severity == "error"}
    follows = {"error": document.broken, "warning": wrong}
    kept = [
        p for p in dict.fromkeys(problems) if p in first or Mark(p.line, p.column) not in follows[p.severity]
    ]
    return tuple(sorted(kept, key=place_of))


def _hash_of(config: Config) -> str:
    canonical = json.dumps(config.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return sha256(canonical.encode()).hexdigest()
