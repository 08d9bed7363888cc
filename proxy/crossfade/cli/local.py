"""Commands that need no running proxy."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossfade.cli.exits import INVALID, OK, UNKNOWN_NAME, USAGE, CommandFailed
from crossfade.cli.output import say, say_json

if TYPE_CHECKING:
    from crossfade.config.problem import Problem


def run(arguments: Namespace) -> int:
    from crossfade.app import serve

    return serve(arguments.file, arguments.takeover)


def demo(arguments: Namespace) -> int:
    from crossfade.demo.main import main

    return main(arguments.keep)


def check(arguments: Namespace) -> int:
    found = [examined(name) for name in arguments.files]
    if arguments.json:
        say_json(found)
    else:
        for one in found:
            say_examined(one)
    return OK if all(one["ok"] for one in found) else INVALID


def examined(name: str) -> dict[str, Any]:
    """What `run` would say to this file; warnings are among the problems."""
    from crossfade.config.load import load
    from crossfade.config.problem import ConfigError, Problem
    from crossfade.dial import examine

    source = "<stdin>" if name == "-" else name
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text("utf-8")
        loaded = load(text, source, os.environ, examine)
    except ConfigError as error:
        return examination(source, error.problems)
    except OSError as error:
        return examination(source, [Problem(source, 1, 1, "", f"cannot be read: {error.strerror}")])
    except UnicodeDecodeError as error:
        return examination(source, [Problem(source, 1, 1, "", f"must be UTF-8: {error.reason}")])
    return examination(source, loaded.warnings, loaded.hash)


def examination(source: str, problems: Iterable[Problem], config_hash: str | None = None) -> dict[str, Any]:
    found = [asdict(problem) for problem in problems]
    return {"file": source, "ok": config_hash is not None, "hash": config_hash, "problems": found}


def say_examined(one: dict[str, Any]) -> None:
    from crossfade.config.problem import Problem

    problems = [Problem(**problem) for problem in one["problems"]]
    for problem in problems:
        say(str(problem))
    errors = sum(problem.severity == "error" for problem in problems)
    warnings = f", {plural(len(problems) - errors, 'warning')}" if len(problems) > errors else ""
    say(f"{one['file']}: {'ok' if one['ok'] else plural(errors, 'error')}{warnings}", sys.stderr)


def plural(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def replay(arguments: Namespace) -> int:
    from contextlib import closing

    from msgspec import to_builtins

    from crossfade.control.replay import journal, replayed
    from crossfade.control.store import Store, StoreError

    try:
        with closing(Store.read(arguments.state)) as store:
            report = replayed(journal(store))
    except StoreError as error:
        raise CommandFailed(INVALID, str(error)) from None
    if arguments.json:
        say_json(to_builtins(report))
    else:
        for difference in report.differences:
            say(str(difference))
        say(f"{arguments.state}: {report}", sys.stderr)
    return OK if not report.differences else INVALID


def token(arguments: Namespace) -> int:
    from time import time

    from crossfade.config import units
    from crossfade.config.problem import BadValue
    from crossfade.routing.override import make_token

    secret = secret_of(arguments) if arguments.config else arguments.secret
    if not secret:
        raise CommandFailed(USAGE, "no secret", "give --config FILE, --secret, or CROSSFADE_OVERRIDE_SECRET")
    try:
        expiry = int(time() + units.seconds(arguments.expires))
    except BadValue as error:
        raise CommandFailed(USAGE, f"--expires {error.message}") from None
    say(make_token(secret, arguments.route, arguments.backend, expiry))
    return OK


def secret_of(arguments: Namespace) -> str:
    """From the configuration, which must know the route and the backend."""
    from crossfade.config.load import load
    from crossfade.config.problem import ConfigError

    try:
        text = Path(arguments.config).read_text("utf-8")
        config = load(text, arguments.config, os.environ).config
    except ConfigError as error:
        raise CommandFailed(INVALID, str(error)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise CommandFailed(INVALID, f"{arguments.config}: cannot be read: {error}") from None
    if arguments.route not in [route.name for route in config.routes]:
        raise CommandFailed(UNKNOWN_NAME, f"no route is called {arguments.route}")
    if arguments.backend not in config.backends:
        raise CommandFailed(UNKNOWN_NAME, f"no backend is called {arguments.backend}")
    if config.override is None:
        raise CommandFailed(INVALID, f"{arguments.config}: there is no override.secret")
    return config.override.secret


def schema(arguments: Namespace) -> int:
    from crossfade.config.schema import json_schema

    say_json(json_schema())
    return OK


def version(arguments: Namespace) -> int:
    """With how the data plane was built: that is a matter of what the machine that installed it had."""
    from importlib import metadata, util

    found = util.find_spec("crossfade.dataplane.exchange")
    interpreted = found is None or str(found.origin).endswith(".py")
    say(f"crossfade {metadata.version('crossfade')}, {'interpreted' if interpreted else 'compiled'}")
    return OK
