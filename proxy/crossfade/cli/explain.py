"""`crossfade explain`: where a request would go and why, by the running proxy or by a file alone."""

from __future__ import annotations

import time
from argparse import Namespace
from typing import Any

from crossfade.cli.client import AdminClient
from crossfade.cli.curl_options import request_of
from crossfade.cli.exits import INVALID, OK, USAGE, CommandFailed
from crossfade.cli.output import print_json, print_text

Value = dict[str, Any]


def explain(arguments: Namespace) -> int:
    """Exit code 1 where the proxy itself would refuse the request."""
    asked = request_of(arguments)
    if arguments.config:
        found = _by_file(arguments.config, asked)
    else:
        found = AdminClient.of(arguments).post("explain", body=asked)
    if arguments.json:
        print_json(found)
    else:
        _show(found)
    return INVALID if found["refused"] else OK


def _by_file(name: str, asked: Value) -> Value:
    import msgspec

    from crossfade.cli.local import loaded_file
    from crossfade.control.explaining import explain_by_file
    from crossfade.routing.explanation import AskedRequest

    loaded = loaded_file(name)
    try:
        found = explain_by_file(loaded, msgspec.convert(asked, AskedRequest), time.time())
    except ValueError as error:
        raise CommandFailed(USAGE, f"no such request can be sent: {error}") from None
    explanation: Value = msgspec.to_builtins(found)
    return explanation


def _show(found: Value) -> None:
    from crossfade.rollout.verdict import percent

    for test in found["tested"]:
        if test["why"]:
            print_text(f"not {test['route']}: {test['why']}")
    for sentence in found["because"]:
        print_text(sentence)
    if found["hash"]:
        print_text(f"hash {found['hash']}")
    if not found["backend"] and found["chances"]:
        print_text("chances: " + ", ".join(f"{name} {percent(p)}" for name, p in found["chances"].items()))
    for endpoint in found["endpoints"]:
        print_text(f"endpoint {endpoint['url']}: {endpoint['state']}, is asked {endpoint['target']}")
    for copy in found["mirrors"]:
        print_text(
            f"{percent(copy['share'])} of the requests are copied to {copy['to']}, which is asked {copy['target']}"
        )
    if found["fallback"]:
        print_text(f"fallback: {found['fallback']}")
    for move in found["moves"]:
        print_text(_move(move))


def _move(move: Value) -> str:
    share = f"{move['weights'][move['to']] * 100:.4g}%"
    step = "" if move["step"] is None else f", so in step {move['step'] + 1} of its rollout"
    return f"This key moves to {move['to']} when that has {share}{step}."
