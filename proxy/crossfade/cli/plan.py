"""`crossfade plan OLD NEW`: who moves where, which routes change, and what mirrors cost, from two files."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Mapping
from typing import Any

from crossfade.cli.exits import INVALID, OK, UNKNOWN_NAME, USAGE, CommandFailed
from crossfade.cli.output import print_json, print_text

Value = dict[str, Any]


def plan(arguments: Namespace) -> int:
    """Exit code 1 where a file is not valid, or NEW cannot follow OLD."""
    import msgspec

    from crossfade.cli.local import loaded_file
    from crossfade.control.planning import plan_load

    rates = _rates(arguments.rate)
    found = msgspec.to_builtins(plan_load(loaded_file(arguments.old), loaded_file(arguments.new)))
    known = {route["route"] for route in found["routes"]}
    if arguments.json:
        print_json(found)
    elif found["refused"]:
        print_text(f"{arguments.new} cannot follow {arguments.old}: {found['refused']}")
    else:
        for line in _lines(found, rates):
            print_text(line)
    if unknown := sorted(set(rates) - known) if not found["refused"] else []:
        raise CommandFailed(UNKNOWN_NAME, f"--rate: no route that changes is called {', '.join(unknown)}")
    return INVALID if found["refused"] else OK


def _rates(given: list[str]) -> dict[str, float]:
    out = {}
    for pair in given:
        route, _, rate = pair.partition("=")
        try:
            out[route] = float(rate)
        except ValueError:
            raise CommandFailed(
                USAGE, f"--rate {pair}: must look like churn=400, in requests a second"
            ) from None
        if not 0 <= out[route] < float("inf"):
            raise CommandFailed(USAGE, f"--rate {pair}: must be a number from 0 on")
    return out


def _lines(found: Value, rates: Mapping[str, float]) -> Iterator[str]:
    yield from found["general"]
    for route in found["routes"]:
        yield from _of_route(route, rates.get(route["route"]))
    if not found["general"] and not found["routes"]:
        yield "The files mean the same for traffic."


def _of_route(route: Value, rate: float | None) -> Iterator[str]:
    kind = "is new" if route["is_new"] else "is gone" if route["is_gone"] else "changes"
    yield f"\nroute {route['route']} {kind}"
    yield from (f"  {change}" for change in route["changes"])
    if route["from"] and route["to"]:
        yield f"  {_who_moves(route['moved'])}"
    elif route["to"]:
        yield f"  split: {_split(route['to'])}"
    for load in route["mirrors"]:
        yield f"  {_mirror(load, rate)}"
    for rollout in route["rollouts"]:
        yield f"  rollout {rollout['champion']} → {rollout['challenger']}, if every check passes:"
        yield from (f"    step {number}: {_step(step)}" for number, step in enumerate(rollout["steps"], 1))


def _split(split: Mapping[str, float]) -> str:
    from crossfade.rollout.verdict import percent

    return ", ".join(f"{name} {percent(share)}" for name, share in split.items())


def _who_moves(moved: Value) -> str:
    from crossfade.rollout.verdict import percent

    if not moved["buckets"]:
        return "nobody moves when the file is loaded"
    of = ", ".join(f"{percent(n / 10_000)} {pair.replace('→', ' → ')}" for pair, n in moved["of"].items())
    return f"{percent(moved['share'])} of the customers move when the file is loaded: {of}"


def _mirror(load: Value, rate: float | None) -> str:
    """In requests a second where the route's are given, else as a share of them."""
    from crossfade.rollout.verdict import percent

    def amount(share: float) -> str:
        return f"{percent(share)} of the requests" if rate is None else f"{share * rate:.4g} requests/s"

    most = f", up to {amount(load['most'])} in a step" if load["most"] > load["after"] else ""
    return f"copies to {load['to']}: {amount(load['before'])} → {amount(load['after'])}{most}"


def _step(step: Value) -> str:
    from crossfade.rollout.verdict import duration, percent

    what = f"{percent(step['weight'])} of the customers" if step["weight"] or not step["mirror"] else ""
    copied = f"copies of {percent(step['mirror'])} of the requests" if step["mirror"] else ""
    approval = ", then an approval" if step["approval"] else ""
    return f"{' and '.join(filter(None, (what, copied)))} for {duration(step['hold'])}{approval}"
