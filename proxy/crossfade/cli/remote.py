"""Commands that need a running proxy: each calls the admin API and prints the answer."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterable
from typing import Any

from crossfade.cli.client import AdminClient
from crossfade.cli.exits import INVALID, OK, TIMED_OUT, UNKNOWN_NAME, USAGE, CommandFailed
from crossfade.cli.option_values import seconds_of
from crossfade.cli.output import print_json, print_text

POLL_EVERY = 0.2  # seconds


def status(arguments: Namespace) -> int:
    from crossfade.cli.look import of_route
    from crossfade.cli.show import show_status
    from crossfade.cli.waiting import wait_for_phase

    if arguments.wait:
        return wait_for_phase(arguments)
    if arguments.timeout or arguments.challenger:
        raise CommandFailed(USAGE, "--timeout and --challenger go with --wait")
    answer = _client(arguments).get("status")
    return _finish(arguments, of_route(answer, arguments.route) if arguments.route else answer, show_status)


def why(arguments: Namespace) -> int:
    from crossfade.cli.show import show_why

    query = {"challenger": arguments.challenger}
    return _finish(
        arguments, _client(arguments).get("rollouts", arguments.route, "why", query=query), show_why
    )


def value(arguments: Namespace) -> int:
    """Exit code 1 when nothing can be said."""
    from crossfade.cli.show_value import show_value

    query = [("if", rule) for rule in arguments.rules]
    query += [
        (name, given)
        for name in ("name", "measure", "since")
        if (given := getattr(arguments, name)) is not None
    ]
    answer = _client(arguments).get("value", arguments.route, query=query)
    _finish(arguments, answer, show_value)
    return INVALID if answer["found"]["refused"] else OK


def split(arguments: Namespace) -> int:
    from crossfade.cli.show import show_split

    admin, weights = _client(arguments), _weights_of(arguments.weights)
    try:
        answer = admin.put("routes", arguments.route, "split", body=weights, query=_how(arguments))
    except CommandFailed as failed:
        if failed.code == INVALID:
            _require_backends(admin, weights)
        raise
    return _previewed(arguments, answer) if arguments.dry_run else _finish(arguments, answer, show_split)


def _require_backends(admin: AdminClient, names: Iterable[str]) -> None:
    """Raises CommandFailed with the name of the first backend that does not exist."""
    from crossfade.config.problem import nearest

    known = [backend["name"] for backend in admin.get("backends")["backends"]]
    for name in names:
        if name not in known:
            similar = nearest(name, known)
            advice = f"Did you mean {similar}?" if similar else f"The backends are {', '.join(known)}."
            raise CommandFailed(UNKNOWN_NAME, f"no backend is called {name}", advice)


def command(arguments: Namespace) -> int:
    from crossfade.cli.show import show_rollout

    body = {"reason": arguments.reason} if arguments.reason else None
    query = {"challenger": arguments.challenger} | _how(arguments)
    answer = _client(arguments).post("rollouts", arguments.route, arguments.verb, body=body, query=query)
    return _previewed(arguments, answer) if arguments.dry_run else _finish(arguments, answer, show_rollout)


def _how(arguments: Namespace) -> dict[str, str | None]:
    return {"force": _force_of(arguments), "preview": "true" if arguments.dry_run else None}


def _previewed(arguments: Namespace, preview: Any) -> int:
    """Exit code 1 where it would be refused."""
    _finish(arguments, preview, lambda preview: print_text(preview["sentence"]))
    return OK if preview["allowed"] else INVALID


def drain(arguments: Namespace) -> int:
    """With --wait it returns when nothing is in flight at the endpoint; TIMED_OUT if that takes too long."""
    from crossfade.cli.show import show_endpoint

    patience = seconds_of("--wait", arguments.wait)
    end = time.monotonic() + patience
    admin, place = _client(arguments), f"{arguments.backend} {arguments.endpoint}"
    endpoint = _drained(arguments, admin, "drain", {"force": _force_of(arguments)})
    while patience and endpoint["in_flight"] != 0:
        if not endpoint["drained"]:
            raise CommandFailed(INVALID, f"{place} is no longer drained")
        if time.monotonic() >= end:
            _finish(arguments, endpoint, lambda endpoint: show_endpoint(place, endpoint))
            return TIMED_OUT
        time.sleep(POLL_EVERY)
        found = admin.get("backends", arguments.backend)["endpoints"]
        gone = endpoint | {"drained": False}
        endpoint = next((e for e in found if e["url"] == endpoint["url"]), gone)
    return _finish(arguments, endpoint, lambda endpoint: show_endpoint(place, endpoint))


def undrain(arguments: Namespace) -> int:
    from crossfade.cli.show import show_endpoint

    endpoint = _drained(arguments, _client(arguments), "undrain", {})
    place = f"{arguments.backend} {arguments.endpoint}"
    return _finish(arguments, endpoint, lambda endpoint: show_endpoint(place, endpoint))


def retrain(arguments: Namespace) -> int:
    from crossfade.cli.show import show_retrain

    body = {"reason": arguments.reason} if arguments.reason else None
    answer = _client(arguments).post("retrain", arguments.route, body=body)
    return _finish(arguments, answer, show_retrain)


def notify(arguments: Namespace) -> int:
    """Exit code 1 where a test does not arrive."""
    from crossfade.cli.show_notifications import show_receivers, show_tested

    if not arguments.test:
        if arguments.route:
            raise CommandFailed(USAGE, "--route goes with --test")
        return _finish(arguments, _client(arguments).get("notifications"), show_receivers)
    query = {"route": arguments.route or None}
    answer = _client(arguments).post("notifications", "test", query=query)
    _finish(arguments, answer, show_tested)
    return OK if all(each["arrived"] for each in answer["receivers"]) else INVALID


def _drained(arguments: Namespace, admin: AdminClient, verb: str, query: dict[str, str | None]) -> Any:
    body = {"reason": arguments.reason} if arguments.reason else None
    return admin.post(
        "backends", arguments.backend, "endpoints", arguments.endpoint, verb, body=body, query=query
    )


def _force_of(arguments: Namespace) -> str | None:
    return "true" if arguments.force else None


def reload(arguments: Namespace) -> int:
    from crossfade.cli.show import show_reload

    return _finish(
        arguments, _client(arguments).post("reload", query={"force": _force_of(arguments)}), show_reload
    )


def diff(arguments: Namespace) -> int:
    """Exit code 1 when the file would be refused."""
    from crossfade.cli.local import config_at
    from crossfade.cli.show import show_diff
    from crossfade.config.problem import ConfigError

    try:
        text = config_at(arguments.file)
    except ConfigError as error:
        raise CommandFailed(INVALID, str(error)) from None
    would = _client(arguments).post("config", body=text)
    _finish(arguments, would, show_diff)
    return INVALID if would["refused"] else OK


def export(arguments: Namespace) -> int:
    """The file in use, with the edits that make it agree with the state."""
    from crossfade.config.masking import MASK
    from crossfade.config.rewrite import NoSuchPlace, with_value, without_key

    admin = _client(arguments)
    text, left = admin.get("config")["text"], []
    for route in admin.get("routes")["routes"]:
        for differs in route["config_differs"]:
            place = route["name"], differs["key"]
            try:
                text = (
                    with_value(text, *place, differs["edit"])
                    if differs["edit"]
                    else without_key(text, *place)
                )
            except NoSuchPlace as error:
                left.append(f"not edited: {error}")
    if MASK in text:
        left.append(f"secrets are shown as {MASK}: write them, or variables, in their place")
    if arguments.json:
        print_json({"text": text, "left": left})
        return OK
    print_text(text.rstrip("\n"))
    for line in left:
        print_text(line, sys.stderr)
    return OK


def _client(arguments: Namespace) -> AdminClient:
    return AdminClient.of(arguments)


def _finish(arguments: Namespace, answer: Any, show: Callable[[Any], None]) -> int:
    if arguments.json:
        print_json(answer)
    else:
        show(answer)
    return OK


def _weights_of(pairs: list[str]) -> dict[str, int]:
    """`v2=95% v3=5%` → buckets out of 10 000, read as the configuration reads a split."""
    from crossfade.config.problem import BadValue
    from crossfade.config.split import term, weights

    terms = {}
    for pair in pairs:
        name, equals, value = pair.rpartition("=")
        if not equals or not name or name in terms:
            raise CommandFailed(USAGE, f"{pair}: give each backend once, as in v2=95% v3=5%")
        try:
            terms[name] = term(value)
        except BadValue as error:
            raise CommandFailed(USAGE, f"the weight of {name} {error}") from None
    try:
        return weights(terms)
    except BadValue as error:
        raise CommandFailed(INVALID, f"the split {error}") from None
