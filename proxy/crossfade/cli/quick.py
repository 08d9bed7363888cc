"""`crossfade quick`: a proxy without a file, to try a split; nothing of it is kept unless `--state` says where."""

from __future__ import annotations

import os
import re
import sys
from argparse import Namespace
from pathlib import Path
from tempfile import TemporaryDirectory

from crossfade.cli.exits import INVALID, OK, USAGE, CommandFailed
from crossfade.cli.init import sticky_entry
from crossfade.cli.output import print_text
from crossfade.cli.written import quick_configuration

_SHARED = re.compile(r"(.+)@([0-9.]+%)")


def quick(arguments: Namespace) -> int:
    urls, weights = _versions(arguments.to)
    with TemporaryDirectory(prefix="crossfade-") as folder:
        state = arguments.state or f"{folder}/state.db"
        places = arguments.listen, arguments.admin_listen, "crossfade.db" if arguments.show else state
        text = quick_configuration(urls, weights, sticky_entry(arguments.sticky), places)
        _check(text)
        if arguments.show:
            print(text, end="")
            return OK
        file = Path(folder) / "quick.yaml"
        file.write_text(text, "utf-8")
        return _serve(file, arguments)


def _versions(given: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    """URLs and weights by name. `v2=http://…@10%` has a weight; those without share what is left alike."""
    urls, weights = dict[str, str](), dict[str, str]()
    for pair in given:
        name, equals, url = pair.partition("=")
        if not equals or not name or not url or name in urls:
            raise CommandFailed(
                USAGE,
                f"--to {pair}: give each version once, as in v1=http://127.0.0.1:8001 or v2=http://127.0.0.1:8002@10%",
            )
        if (shared := _SHARED.fullmatch(url)) is not None:
            url, weights[name] = shared.groups()
        urls[name] = url
    return urls, _shares(urls, weights)


def _shares(urls: dict[str, str], weights: dict[str, str]) -> dict[str, str]:
    """In hundredths of a percent: what does not divide goes to the first."""
    from crossfade.config.problem import BadValue
    from crossfade.config.units import share
    from crossfade.scale import WHOLE

    without = [name for name in urls if name not in weights]
    try:
        buckets = {name: round(share(given) * WHOLE) for name, given in weights.items()}
    except BadValue as error:
        raise CommandFailed(USAGE, f"--to: the weight {error}") from None
    left = WHOLE - sum(buckets.values())
    if left < 0 or (left and not without):
        raise CommandFailed(USAGE, f"--to: the weights must add up to 100%, not {(WHOLE - left) / 100:g}%")
    for number, name in enumerate(without):
        buckets[name] = left // len(without) + (left % len(without) if number == 0 else 0)
    return {name: f"{buckets[name] / 100:g}%" for name in urls}


def _check(text: str) -> None:
    from crossfade.config.load import load
    from crossfade.config.problem import ConfigError

    try:
        load(text, "quick", os.environ)
    except ConfigError as error:
        raise CommandFailed(
            INVALID, str(error), "`crossfade quick … --print` prints the configuration."
        ) from None


def _serve(file: Path, arguments: Namespace) -> int:
    from crossfade.app import serve

    print_text(
        f"serving at http://{arguments.listen}, dashboard at http://{arguments.admin_listen}/; Ctrl-C ends it",
        sys.stderr,
    )
    return serve(str(file))
