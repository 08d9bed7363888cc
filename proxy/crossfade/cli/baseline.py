"""`crossfade baseline ROUTE`: the profile that live traffic is compared with: made of a file of rows, learned live, or shown."""

from __future__ import annotations

import random
from argparse import Namespace
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossfade.cli.client import AdminClient
from crossfade.cli.exits import INVALID, OK, USAGE, CommandFailed
from crossfade.cli.output import print_json, print_text, write_text

if TYPE_CHECKING:
    from crossfade.quality.profile import Profile

LIVE = "live"
ROWS = 200_000  # of a file that are used; of a longer one, so many are drawn at random
SAMPLED = 1000  # rows that are kept in the profile
LARGEST = 1_000_000  # bytes of a profile that the admin API takes
Row = dict[str, Any]


def baseline(arguments: Namespace) -> int:
    if arguments.source == LIVE:
        if arguments.output:
            raise CommandFailed(
                USAGE, "-o goes with a file; run the command without --from when there is a profile"
            )
        return _told(arguments, _admin(arguments).post("baseline", arguments.route))
    if not arguments.source:
        return _written(arguments, _admin(arguments).get("baseline", arguments.route))
    profile = _of_file(arguments)
    if arguments.output:
        return _written(arguments, profile)
    return _told(arguments, _admin(arguments).put("baseline", arguments.route, body=profile))


def _admin(arguments: Namespace) -> AdminClient:
    return AdminClient.of(arguments)


def _told(arguments: Namespace, view: Any) -> int:
    if arguments.json:
        print_json(view)
    elif view["state"] == "learning" or arguments.source == LIVE:
        print_text(f"{view['route']}: the next requests become the profile")
    else:
        profile = view["profile"]
        print_text(f"{view['route']}: compared with {profile['rows']} rows, {len(view['fields'])} fields")
    return OK


def _written(arguments: Namespace, profile: Any) -> int:
    import json

    text = json.dumps(profile) + "\n"
    write_text(text, arguments.output)
    return OK


def _of_file(arguments: Namespace) -> Any:
    """The profile as JSON values."""
    import msgspec

    from crossfade.cli.training_rows import training_rows
    from crossfade.quality.profile import write_profile
    from crossfade.quality.profiling import profile_of

    draw = random.Random(0)  # the same file gives the same profile
    rows = drawn(training_rows(arguments.source), ROWS, draw)
    if not rows:
        raise CommandFailed(INVALID, f"{arguments.source}: has no rows")
    scores = [row.pop(arguments.score, None) for row in rows] if arguments.score else []
    if arguments.score and not any(isinstance(score, int | float) for score in scores):
        raise CommandFailed(INVALID, f"{arguments.source}: column {arguments.score} has no numbers")
    _drop(rows, arguments.drop, arguments.source)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    sampled = draw.sample(rows, min(SAMPLED, len(rows)))
    numbers = [float(score) for score in scores if isinstance(score, int | float)]
    profile = profile_of(rows, numbers, Path(arguments.source).name, created, sampled)
    return msgspec.json.decode(write_profile(_small(profile)))


def _drop(rows: list[Row], names: list[str], source: str) -> None:
    for name in names:
        if not any(name in row for row in rows):
            raise CommandFailed(INVALID, f"{source}: there is no column {name}")
    for row in rows:
        for name in names:
            row.pop(name, None)


def drawn(rows: Iterator[Mapping[str, Any]], most: int, draw: random.Random) -> list[Row]:
    """All rows, or so many of them drawn with equal chances (Vitter's algorithm R)."""
    out: list[Row] = []
    for index, row in enumerate(rows):
        if index < most:
            out.append(dict(row))
        elif (place := draw.randrange(index + 1)) < most:
            out[place] = dict(row)
    return out


def _small(profile: Profile) -> Profile:
    """With fewer sampled rows, if the proxy would not take it otherwise."""
    from msgspec.structs import replace

    from crossfade.quality.profile import write_profile

    while profile.sample and len(write_profile(profile)) > LARGEST:
        sample = profile.sample[: len(profile.sample) // 2]
        profile = replace(profile, sample=sample, columns=profile.columns if sample else ())
    return profile
