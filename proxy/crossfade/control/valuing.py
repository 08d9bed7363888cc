"""What another split of a route would have been worth, by its prediction log."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec

from crossfade.config.model import CheckConfig, RouteConfig
from crossfade.config.problem import BadValue
from crossfade.control.controller_state import ControllerState
from crossfade.control.label_queries import MOST
from crossfade.control.policy_rules import parse_rule, rule_of
from crossfade.control.prediction_logs import PredictionLogs
from crossfade.control.refusal import Invalid, UnknownName, Unwritten
from crossfade.control.route_runtime import RouteRuntime
from crossfade.control.value_queries import ValueQuery, logged_rows
from crossfade.rollout.policy import PolicyRule
from crossfade.rollout.policy_value import PolicyQuestion, PolicyValue, value_of

MOST_AMOUNTS = 200_000  # newest predictions that are read where few numbers are alike, so that the answer comes in seconds
ALPHA = 0.05  # the intervals hold at all looks with 95 %
LABEL = "label"
Measure = Literal["kpi", "accuracy"]


class ValueAsked(NamedTuple):
    """`rules`: as they were written. `name`: of the feedback; `since`: wall time.

    `measure`: accuracy is the share of right answers, kpi the number itself; None: accuracy for `label`, else kpi.
    """

    rules: Sequence[str]
    name: str = LABEL
    measure: Measure | None = None
    since: float = 0.0


class ValueView(msgspec.Struct):
    """The answer of `GET /api/v1/value/{route}`. `beyond`: older predictions that were not read."""

    route: str
    rules: list[str]
    name: str
    measure: str
    found: PolicyValue
    beyond: int = 0


async def policy_value(
    state: ControllerState, logs: PredictionLogs, route: str, asked: ValueAsked
) -> ValueView:
    """Raises UnknownName, Invalid, and Unwritten when the log cannot be read."""
    at = state.route(route)
    if at.config.feedback is None:
        raise UnknownName(f"route {route} has no `feedback`, so it has no prediction log")
    rules = _rules(state, at, asked.rules)
    measure: Measure = asked.measure or ("accuracy" if asked.name == LABEL else "kpi")
    check = _check_of(at.config, asked.name) if measure == "kpi" else None
    places = sorted({rule.place for rule in rules if rule.place is not None})
    between = (0.0, 1.0) if measure == "accuracy" else _range_of(check)
    is_event = measure == "accuracy" or (check is not None and check.kind == "event")
    query = ValueQuery(
        asked.name,
        measure == "accuracy",
        at.config.prediction.decision if at.config.prediction else None,
        check.missing if check else None,
        places,
        state.wall - at.config.feedback.horizon,
        asked.since,
        MOST if is_event else MOST_AMOUNTS,
    )

    def work(connection: sqlite3.Connection) -> tuple[PolicyValue, int]:
        rows = logged_rows(connection, query)
        return value_of(
            rows.groups, PolicyQuestion(rules, rows.shares, between, ALPHA), rows.keyed
        ), rows.beyond

    try:
        found = await logs.read(route, work)
    except sqlite3.Error as error:
        raise Unwritten(f"The prediction log of route {route} cannot be read: {error}.") from None
    value, beyond = found or (PolicyValue("there are no ripe predictions"), 0)
    return ValueView(route, list(asked.rules), asked.name, measure, value, beyond)


def _rules(state: ControllerState, route: RouteRuntime, texts: Sequence[str]) -> list[PolicyRule]:
    if not texts:
        raise Invalid("if must say at least one rule, such as if=churn-v3=50%.")
    prediction = route.config.prediction
    segments = prediction.segment if prediction else ()
    rules = []
    for text in texts:
        try:
            written = parse_rule(text)
            rule = rule_of(written, [s.name for s in segments], route.record.ledger.weights)
        except BadValue as error:
            raise Invalid(f"The rule {text!r} {error}.") from None
        if unknown := [name for name in rule.shares if name not in state.config.config.backends]:
            raise UnknownName(f"no backend is called {unknown[0]}")
        if rule.place is not None and segments[rule.place].kind == "answer":
            raise Invalid(
                f"The segment {written.segment!r} is read from the answer, so it depends on the backend; a policy can go by "
                "segments of the request only: json, header or query."
            )
        rules.append(rule)
    return rules


def _check_of(config: RouteConfig, name: str) -> CheckConfig | None:
    """A check that says what the numbers of this name are: of what kind, in which range."""
    named = [c for rollout in config.rollout for c in rollout.checks if c.metric == "kpi" and c.name == name]
    return next(
        (check for check in named if check.kind == "event" or check.range), named[0] if named else None
    )


def _range_of(check: CheckConfig | None) -> tuple[float, float] | None:
    if check is None:
        return None
    return (0.0, 1.0) if check.kind == "event" else check.range
