"""A configuration as it may be shown: no secret is in it, and everything else is as it was written."""

from __future__ import annotations

import pytest

from crossfade.config.load import load
from crossfade.config.masking import secret_places
from crossfade.config.problem import ConfigError
from tests.config.sample import text

ENV = {"TOKEN": "from-the-environment", "PW": "from-the-environment"}
REST = """
listen: ":8080"
backends: {a: {endpoints: ["http://127.0.0.1:9001"]}}
routes: [{name: x, split: {a: 1}%s}]
"""
SECRET = "a-secret-of-24-characters"


def shown(head: str, route: str = "") -> str:
    """Of the lines that are of interest."""
    text = head + REST % route
    loaded = load(text, "f.yaml", ENV)
    assert SECRET not in loaded.shown
    assert "from-the-environment" not in loaded.shown
    return loaded.shown.replace(REST % "", "")


def test_the_secrets_of_the_format() -> None:
    """A new field with a secret has the mark, or its value goes to every reader of the admin API."""
    assert secret_places() == {
        ("admin", "token"),
        ("admin", "tokens", "*", "token"),
        ("backends", "**", "request", "headers", "add", "**"),
        ("backends", "**", "request", "headers", "set", "**"),
        ("cookie_secrets", "*"),
        ("override", "secret"),
        ("registry", "token"),
        ("routes", "*", "mirror", "*", "headers", "add", "**"),
        ("routes", "*", "mirror", "*", "headers", "set", "**"),
        ("notify", "*", "webhook"),
        ("notify", "*", "secret"),
        ("notify", "*", "key"),
        ("routes", "*", "notify", "*", "webhook"),
        ("routes", "*", "notify", "*", "secret"),
        ("routes", "*", "notify", "*", "key"),
        ("routes", "*", "retrain", "secret"),
        ("routes", "*", "rollout", "*", "steps", "*", "gate", "webhook"),
        ("routes", "*", "rollout", "*", "steps", "*", "gate", "secret"),
        ("routes", "*", "retrain", "webhook"),
        ("traces", "headers", "**"),
    }


@pytest.mark.parametrize(
    ("written", "seen"),
    [
        (f"admin: {{token: {SECRET}}}", 'admin: {token: "***"}'),
        (f"admin: {{token: '{SECRET}' }}  # why", 'admin: {token: "***" }  # why'),
        (f'admin:\n  token: "{SECRET}"\n', 'admin:\n  token: "***"\n'),
        (
            f"admin:\n  token: &t {SECRET}\noverride: {{secret: *t}}",
            'admin:\n  token: "***"\noverride: {secret: *t}',
        ),
        (f"# çelik 𝄞\nadmin: {{token: '𝄞{SECRET}'}}", '# çelik 𝄞\nadmin: {token: "***"}'),
        (f"\ufeffadmin: {{token: {SECRET}}}", 'admin: {token: "***"}'),
        (f"override: {{secret: '${{NO:-{SECRET}}}'}}", 'override: {secret: "***"}'),
        (f"override: {{secret: '${{TOKEN}}{SECRET}'}}", 'override: {secret: "***"}'),
        ("override: {secret: '${TOKEN}'}", "override: {secret: '${TOKEN}'}"),
        ("admin: {token: ''}", "admin: {token: ''}"),
        (
            f"prometheus: {{url: 'http://me:{SECRET}@host:9090/x'}}",
            "prometheus: {url: 'http://***@host:9090/x'}",
        ),
        (f"prometheus: {{url: 'http://host/?key={SECRET}'}}", "prometheus: {url: 'http://host/?***'}"),
        (f"prometheus: {{url: http://me:{SECRET}/@host}}", "prometheus: {url: http://***@host}"),
        ("prometheus: {url: 'http://${PW}@host:9090'}", "prometheus: {url: 'http://***@host:9090'}"),
        (f"# was redis://me:{SECRET}@host", "# was redis://***@host"),
        ("state: sqlite:a.db", "state: sqlite:a.db"),
    ],
)
def test_a_secret_is_three_stars(written: str, seen: str) -> None:
    assert shown(written) == seen


@pytest.mark.parametrize(
    "block", [f"|\n    {SECRET}\n", f">-\n    {SECRET}\n\n", f'"{SECRET[:9]}\\\n    {SECRET[9:]}"\n']
)
def test_a_secret_of_several_lines_is_hidden_whole(block: str) -> None:
    text = shown(f"admin:\n  token: {block}")
    assert SECRET[:9] not in text
    assert SECRET[9:] not in text
    assert text.startswith('admin:\n  token: "***"')


def test_a_webhook_is_hidden_whole() -> None:
    assert ', notify: {webhook: "***"}' in shown("", f", notify: {{webhook: 'https://chat/{SECRET}'}}")
    many = f", notify: [{{webhook: 'https://chat/{SECRET}', on: [abort]}}, {{webhook: '${{TOKEN}}'}}]"
    with pytest.raises(ConfigError, match=r"notify\[1\]\.webhook: .*\$\{TOKEN\}|must be a URL") as caught:
        shown("", many)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "head",
    [
        f"prometheus: {{url: 'ftp://me:{SECRET}@host'}}",
        f"state: redis//me:{SECRET}@host",
        f"override: {{secret: [{SECRET}]}}",
        f"override: {{secret: {SECRET[:15]}}}",
        f"admin: {{token: {{a: {SECRET}}}}}",
    ],
)
def test_no_message_shows_a_secret(head: str) -> None:
    with pytest.raises(ConfigError) as caught:
        shown(head)
    assert SECRET[:15] not in str(caught.value)


def test_the_hash_says_nothing_of_a_secret_and_all_of_the_rest() -> None:
    """It is shown to everybody, so a short password could be tried against it."""

    def digest(token: str, admin: str = "127.0.0.1:1", hook: str = "https://h/1") -> str:
        head = f"admin: {{token: {token}, listen: '{admin}'}}"
        return load(head + REST % f", notify: {{webhook: {hook}}}", "f", {}).hash

    assert digest("one") == digest("two") == digest("two", hook="https://h/2")
    assert digest("one") != digest("one", "127.0.0.1:2")


@pytest.mark.parametrize(
    "head",
    [
        f"admin: {{token: {SECRET}}}",
        f"override: {{secret: {SECRET}}}",
        f"prometheus: {{url: 'http://me:{SECRET}@host:9090'}}",
        f"prometheus: {{url: 'http://host:9090/?key={SECRET}'}}",
    ],
)
def test_a_text_as_it_is_shown_is_no_configuration(head: str) -> None:
    """Three stars would be a token that everybody knows."""
    seen = load(head + REST % "", "f.yaml", {}).shown
    with pytest.raises(ConfigError, match=r"\*\*\* stands for a ") as caught:
        load(seen, "f.yaml", {})
    assert all("stands for" in p.message or "at least 16" in p.message for p in caught.value.problems)


def test_a_text_without_literal_secrets_is_shown_as_it_is() -> None:
    text = "admin: {token: '${TOKEN}'}\nprometheus: {url: '${PROMETHEUS}'}" + REST % ""
    assert load(text, "f.yaml", {"TOKEN": "x", "PROMETHEUS": "http://me:secret@host:9090"}).shown == text


@pytest.mark.parametrize("piece", ["://", "://@", "://?", "a://b@", "?'", "${", "${A:-", "#://"])
def test_a_long_text_takes_no_longer_than_its_length(piece: str) -> None:
    """An expression that tries each place up to the end would take minutes for this."""
    text = piece.replace("'", "''") * 300_000
    backends = f"version: '{text.replace('${', '$${')}', endpoints"
    seen = load(REST.replace("endpoints", backends) % "", "f.yaml", {"A": "x"}).shown
    assert "routes:" in seen


def test_the_values_that_no_log_may_hold():
    written = text(
        top=f"admin: {{token: '{SECRET}-of-admin'}}\n"
        'notify: {webhook: "https://u:${PASSWORD}@hooks.example.com/services/T0/B0?k=v", key: "${KEY}", format: pagerduty}',
        backend='b: {endpoints: "http://b:1", request: {headers: {set: {authorization: "Bearer ${KEY}", x-a: short}}}}',
    )
    found = load(written, "f", {"PASSWORD": "a-long-password", "KEY": "0123456789"}).secrets
    assert found >= {
        f"{SECRET}-of-admin",
        "a-long-password",
        "0123456789",
        "/services/T0/B0?k=v",
        "Bearer 0123456789",
    }
    assert "short" not in found and "hooks.example.com" not in found
