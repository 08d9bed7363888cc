"""Which decisions and changes are told, in which words, and how each receiver takes them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from crossfade.config.notify import NotifyConfig
from crossfade.control.kept_messages import Message
from crossfade.control.message_formats import HEADER, SUMMARY, body_of, link_of
from crossfade.control.messages import (
    MAX_DETAIL,
    MAX_FACTS,
    event_of,
    message_of,
    message_of_change,
    message_of_test,
)
from crossfade.control.views import Decision, StatusChange

DASHBOARD = "https://crossfade.example.com"


def decision(action: str, actor: str = "loop", route: str = "churn", **more: Any) -> Decision:
    given: dict[str, Any] = {
        "from_": {"split": {"v2": 0.95, "v3": 0.05}, "phase": "progressing", "ledger_version": 2},
        "to": {"split": {"v2": 1.0, "v3": 0.0}, "challenger": "v3", "phase": "aborted", "step": 0},
        "evidence": {},
        "reason": "error_rate <= 5%: 12% of 400 requests",
    }
    return Decision(
        id=7, at=1_700_000_000.25, route=route, action=action, actor=actor, ledger_version=3, config_hash="c",
        previous_hash="p", hash="0123456789abcdef" * 4, **(given | more),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("made", "event"),
    [
        (decision("pause", evidence={"event": "pass"}), "approval"),
        (decision("pause", evidence={"event": "step_timeout"}), "approval"),
        (decision("pause", evidence={"event": "pause"}), "undecided"),
        (decision("pause", "alice", evidence={"event": "pause"}), "pause"),
        (decision("approval_timeout"), "undecided"),
        (decision("abort"), "abort"),
        (decision("rollback"), "rollback"),
        (decision("promote"), "promote"),
        (decision("advance"), "advance"),
        (decision("begin"), "begin"),
        (decision("no_way_back"), "no_way_back"),
        (decision("split", "alice"), "split"),
        (decision("retrain"), "retrain"),
        (decision("retrained"), "retrain"),
        (decision("retrain_failed"), "retrain"),
        (decision("watch_ended"), None),
        (decision("restore"), None),
        (decision("start", "file"), None),
        (decision("undo"), None),
    ],
)
def test_the_occasion_of_a_decision(made: Decision, event: str | None):
    assert event_of(made) == event
    message = message_of(made)
    assert (message.event if message else None) == event


def test_a_message_of_a_decision_is_the_same_each_time_it_is_made():
    message = message_of(decision("abort"))
    assert message is not None and message == message_of(decision("abort"))
    assert (message.id, message.decision, message.severity) == ("0123456789abcdef" * 2, 7, "error")
    assert (message.title, message.detail) == ("churn: abort of v3", "error_rate <= 5%: 12% of 400 requests")
    assert message.facts == {
        "action": "abort",
        "actor": "loop",
        "from": {"phase": "progressing", "split": {"v2": 0.95, "v3": 0.05}},
        "to": {"challenger": "v3", "phase": "aborted", "step": 0, "split": {"v2": 1.0, "v3": 0.0}},
        "ledger_version": 3,
    }


@pytest.mark.parametrize(
    ("made", "severity"),
    [
        (decision("abort", "alice"), "info"),
        (decision("rollback"), "error"),
        (decision("retrain_failed"), "error"),
        (decision("retrain"), "info"),
        (decision("pause"), "warning"),
        (decision("promote"), "info"),
        (decision("no_way_back"), "error"),
    ],
)
def test_what_somebody_wanted_is_no_error(made: Decision, severity: str):
    message = message_of(made)
    assert message is not None and message.severity == severity


def test_a_message_is_bounded():
    split = {f"backend-{n}": 0.0 for n in range(1000)}
    message = message_of(decision("abort", reason="x" * 100_000, to={"split": split}))
    assert message is not None
    assert len(message.detail) == MAX_DETAIL
    assert len(msgspec.json.encode(message.facts)) <= MAX_FACTS


def test_a_decision_about_an_endpoint_is_of_no_route():
    assert message_of(decision("drain", "alice", route="")) is None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("store", None, False), ("state", "", "error", "crossfade: the state cannot be written, so no exposure rises")),
        (("store", None, True), ("state", "", "info", "crossfade: the state can be written again")),
        (("config", None, False), ("config", "", "error", "crossfade: the configuration was not loaded")),
        (("mirror", "churn", False), ("mirror", "churn", "warning", "churn: a mirror is silent")),
        (("drift", "churn", False), ("drift", "churn", "warning", "churn: drift")),
        (("recommendation", "churn", True), ("recommendation", "churn", "info", "churn: recommendation")),
        (("endpoints", None, False), ("endpoints", "", "warning", "crossfade: endpoints are down")),
        (("endpoints", None, True), ("endpoints", "", "info", "crossfade: endpoints are up again")),
        (("clock", None, False), ("clock", "", "warning", "crossfade: time has passed that does not count")),
    ],
)  # fmt: skip
def test_changes_of_status(change: tuple[str, str | None, bool], told: tuple[str, str, str, str]):
    what, route, ok = change
    message = message_of_change(StatusChange(1.0, what, route, "why", ok), "n1")
    assert message is not None
    assert (message.event, message.route, message.severity, message.title) == told
    assert (message.id, message.detail) == ("n1", "why")


def test_nobody_is_told_of_a_configuration_that_was_loaded():
    assert message_of_change(StatusChange(1.0, "config", None, "loaded by file"), "n1") is None


# ── formats ───────────────────────────────────────────────────────────────────────────────────────


def written(message: Message | None, kind: str = "json", **keys: Any) -> Any:
    assert message is not None
    config = NotifyConfig.model_validate({"webhook": "https://h/x", "format": kind, **keys})
    return msgspec.json.decode(body_of(message, config, DASHBOARD))


def test_links_lead_to_the_decision_the_route_or_the_overview():
    told = message_of(decision("abort", route="churn.eu"))
    assert told is not None
    assert link_of(told, DASHBOARD) == f"{DASHBOARD}/#/route/churn.eu/decision/7"
    assert link_of(message_of_test("n", 1.0, "churn", "alice"), DASHBOARD) == f"{DASHBOARD}/#/route/churn"
    assert link_of(message_of_test("n", 1.0, "", "alice"), DASHBOARD) == f"{DASHBOARD}/#/"


def test_our_own_json():
    assert written(message_of(decision("promote", reason="every check passed"))) == {
        "id": "0123456789abcdef" * 2,
        "event": "promote",
        "at": 1_700_000_000.25,
        "route": "churn",
        "severity": "info",
        "title": "churn: promote of v3",
        "detail": "every check passed",
        "decision": 7,
        "action": "promote",
        "actor": "loop",
        "from": {"phase": "progressing", "split": {"v2": 0.95, "v3": 0.05}},
        "to": {"challenger": "v3", "phase": "aborted", "step": 0, "split": {"v2": 1.0, "v3": 0.0}},
        "ledger_version": 3,
        "link": f"{DASHBOARD}/#/route/churn/decision/7",
    }


def test_slack_gets_plain_text_and_one_link():
    found = written(
        message_of(decision("abort", reason="<!channel> *see* <https://evil|here> & more")), "slack"
    )
    header, section, link = found["blocks"]
    assert header["text"] == {"type": "plain_text", "text": "\N{CROSS MARK} churn: abort of v3"}
    assert section["text"] == {"type": "plain_text", "text": "<!channel> *see* <https://evil|here> & more"}
    assert link["text"] == {"type": "mrkdwn", "text": f"<{DASHBOARD}/#/route/churn/decision/7|Show>"}
    assert found["text"] == "\N{CROSS MARK} churn: abort of v3"


def test_what_slack_shows_on_a_phone_mentions_nobody_and_its_header_is_short():
    found = written(message_of(decision("abort", to={"challenger": "<!here>" + "x" * 300})), "slack")
    assert "&lt;!here&gt;" in found["text"]
    assert len(found["blocks"][0]["text"]["text"]) == HEADER


def test_teams_gets_an_adaptive_card_without_markup_of_others():
    found = written(message_of(decision("abort", reason="[here](https://evil) **now**")), "teams")
    (attachment,) = found["attachments"]
    assert (found["type"], attachment["contentType"]) == (
        "message",
        "application/vnd.microsoft.card.adaptive",
    )
    title, detail, time = attachment["content"]["body"]
    assert (title["text"], title["color"]) == ("churn: abort of v3", "Attention")
    assert detail["text"] == r"\[here\](https://evil) \*\*now\*\*"
    assert time["text"] == "2023-11-14T22:13:20.250+00:00"
    assert attachment["content"]["actions"][0]["url"] == f"{DASHBOARD}/#/route/churn/decision/7"


def test_pagerduty_gets_an_event():
    found = written(message_of(decision("abort", reason="r" * 2000)), "pagerduty", key="K" * 32)
    assert (found["routing_key"], found["event_action"]) == ("K" * 32, "trigger")
    assert found["dedup_key"] == f"crossfade/churn/{'0123456789abcdef' * 2}"
    payload = found["payload"]
    assert (payload["source"], payload["severity"], payload["class"]) == ("crossfade", "error", "abort")
    assert len(payload["summary"]) == SUMMARY and payload["summary"].startswith("churn: abort of v3: rrr")
    assert payload["timestamp"] == "2023-11-14T22:13:20.250+00:00"
    assert payload["custom_details"]["actor"] == "loop"


def test_what_is_mended_resolves_the_incident_that_it_began():
    down = written(
        message_of_change(StatusChange(1.0, "store", None, "full", False), "a"), "pagerduty", key="k"
    )
    up = written(message_of_change(StatusChange(2.0, "store", None, "writable"), "b"), "pagerduty", key="k")
    assert (down["event_action"], up["event_action"]) == ("trigger", "resolve")
    assert down["dedup_key"] == up["dedup_key"] == "crossfade//state"


def test_a_test_pages_nobody():
    found = written(message_of_test("n", 1.0, "", "alice"), "pagerduty", key="k")
    assert found["event_action"] == "resolve"
