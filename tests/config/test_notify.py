from __future__ import annotations

import pytest

from crossfade.config.load import load
from crossfade.config.notify import DEFAULT, OF_PROXY, NotifyConfig
from tests.config.sample import assert_errors, route, text, warnings


def receivers(written: str) -> tuple[NotifyConfig, ...]:
    return load(text(top=f"notify: {written}"), "routing.yaml", {}).config.notify


def test_the_defaults():
    (found,) = receivers("{webhook: 'https://hooks.slack.com/services/T0/B0/x'}")
    assert (found.title, found.on, found.format) == ("hooks.slack.com", DEFAULT, "json")
    assert (found.secret, found.key, found.timeout) == (None, None, 10.0)
    assert "state" in DEFAULT and "config" not in DEFAULT
    assert warnings(text(route="notify: {webhook: 'https://h/x'}")) == []


def test_a_receiver_is_named_by_its_host_and_port_or_by_its_name():
    named = receivers("[{webhook: 'http://h:9000/a'}, {webhook: 'http://h:9001/a'}, {name: ops, webhook: 'http://h:9000/b'}]")  # fmt: skip
    assert [each.title for each in named] == ["h:9000", "h:9001", "ops"]


def test_occasions_of_a_route_and_of_the_proxy():
    (found,) = route("notify: {webhook: 'http://h', on: [drift, mirror, retrain]}").notify
    assert found.on == ("drift", "mirror", "retrain")
    (found,) = receivers("{webhook: 'http://h', on: [state, config, clock, endpoints]}")
    assert set(found.on) == set(OF_PROXY)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (
            "notify: [{webhook: 'https://chat/a'}, »{webhook: 'https://chat/b'}, {webhook: 'https://chat/c'}]",
            'notify[1]: another receiver here is called "chat" too: give each a name',
        ),
        (
            "notify: [{webhook: 'https://chat/a', name: ops}, »{webhook: 'https://mail/b', name: ops}]",
            'notify[1]: another receiver here is called "ops" too: give each a name',
        ),
        ("notify: »{webhook: 'http://h', format: pagerduty}", 'notify: format pagerduty needs the "key" of its integration'),
        ("notify: {webhook: 'http://h', »key: k}", "notify.key: is of format: pagerduty only"),
        ("notify: {webhook: 'http://h', format: »discord}", 'notify.format: must be json, slack, teams or pagerduty, not "discord"'),
        ("notify: {webhook: 'http://h', secret: »short}", "notify.secret: must be at least 16 characters long, such as from openssl rand -hex 32"),
        ("notify: {webhook: 'http://h', timeout: »0s}", "notify.timeout: must be more than 0"),
        ("»notify: {on: abort}", 'notify: the key "webhook" is missing'),
    ],
)  # fmt: skip
def test_errors(written: str, message: str):
    assert_errors(text(top=written), message)


def test_what_is_of_the_proxy_is_told_by_no_route():
    assert_errors(
        text(route="notify: {webhook: 'http://h', on: [abort, »state]}"),
        "routes[0].notify.on[1]: state is of the proxy, not of a route: write it in the `notify` of the whole file",
    )
    assert_errors(
        text(route="notify: {webhook: 'http://h', on: »config}"),
        "routes[0].notify.on: config is of the proxy, not of a route: write it in the `notify` of the whole file",
    )


def test_a_route_that_answers_itself_has_nothing_to_tell():
    other = "{name: old, match: {path: /old}, respond: {status: 404}, notify: {webhook: 'http://h'}}"
    assert warnings(text(route=f"fallback: a\n    match: {{path: /p}}\n  - {other}")) == [
        "11:62: warning: routes[1].notify: has no effect, since the route has no backends"
    ]


def test_the_same_name_in_two_routes_is_no_other_receiver():
    both = text(top="notify: {webhook: 'https://chat/a'}", route="notify: {webhook: 'https://chat/b'}")
    assert warnings(both) == []
