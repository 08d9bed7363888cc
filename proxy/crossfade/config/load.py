"""From text to a configuration; used by `run`, `check`, reload and the admin API.

Rule: the result is a configuration with its warnings, or all problems in file order; never anything else.
The text and the environment are arguments: no file and no environment is read here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, NamedTuple

from crossfade.config.document import Document, Loc, Mark, Reference
from crossfade.config.masking import MASK, masked, secret_places, secret_values
from crossfade.config.model import BackendTlsConfig, Config, ListenerConfig, TlsConfig
from crossfade.config.problem import MAX_PROBLEMS, ConfigError, Problem, place_of
from crossfade.config.reader import read
from crossfade.config.registered import (
    NOTHING,
    Registered,
    references,
    registry_problems,
    with_registered,
)
from crossfade.config.rules import RULES
from crossfade.config.sentences import validated

# The bool: its certificate must name a host.
Examine = Callable[[BackendTlsConfig, bool], tuple[str, dict[str, str]]]


def _no_files(tls: BackendTlsConfig, must_name_host: bool) -> tuple[str, dict[str, str]]:
    """Checks nothing; for callers that have no access to the files."""
    return "", {}


@dataclass(frozen=True, slots=True)
class Loaded:
    """`hash` is of the values but for secrets: spelling, comments and the order of keys do not change it.

    `stamps` holds, by backend, a hash of the contents of its TLS files. `shown`: the text with its secrets as `***`.
    `references`: the scalars with variables. `challengers`: by route, the `model@alias` that the registry names its challenger by. `secrets`: the values that no log may hold.
    """

    config: Config
    warnings: tuple[Problem, ...]
    hash: str
    source: str
    stamps: Mapping[str, str] = field(default_factory=dict)
    shown: str = ""
    references: frozenset[Reference] = frozenset()
    challengers: Mapping[str, str] = field(default_factory=dict)
    secrets: frozenset[str] = frozenset()

    @property
    def tls_files(self) -> set[str]:
        """The files that its backends and its listeners name."""
        return {path for section in tls_sections(self.config) for path in _files_of(section.files)}


def load(
    text: str,
    source: str,
    env: Mapping[str, str],
    examine: Examine = _no_files,
    in_force: Loaded | None = None,
    registered: Registered = NOTHING,
) -> Loaded:
    """`source` is the file name for messages; `examine` checks the TLS files of a backend.

    `in_force`: given for a text of somebody who may read neither the environment nor the files. Variables are
    looked up and files are opened only where this configuration does so too, so that nothing is learned.
    `registered`: the versions that the registry has named.

    Raises ConfigError with all problems.
    """
    written = read(
        text.removeprefix("\ufeff"), source, env, None if in_force is None else in_force.references
    )
    document = with_registered(written, registered)
    config, invalid = validated(document)
    broken_rules = [problem for rule in RULES for problem in rule(document)]
    stamps, unusable = _examine_tls_files(
        document, config, examine, None if in_force is None else in_force.tls_files
    )
    broken_rules += registry_problems(written)
    problems = [*document.problems, *invalid, *broken_rules, *unusable]
    found = without_repeats(problems, document)
    if config is None or any(problem.severity == "error" for problem in found):
        raise ConfigError(_first_of(found))
    stripped = text.removeprefix("\ufeff")
    values = (f"{node.value!s}" for node in document.root.scalars() if node.has_variables)
    return Loaded(
        config.knowing(values),
        found,
        _hash_of(config),
        source,
        stamps,
        masked(stripped, written),
        document.references,
        references(written),
        secret_values(document),
    )


def _examine_tls_files(
    document: Document, config: Config | None, examine: Examine, known: set[str] | None
) -> tuple[dict[str, str], list[Problem]]:
    """A stamp of the TLS files by backend, and the problems with the files. `known`: no other file is opened."""
    stamps, problems = dict[str, str](), list[Problem]()
    for section in tls_sections(config) if config else ():
        if known is not None and not known >= set(_files_of(section.files)):
            message = "the files are not opened: a text that comes through the admin API gets only those read that the configuration in force names"
            problems.append(document.problem(section.place, message, at_key=True, severity="warning"))
            continue
        stamp, faults = examine(section.files, section.must_name_host)
        stamps[section.name] = stamps.get(section.name, "") + stamp
        problems += [document.problem(section.place_of(key), fault) for key, fault in faults.items()]
    return stamps, problems


class TlsSection(NamedTuple):
    """The TLS files of a backend, or of the listeners and the admin API, which have no name."""

    name: str
    place: Loc
    files: BackendTlsConfig

    @property
    def must_name_host(self) -> bool:
        """Of the certificates of a listener, the first is for clients that ask for no host."""
        return self.place[-2:-1] == ("certificates",) and self.place[-1] != 0

    def place_of(self, key: str) -> Loc:
        """Of a key of `files` in the document."""
        return (*self.place, "client_ca" if key == "ca" and not self.name else key)


def tls_sections(config: Config) -> list[TlsSection]:
    out = [
        TlsSection(name, ("backends", name, "tls"), backend.tls)
        for name, backend in config.backends.items()
        if backend.tls is not None
    ]
    return [*_of_listeners(config), *out]


def _of_listeners(config: Config) -> Iterator[TlsSection]:
    """One for each certificate, so that each fault has its place."""
    own = [
        (("listen", n, "tls"), at.tls) for n, at in enumerate(config.listen) if isinstance(at, ListenerConfig)
    ]
    admin = (("admin", "tls"), config.admin.tls)
    places: list[tuple[Loc, TlsConfig | None]] = [(("tls",), config.tls), *own, admin]
    for place, tls in places:
        if tls is None:
            continue
        for n, (cert, key) in enumerate(tls.pairs):
            at = (*place, "certificates", n) if tls.certificates else place
            yield TlsSection("", at, BackendTlsConfig(cert=cert, key=key))
        if tls.client_ca is not None:
            yield TlsSection("", place, BackendTlsConfig(ca=tls.client_ca))


def _files_of(tls: BackendTlsConfig) -> list[str]:
    return [path for path in (tls.ca, tls.cert, tls.key) if path is not None]


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


def _first_of(problems: tuple[Problem, ...]) -> tuple[Problem, ...]:
    """As many as anybody reads, the errors first."""
    if len(problems) <= MAX_PROBLEMS:
        return problems
    first = sorted(problems, key=lambda problem: problem.severity)[:MAX_PROBLEMS]
    last = max(first, key=place_of)
    more = f"{len(problems) - MAX_PROBLEMS} more problems are not shown"
    return (*first, replace(last, path="", message=more, suggestion=None))


def _hash_of(config: Config) -> str:
    values = config.model_dump(mode="json")
    for place in secret_places():
        _hide(values, place)  # a short password could be guessed from the hash
    canonical = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return sha256(canonical.encode()).hexdigest()


def _hide(values: Any, place: tuple[str, ...]) -> None:
    """Replace what is at this place (`*` is each element of a list, `**` each entry of a mapping)."""
    part, *below = place
    if isinstance(values, list):
        for index, element in enumerate(values):
            if below:
                _hide(element, tuple(below))
            else:
                values[index] = MASK
    elif isinstance(values, dict):
        for key in list(values) if part == "**" else [part]:
            if below:
                _hide(values[key], tuple(below))
            elif values[key]:
                values[key] = MASK
