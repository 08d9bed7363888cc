"""From text to a configuration; used by `run`, `check`, reload and the admin API.

Rule: the result is a configuration with its warnings, or all problems in file order; never anything else.
The text and the environment are arguments: no file and no environment is read here.
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
    """Checks nothing; for callers that have no access to the files."""
    return "", {}


@dataclass(frozen=True, slots=True)
class Loaded:
    """`hash` is of the values: spelling, comments and the order of keys do not change it.

    `stamps` holds, by backend, a hash of the contents of its TLS files.
    """

    config: Config
    warnings: tuple[Problem, ...]
    hash: str
    source: str
    stamps: Mapping[str, str] = field(default_factory=dict)


def load(text: str, source: str, env: Mapping[str, str], examine: Examine = _no_files) -> Loaded:
    """`source` is the file name for messages; `examine` checks the TLS files of a backend.

    Raises ConfigError with all problems.
    """
    document = read(text, source, env)
    config, invalid = _validated(document)
    broken_rules = [problem for rule in RULES for problem in rule(document)]
    stamps, unusable = _examine_tls_files(document, config, examine)
    problems = [*document.problems, *invalid, *broken_rules, *unusable, *not_acted_on(document)]
    found = without_repeats(problems, document)
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
    """A stamp of the TLS files by backend, and the problems with the files."""
    stamps, problems = {}, []
    for name, backend in config.backends.items() if config else ():
        if backend.tls is not None:
            stamps[name], faults = examine(backend.tls)
            place = ("backends", name, "tls")
            problems += [document.problem((*place, key), fault) for key, fault in faults.items()]
    return stamps, problems


def without_repeats(problems: list[Problem], document: Document) -> tuple[Problem, ...]:
    """In file order, without problems that follow from another one at the same place."""
    syntax = frozenset(document.problems)
    places_of_errors = {Mark(p.line, p.column) for p in problems if p.severity == "error"}
    hidden_at = {"error": document.broken, "warning": places_of_errors}
    kept = [
        p
        for p in dict.fromkeys(problems)
        if p in syntax or Mark(p.line, p.column) not in hidden_at[p.severity]
    ]
    return tuple(sorted(kept, key=place_of))


def _hash_of(config: Config) -> str:
    canonical = json.dumps(config.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return sha256(canonical.encode()).hexdigest()
