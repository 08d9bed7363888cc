"""A message as its receiver takes it: our own JSON, Slack, Microsoft Teams, PagerDuty. Pure.

Rule: what a model or an operator said is text, never markup: it may not mention a channel, link elsewhere, or begin a heading.
Slack: incoming webhooks, with blocks. Teams: an adaptive card, as its Workflows take.
PagerDuty: Events API v2.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import msgspec

from crossfade.config.notify import NotifyConfig
from crossfade.control.kept_messages import Message
from crossfade.control.messages import TEST

SUMMARY = 1024  # characters that PagerDuty takes of a summary
HEADER = 150  # characters that Slack takes of a header
_MARKS = {"info": "\N{INFORMATION SOURCE}", "warning": "\N{WARNING SIGN}", "error": "\N{CROSS MARK}"}
Value = dict[str, Any]


def body_of(message: Message, config: NotifyConfig, dashboard: str) -> bytes:
    """`dashboard`: its URL, without a slash at the end."""
    return msgspec.json.encode(_FORMATS[config.format](message, config, link_of(message, dashboard)))


def link_of(message: Message, dashboard: str) -> str:
    """To the decision, to the route, or to the overview."""
    if not message.route:
        return f"{dashboard}/#/"
    page = f"{dashboard}/#/route/{quote(message.route, safe='')}"
    return f"{page}/decision/{message.decision}" if message.decision else page


def time_of(message: Message) -> str:
    return datetime.fromtimestamp(message.at, UTC).isoformat(timespec="milliseconds")


def _as_json(message: Message, config: NotifyConfig, link: str) -> Value:
    return {
        "id": message.id,
        "event": message.event,
        "at": message.at,
        "route": message.route or None,
        "severity": message.severity,
        "title": message.title,
        "detail": message.detail,
        "decision": message.decision or None,
        **message.facts,
        "link": link,
    }


def _for_slack(message: Message, config: NotifyConfig, link: str) -> Value:
    """Blocks of plain text, in which nothing is markup; `text` is what phones show of it."""
    title = f"{_MARKS[message.severity]} {message.title}"
    return {
        "text": _escaped(title),
        "blocks": [
            {"type": "header", "text": {"type": "plain_text", "text": title[:HEADER]}},
            {"type": "section", "text": {"type": "plain_text", "text": message.detail or "-"}},
            {"type": "section", "text": {"type": "mrkdwn", "text": f"<{_escaped(link)}|Show>"}},
        ],
    }


def _escaped(text: str) -> str:
    """Slack's control characters; then `<!channel>` is text."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _for_teams(message: Message, config: NotifyConfig, link: str) -> Value:
    color = {"info": "Default", "warning": "Warning", "error": "Attention"}[message.severity]
    head = {"type": "TextBlock", "size": "Medium", "weight": "Bolder", "wrap": True, "color": color}
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.2",
        "body": [
            {**head, "text": _plain_markdown(message.title)},
            {"type": "TextBlock", "wrap": True, "text": _plain_markdown(message.detail)},
            {"type": "TextBlock", "isSubtle": True, "wrap": True, "text": time_of(message)},
        ],
        "actions": [{"type": "Action.OpenUrl", "title": "Show", "url": link}],
    }
    content_type = "application/vnd.microsoft.card.adaptive"
    return {
        "type": "message",
        "attachments": [{"contentType": content_type, "contentUrl": None, "content": card}],
    }


def _plain_markdown(text: str) -> str:
    """Adaptive cards know links, bold and lists of Markdown."""
    return re.sub(r"([\\\[\]*_`#])", r"\\\1", text)


def _for_pagerduty(message: Message, config: NotifyConfig, link: str) -> Value:
    is_resolved = bool(message.facts.get("resolved")) or message.event == TEST
    return {
        "routing_key": config.key,
        "event_action": "resolve" if is_resolved else "trigger",
        "dedup_key": _incident_of(message),
        "client": "Crossfade",
        "client_url": link,
        "links": [{"href": link, "text": "Show"}],
        "payload": {
            "summary": f"{message.title}: {message.detail}"[:SUMMARY],
            "source": "crossfade",
            "severity": message.severity,
            "timestamp": time_of(message),
            "component": message.route or "crossfade",
            "class": message.event,
            "custom_details": {"id": message.id, "detail": message.detail, **message.facts},
        },
    }


def _incident_of(message: Message) -> str:
    """What is told again of one trouble is one incident; each decision is one of its own."""
    subject = message.id if message.decision else message.event
    return f"crossfade/{message.route}/{subject}"[:255]


_FORMATS: dict[str, Callable[[Message, NotifyConfig, str], Value]] = {
    "json": _as_json,
    "slack": _for_slack,
    "teams": _for_teams,
    "pagerduty": _for_pagerduty,
}
