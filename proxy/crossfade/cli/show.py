"""Prints answers of the admin API for an operator."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from crossfade.cli.output import Table, print_table, print_text
from crossfade.config.problem import Problem
from crossfade.rollout.verdict import duration, percent

Value = dict[str, Any]

_SPLIT = ("route", "backend", "role", "weight#", "req/s#", "errors#", "p50#", "p99#", "requests#")
_ROLLOUTS = ("route", "strategy", "champion", "challenger", "phase", "step#", "weight#", "waiting for")
_RETRAIN = ("route", "on", "order under way", "last order", "cooldown#", "next by schedule#")
_BACKENDS = ("backend", "version", "endpoint", "state")
_VERDICTS = ("check", "verdict", "n#", "estimate#", "interval#", "evidence", "to go#", "reason")


def show_status(status: Value) -> None:
    config, workers = status["config"], status["workers"]
    up = sum(worker["up"] for worker in workers)
    print_text(
        f"Crossfade {status['version']}, up {duration(status['uptime'])}, {up} of {len(workers)} workers, "
        f"generation {status['generation']}"
    )
    print_text(f"configuration {config['source']} ({config['hash'][:12]})")
    if config["differs"]:
        print_text("It differs from the file: another one was applied since. A change of the file ends that.")
    if not config["ok"]:
        print_text(
            f"The last reload was refused. The previous configuration is still in use. Error:\n{config['error']}"
        )
    _show_restart(config)
    for route in status["routes"]:
        if route["drift"]:
            print_text(f"{route['name']} has drifted: {', '.join(route['drift'])}")
        for differs in route["config_differs"]:
            advice = (
                f"write `{differs['key']}: {differs['edit']}`"
                if differs["edit"]
                else f"take `{differs['key']}` out"
            )
            print_text(
                f"{route['name']}: the file says {differs['key']} {differs['file']}, the state has {differs['state']}: {advice}. "
                "`crossfade export` prints the file so."
            )
    if not status["store_ok"]:
        print_text("The journal cannot be written. No challenger gets more traffic until it can be written.")
        print_text(status["store_error"])
    if status["gap"]:
        print_text(f"Clock: {status['gap']}.")
    print_table(Table("Routes", _SPLIT, [row for route in status["routes"] for row in _split_rows(route)]))
    print_table(Table("Rollouts", _ROLLOUTS, [_rollout_row(rollout) for rollout in status["rollouts"]]))
    for rollout in status["rollouts"]:
        _show_recommendation(rollout.get("recommendation"), f" for {rollout['route']}")
    print_table(
        Table(
            "Backends", _BACKENDS, [row for backend in status["backends"] for row in _endpoint_rows(backend)]
        )
    )
    print_table(Table("Retraining", _RETRAIN, [_retrain_row(retrain) for retrain in status["retrain"]]))


def _retrain_row(retrain: Value) -> list[str]:
    order, last, left = retrain["order"], retrain["last"], retrain["schedule_left"]
    under_way = f"{order['id']}: {order['reason']}" if order else "-"
    if order and order["attempts"]:
        under_way += f", {order['attempts']} attempts failed: {order['detail']}"
    return [
        retrain["route"],
        ", ".join(retrain["on"]) or "-",
        under_way,
        f"{last['id']} {last['outcome']}: {last['detail']}" if last else "-",
        duration(retrain["cooldown_left"]),
        _optional(left, duration),
    ]


def show_retrain(retrain: Value) -> None:
    """Of the answer to an order, which may have ended meanwhile."""
    order = retrain["order"] or retrain["last"]
    print_text(f"{retrain['route']}: order {order['id']} is given")


def _split_rows(route: Value) -> list[list[str]]:
    return [
        [
            route["name"],
            name,
            n["role"],
            percent(route["split"].get(name, 0.0)),
            f"{n['rate']:.4g}",
            percent(n["error_share"]),
            _optional(n["p50"], duration),
            _optional(n["p99"], duration),
            str(n["requests"]),
        ]
        for name, n in route["backends"].items()
    ]


def _rollout_row(rollout: Value) -> list[str]:
    return [
        rollout["route"],
        rollout["strategy"],
        rollout["champion"],
        rollout["challenger"],
        rollout["phase"],
        step_of(rollout),
        percent(rollout["weight"]),
        rollout["waiting_for"],
    ]


def step_of(rollout: Value) -> str:
    return f"{rollout['step'] + 1}/{len(rollout['steps'])}"


def _endpoint_rows(backend: Value) -> list[list[str]]:
    return [
        [
            backend["name"],
            backend["version"] or "-",
            endpoint["url"],
            endpoint_state(endpoint, backend["panic"]),
        ]
        for endpoint in backend["endpoints"]
    ]


def show_endpoint(place: str, endpoint: Value) -> None:
    print_text(f"{place}: {endpoint_state(endpoint, False)}")


def endpoint_state(endpoint: Value, panic: bool) -> str:
    """With why it gets no new requests, and what is in flight where it is drained: at 0 it can be stopped."""
    state = _state_by_probes(endpoint, panic)
    if not endpoint["drained"]:
        return state if endpoint["weight"] else f"{state}, weight 0"
    n = endpoint["in_flight"]
    left = "in flight not known yet" if n is None else f"{n} in flight"
    return f"drained, {left}" if state == "up" else f"drained, {left}; {state}"


def _state_by_probes(endpoint: Value, panic: bool) -> str:
    if endpoint["ejected"]:
        return f"{'up, EJECTED in part' if endpoint['up'] else 'EJECTED'}: {endpoint['ejected']}"
    if endpoint["up"]:
        return "up"
    return "DOWN, panic" if panic else "DOWN"


def show_split(route: Value) -> None:
    shares = ", ".join(f"{name} {percent(share)}" for name, share in route["split"].items())
    print_text(f"{route['name']}: {shares} (ledger version {route['ledger_version']}), in all workers")


def show_rollout(rollout: Value) -> None:
    print_text(
        f"{rollout['route']}: {rollout['phase']}, step {step_of(rollout)}, "
        f"{rollout['challenger']} at {percent(rollout['weight'])}"
    )
    if rollout["waiting_for"]:
        print_text(f"Waiting for: {rollout['waiting_for']}")
    _show_recommendation(rollout.get("recommendation"))
    if rollout["not_durable"]:
        print_text(rollout["not_durable"])


def show_reload(config: Value) -> None:
    print_text(f"reloaded {config['source']} ({config['hash'][:12]})")
    _show_changes(config["changes"], "nothing has changed")
    _show_restart(config)
    for warning in config["warnings"]:
        print_text(_problem_line(warning))


def _show_changes(changes: list[Value], without: str) -> None:
    for change in changes:
        where = f"{change['route']}: {change['action']}: " if change["route"] else ""
        print_text(where + change["reason"])
    if not changes:
        print_text(without)


def _show_restart(config: Value) -> None:
    if config["restart_needed"]:
        print_text(
            f"Differs from the last start, and acts at the next: {', '.join(config['restart_needed'])}."
        )


def show_diff(would: Value) -> None:
    if would["refused"]:
        print_text(f"It would be refused: {would['refused']}")
    else:
        _show_changes(would["changes"], "It would change nothing.")
    _show_restart(would)
    for warning in would["warnings"]:
        print_text(_problem_line(warning))


def show_why(why: Value) -> None:
    now = f", {why['now']}" if why.get("now") else ""
    print_text(f"{why['route']}: {why['phase'] or 'no rollout'}{now}")
    decision = why["decision"]
    if decision is None:
        print_text("No decision yet.")
    else:
        at = datetime.fromtimestamp(decision["at"]).astimezone().isoformat(" ", "seconds")
        print_text(f"Decision {decision['id']}, {at}: {decision['action']} by {decision['actor']}")
        print_text(decision["reason"])
        if decision.get("forced"):
            print_text(f"Forced, although {decision['forced']}.")
    _show_recommendation(why.get("recommendation"))
    print_table(Table("Verdicts", _VERDICTS, [_verdict_row(verdict) for verdict in why["verdicts"]]))
    if why["would_change"]:
        print_text("\nWhat would change it")
        for sentence in why["would_change"]:
            print_text(f"- {sentence}")


def _show_recommendation(said: Value | None, where: str = "") -> None:
    if said is None:
        return
    print_text(f"Recommendation{where}: {said['recommendation']}: {said['reason']}.")
    numbers = []
    if said["p_value"] is not None:
        numbers.append(f"p {said['p_value']:.3g} for no difference, valid at every look")
    if said["eta_seconds"] is not None:
        numbers.append(f"about {duration(said['eta_seconds'])} until a verdict at the present rate")
    if said["planned_seconds"] is not None:
        numbers.append(
            f"min_effect takes {said['planned_units']} a side, {duration(said['planned_seconds'])} in all"
        )
    if numbers:
        print_text(f"  {'; '.join(numbers)}")


def _verdict_row(verdict: Value) -> list[str]:
    interval = verdict["interval"]
    return [
        verdict["check"],
        verdict["verdict"],
        str(verdict["n"]),
        _optional(verdict["estimate"], lambda value: in_unit(value, verdict["unit"])),
        "-" if interval is None else " to ".join(in_unit(end, verdict["unit"]) for end in interval),
        verdict["in_words"] or "-",
        _optional(verdict["eta_requests"], str),
        verdict["reason"],
    ]


def in_unit(value: float, unit: str) -> str:
    """`unit`: share, seconds, ratio or number."""
    if unit == "share":
        return percent(round(value, 6))  # what is left of a subtraction is 0
    return duration(value) if unit == "seconds" else f"{value:.4g}"


def _optional(value: Any, form: Callable[[Any], str]) -> str:
    return "-" if value is None else form(value)


def _problem_line(problem: Value) -> str:
    return str(Problem(**problem))
