"""Commands that need no running proxy."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from crossfade.cli.exits import INVALID, OK, UNKNOWN_NAME, USAGE, CommandFailed
from crossfade.cli.output import print_json, print_text

if TYPE_CHECKING:
    from crossfade.config.load import Loaded
    from crossfade.config.problem import Problem


STDIN = "<stdin>"


def run(arguments: Namespace) -> int:
    from crossfade.app import serve

    return serve(arguments.file, arguments.takeover)


def demo(arguments: Namespace) -> int:
    from crossfade.demo.main import main

    return main(arguments.story, arguments.keep)


def check(arguments: Namespace) -> int:
    results = [_check_file(name) for name in arguments.files]
    if arguments.json:
        print_json(results)
    else:
        for result in results:
            _print_result(result)
    return OK if all(result["ok"] for result in results) else INVALID


def _check_file(name: str) -> dict[str, Any]:
    """The problems that `run` would report for this file; warnings are among them."""
    from crossfade.config.load import load
    from crossfade.config.problem import ConfigError
    from crossfade.dial import examine

    source = STDIN if name == "-" else name
    try:
        text = config_at(name)
        loaded = load(text, source, os.environ, examine)
    except ConfigError as error:
        return _result_of(source, error.problems)
    return _result_of(source, [*loaded.warnings, *_unusable_profiles(text, loaded)], loaded.hash)


def _unusable_profiles(text: str, loaded: Loaded) -> Iterator[Problem]:
    """A warning for each profile of `drift` that the proxy could not use: it would serve, and see no drift."""
    from crossfade.config.drift import LIVE
    from crossfade.config.reader import read
    from crossfade.control.drift_files import profile_at
    from crossfade.quality.profile import BadProfile

    document = read(text.removeprefix("\ufeff"), loaded.source, os.environ, None)
    for place, node in document.each("routes", "*", "drift", "baseline"):
        places = [(place, node), *(((*place, name), node.child(name)) for name in node.entries)]
        for at, path in places:
            if path is None or path.text is None or path.text == LIVE:
                continue
            try:
                profile_at(path.text)
            except BadProfile as error:
                yield document.problem(at, f"{error}; the route's drift is not watched", severity="warning")


def loaded_file(name: str) -> Loaded:
    """A configuration as `run` loads it. Raises CommandFailed with all problems."""
    from crossfade.config.load import load
    from crossfade.config.problem import ConfigError
    from crossfade.dial import examine

    try:
        return load(config_at(name), STDIN if name == "-" else name, os.environ, examine)
    except ConfigError as error:
        raise CommandFailed(INVALID, str(error)) from None


def config_at(name: str) -> str:
    """The text of this file, or of standard input for `-`. Raises ConfigError."""
    from crossfade.files import CONFIG_LIMIT, config_text, read_config

    return config_text(sys.stdin.buffer.read(CONFIG_LIMIT + 1), STDIN) if name == "-" else read_config(name)


def _result_of(source: str, problems: Iterable[Problem], config_hash: str | None = None) -> dict[str, Any]:
    fields = [asdict(problem) for problem in problems]
    return {"file": source, "ok": config_hash is not None, "hash": config_hash, "problems": fields}


def _print_result(result: dict[str, Any]) -> None:
    from crossfade.config.problem import Problem

    problems = [Problem(**problem) for problem in result["problems"]]
    for problem in problems:
        print_text(str(problem))
    errors = sum(problem.severity == "error" for problem in problems)
    warnings = f", {_plural(len(problems) - errors, 'warning')}" if len(problems) > errors else ""
    print_text(
        f"{result['file']}: {'ok' if result['ok'] else _plural(errors, 'error')}{warnings}", sys.stderr
    )


def _plural(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def replay(arguments: Namespace) -> int:
    from contextlib import closing

    from msgspec import to_builtins

    from crossfade.control.database import StoreError
    from crossfade.control.replay import joined, pages
    from crossfade.control.replay_processes import HelperEnded, examined_pages
    from crossfade.control.store import Store

    try:
        with closing(Store.read(arguments.state)) as store, closing(examined_pages(pages(store))) as found:
            report = joined(found, store.anchor())
    except (StoreError, HelperEnded) as error:
        raise CommandFailed(INVALID, str(error)) from None
    if arguments.json:
        print_json(to_builtins(report))
    else:
        for difference in report.differences:
            print_text(str(difference))
        print_text(f"{arguments.state}: {report}", sys.stderr)
    return OK if not report.differences else INVALID


def token(arguments: Namespace) -> int:
    from time import time

    from crossfade.config import units
    from crossfade.config.problem import BadValue
    from crossfade.routing.override import make_token

    secret = _secret_of(arguments) if arguments.config else arguments.secret
    if not secret:
        raise CommandFailed(USAGE, "no secret", "Give --config FILE, --secret or CROSSFADE_OVERRIDE_SECRET.")
    try:
        expiry = int(time() + units.seconds(arguments.expires))
    except BadValue as error:
        raise CommandFailed(USAGE, f"--expires {error.message}") from None
    made = make_token(secret, arguments.route, arguments.backend, expiry)
    if arguments.json:
        print_json({"token": made, "expires": expiry})
    else:
        print_text(made)
    return OK


def _secret_of(arguments: Namespace) -> str:
    """The secret in the configuration, after a check that it has the route and the backend."""
    config = loaded_file(arguments.config).config
    if arguments.route not in [route.name for route in config.routes]:
        raise CommandFailed(UNKNOWN_NAME, f"no route is called {arguments.route}")
    if arguments.backend not in config.backends:
        raise CommandFailed(UNKNOWN_NAME, f"no backend is called {arguments.backend}")
    if config.override is None:
        raise CommandFailed(INVALID, f"{arguments.config}: override.secret is not set")
    return config.override.secret


def schema(arguments: Namespace) -> int:
    from crossfade.config.schema import json_schema

    print_json(json_schema())
    return OK


def version(arguments: Namespace) -> int:
    """Also says whether the data plane is compiled, which depends on the machine of the installation."""
    from importlib import metadata, util

    spec = util.find_spec("crossfade.dataplane.exchange")
    interpreted = spec is None or str(spec.origin).endswith(".py")
    number = metadata.version("crossfade")
    if arguments.json:
        print_json({"version": number, "compiled": not interpreted})
    else:
        print_text(f"crossfade {number}, {'interpreted' if interpreted else 'compiled'}")
    return OK
