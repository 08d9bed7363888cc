"""`notify`: who is told of what happens, for all routes or for one.

Rule: the webhook of a chat is its password, so a receiver is named, and its URL is shown to nobody.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field

from crossfade.config import address
from crossfade.config.document import Document, Loc, Node
from crossfade.config.problem import BadValue, Problem
from crossfade.config.section import SECRET, Name, OneOrMany, Period, Section, SigningSecret, Text

Occasion = Literal[
    "begin",
    "advance",
    "pause",
    "resume",
    "promote",
    "abort",
    "rollback",
    "retry",
    "restart",
    "undecided",
    "approval",
    "no_way_back",
    "split",
    "drift",
    "mirror",
    "recommendation",
    "retrain",
    "gate",
    "state",
    "config",
    "clock",
    "endpoints",
]
OF_PROXY: tuple[Occasion, ...] = ("state", "config", "clock", "endpoints")

DEFAULT: tuple[Occasion, ...] = (
    *("promote", "abort", "rollback", "undecided", "approval", "no_way_back"),
    *("drift", "mirror", "state"),
)  # what somebody may have to look at
Format = Literal["json", "slack", "teams", "pagerduty"]


class NotifyConfig(Section):
    """A webhook that is told of what happens."""

    webhook: Annotated[str, BeforeValidator(address.secret_url), SECRET] = Field(
        description="the URL that each message is posted to"
    )
    name: Name | None = Field(
        default=None,
        description="what the receiver is called in the log and in status; the host of its URL if not given",
    )
    on: Annotated[tuple[Occasion, ...], OneOrMany()] = Field(
        default=DEFAULT,
        description="what is told; state, config, clock and endpoints are of the proxy, and are told by the `notify` of no route",
    )
    format: Format = Field(
        default="json",
        description="how a message is written: json, or as Slack, Microsoft Teams or PagerDuty take it",
    )
    secret: SigningSecret | None = Field(
        default=None, description="signs what is posted (HMAC-SHA-256); unsigned if not given"
    )
    key: Annotated[Text, SECRET] | None = Field(
        default=None, description="the integration key of PagerDuty, for format: pagerduty"
    )
    timeout: Period = Field(default=10.0, description="how long one attempt may take")

    @property
    def title(self) -> str:
        return self.name or _place(self.webhook)


def _place(url: str) -> str:
    """Host and port."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)


# ── rules ─────────────────────────────────────────────────────────────────────────────────────────


_LISTS = (("notify",), ("routes", "*", "notify"))


def _receivers(document: Document) -> Iterator[tuple[Loc, Node]]:
    for place in _LISTS:
        yield from document.each(*place, "*")


def _title_of(receiver: Node) -> str | None:
    """None if the webhook is not valid."""
    name, webhook = receiver.child("name"), receiver.child("webhook")
    if name is not None and name.text:
        return str(name.text)
    try:
        return _place(address.web_url(webhook.text if webhook is not None else None))
    except (BadValue, ValueError):
        return None


def _one_name_each(document: Document) -> Iterator[Problem]:
    lists = (found for place in _LISTS for found in document.each(*place))
    for loc, node in lists:
        seen = Counter[str]()
        for index, each in enumerate(node.elements):
            title = _title_of(each)
            if title is None:
                continue
            seen[title] += 1
            if seen[title] == 2:
                message = f'another receiver here is called "{title}" too: give each a name'
                yield document.problem((*loc, index), message)


def _keys_of_formats(document: Document) -> Iterator[Problem]:
    for loc, each in _receivers(document):
        found = each.child("format")
        is_pagerduty = found is not None and found.text == "pagerduty"
        if is_pagerduty and "key" not in each.given:
            yield document.problem(loc, 'format pagerduty needs the "key" of its integration')
        elif not is_pagerduty and "key" in each.given:
            yield document.problem((*loc, "key"), "is of format: pagerduty only", at_key=True)


def _of_the_proxy(document: Document) -> Iterator[Problem]:
    for loc, occasion in document.each("routes", "*", "notify", "*", "on", "*"):
        if occasion.text in OF_PROXY:
            message = (
                f"{occasion.text} is of the proxy, not of a route: write it in the `notify` of the whole file"
            )
            yield document.problem(loc, message)


def _routes_without_rollouts(document: Document) -> Iterator[Problem]:
    for loc, route in document.each("routes", "*"):
        if "notify" in route.given and "split" not in route.given:
            message = "has no effect, since the route has no backends"
            yield document.problem((*loc, "notify"), message, at_key=True, severity="warning")


NOTIFY_RULES = (_one_name_each, _keys_of_formats, _of_the_proxy, _routes_without_rollouts)
