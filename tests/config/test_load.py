"""The values of valid configurations."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossfade.config.address import EndpointConfig, ListenConfig
from crossfade.config.model import (
    AccessLogConfig,
    AdminConfig,
    BackendConfig,
    BackendTlsConfig,
    Config,
    DrainConfig,
    EjectConfig,
    FeedbackConfig,
    HealthConfig,
    LimitsConfig,
    MatchConfig,
    MirrorConfig,
    NotifyConfig,
    PredictionConfig,
    RateConfig,
    RetryConfig,
    RouteConfig,
    SegmentConfig,
    ServerLimits,
    StickyConfig,
    TimeoutConfig,
    TlsConfig,
)
from crossfade.config.problem import ConfigError
from tests.config.sample import loaded, route, text

MINIMAL = """\
listen: :80
backends: {a: {endpoints: "http://a:1"}}
routes: [{name: r, split: {a: 1}}]
"""


def endpoint(host: str, port: int) -> EndpointConfig:
    return EndpointConfig(host=host, port=port)


def test_every_optional_key_has_a_default():
    assert loaded(MINIMAL).config == Config(
        listen=(ListenConfig(host="0.0.0.0", port=80),),
        tls=None,
        admin=AdminConfig(listen=ListenConfig(host="127.0.0.1", port=9901), token=""),
        workers="auto",
        state="sqlite:crossfade.db",
        drain=DrainConfig(delay=5.0, timeout=30.0),
        trusted_proxies=(),
        access_log=None,
        limits=ServerLimits(
            head_bytes=32_768,
            head_count=100,
            connections=10_000,
            head_timeout=10.0,
            keep_alive=75.0,
            min_rate=240,
            min_rate_grace=60.0,
            held_bytes=67_108_864,
        ),
        backends={
            "a": BackendConfig(
                endpoints=(EndpointConfig(host="a", port=1),),
                version=None,
                health=HealthConfig(path=None, interval=1.0, timeout=0.5, healthy_after=2, unhealthy_after=3),
                tls=None,
                min_up=0.5,
                eject=EjectConfig(after=5, time=10.0, max_share=0.5, statuses=(502, 503, 504)),
                slow_start=10.0,
                resolve=10.0,
                timeout=TimeoutConfig(connect=1.0, first_byte=60.0, idle=60.0, total=None),
                max_in_flight=1024,
            )
        },
        routes=(
            RouteConfig(
                name="r",
                match=MatchConfig(),
                sticky=(),
                split={"a": 10_000},
                fallback=None,
                mirror=(),
                prediction=None,
                feedback=None,
                retry=RetryConfig(attempts=1, budget=0.2, pure=False),
                upgrades=("websocket",),
                limits=LimitsConfig(
                    body=None, rate=None, inspect=1_048_576, beyond_inspect="refuse", replay=65_536
                ),
                rollout=(),
                notify=(),
            ),
        ),
    )
    assert loaded(MINIMAL).warnings == ()


@pytest.mark.parametrize(
    ("written", "key", "value"),
    [
        ("tls: {cert: c.pem, key: k.pem}", "tls", TlsConfig(cert="c.pem", key="k.pem")),
        ("admin: {listen: '[::1]:0'}", "admin", AdminConfig(listen=ListenConfig(host="::1", port=0))),
        (
            "admin: {listen: ':9', token: 012}",
            "admin",
            AdminConfig(listen=ListenConfig(host="0.0.0.0", port=9), token="012"),
        ),
        ("workers: auto", "workers", "auto"),
        ("workers: 0", "workers", 0),
        ("workers: ${N}", "workers", 3),
        ('workers: "${N}"', "workers", 3),
        ("state: 'sqlite::memory:'", "state", "sqlite::memory:"),
        ("drain: 1m30s", "drain", DrainConfig(delay=0.0, timeout=90.0)),
        ("drain: 0", "drain", DrainConfig(delay=0.0, timeout=0.0)),
        ("drain: {delay: 20s}", "drain", DrainConfig(delay=20.0, timeout=30.0)),
        ("drain: {timeout: 1m}", "drain", DrainConfig(delay=5.0, timeout=60.0)),
        ("access_log: off", "access_log", None),
        ("access_log: false", "access_log", None),
        ("access_log: {}", "access_log", AccessLogConfig(to="stdout", sample=1.0, query=False)),
        (
            "access_log: {to: /a/b.log, sample: 2.5%, query: true}",
            "access_log",
            AccessLogConfig(to="/a/b.log", sample=0.025, query=True),
        ),
        ("trusted_proxies: 10.0.0.0/8", "trusted_proxies", ("10.0.0.0/8",)),
        ("trusted_proxies: ['::1', 10.0.0.0/8]", "trusted_proxies", ("::1/128", "10.0.0.0/8")),
        (
            "limits: {head_bytes: 8KiB, keep_alive: 5, min_rate: 1KiB, min_rate_grace: 1m30s, held_bytes: 1GiB}",
            "limits",
            ServerLimits(
                head_bytes=8192, keep_alive=5.0, min_rate=1024, min_rate_grace=90.0, held_bytes=2**30
            ),
        ),
    ],
)
def test_a_key_of_the_top_level_is_read(written: str, key: str, value: object):
    assert getattr(loaded(text(top=written), N="3").config, key) == value


@pytest.mark.parametrize(
    ("written", "key", "value"),
    [
        ("{endpoints: ['http://b:1', http://c]}", "endpoints", (endpoint("b", 1), endpoint("c", 80))),
        ("{endpoints: 'http://${HOST:-d}:9'}", "endpoints", (endpoint("d", 9),)),
        ("{endpoints: http://b, version: 1.10}", "version", "1.10"),
        ("{endpoints: http://b, health: false}", "health", None),
        ("{endpoints: http://b, health: {path: /h}}", "health", HealthConfig(path="/h")),
        (
            "{endpoints: http://b, timeout: {connect: 250ms, total: null}}",
            "timeout",
            TimeoutConfig(connect=0.25),
        ),
        ("{endpoints: http://b, max_in_flight: 1}", "max_in_flight", 1),
        (
            "{endpoints: https://b, tls: {ca: c, cert: d, key: k, server_name: s, verify: false}}",
            "tls",
            BackendTlsConfig(ca="c", cert="d", key="k", server_name="s", verify=False),
        ),
        ("{endpoints: http://b, eject: false}", "eject", None),
        (
            "{endpoints: http://b, eject: {after: 2, time: 1m, max_share: 1, statuses: 500}}",
            "eject",
            EjectConfig(after=2, time=60.0, max_share=1.0, statuses=(500,)),
        ),
        ("{endpoints: http://b, min_up: 100%}", "min_up", 1.0),
        ("{endpoints: http://b, slow_start: 0}", "slow_start", 0.0),
        ("{endpoints: http://b, resolve: 5s}", "resolve", 5.0),
    ],
)
def test_a_key_of_a_backend_is_read(written: str, key: str, value: object):
    assert getattr(loaded(text(backend=f"b: {written}")).config.backends["b"], key) == value


@pytest.mark.parametrize(
    ("written", "key", "value"),
    [
        ("match: {path: /predict, methods: POST}", "match", MatchConfig(path="/predict", methods=("POST",))),
        ("match: {prefix: /v2}", "match", MatchConfig(prefix="/v2")),
        ("match: {regex: '/v[0-9]+'}", "match", MatchConfig(regex="/v[0-9]+")),
        ("match: {headers: {X-A: 1.10, B: '*'}}", "match", MatchConfig(headers={"x-a": "1.10", "b": "*"})),
        ("match: {query: {on: true}}", "match", MatchConfig(query={"on": "true"})),
        (
            "match: {json: {a.b: 1, c: 1.5, d: true, e: x, f: '1', g: no}}",
            "match",
            MatchConfig(json={"a.b": 1, "c": 1.5, "d": True, "e": "x", "f": "1", "g": "no"}),
        ),
        ("sticky: {json: customer.id}", "sticky", (StickyConfig(kind="json", name="customer.id"),)),
        (
            "sticky: [{header: X-Id}, {cookie: C}, {query: q}, {client_ip: true}]",
            "sticky",
            (
                StickyConfig(kind="header", name="x-id"),
                StickyConfig(kind="cookie", name="C"),
                StickyConfig(kind="query", name="q"),
                StickyConfig(kind="client_ip"),
            ),
        ),
        ("fallback: b", "fallback", "b"),
        ("mirror: {to: b, safe: true}", "mirror", (MirrorConfig(to="b", sample=10_000, noise=0, safe=True),)),
        (
            "mirror: [{to: b, sample: 0.5%, noise: 0.01}]\n    match: {methods: [GET, HEAD]}",
            "mirror",
            (MirrorConfig(to="b", sample=50, noise=100),),
        ),
        (
            "prediction: {score: p.x, decision: 0.5, segment: s}",
            "prediction",
            PredictionConfig(score="p.x", decision=0.5, segment=(SegmentConfig(kind="answer", name="s"),)),
        ),
        (
            "prediction: {label: l, segment: [country, {json: a.plan}, {header: X-Tenant}, {query: tier}], "
            "ignore: id, redact: [name, a.0], sample: 12.5%}",
            "prediction",
            PredictionConfig(
                label="l",
                segment=(
                    SegmentConfig(kind="answer", name="country"),
                    SegmentConfig(kind="json", name="a.plan"),
                    SegmentConfig(kind="header", name="x-tenant"),
                    SegmentConfig(kind="query", name="tier"),
                ),
                ignore=("id",),
                redact=("name", "a.0"),
                sample=1250,
            ),
        ),
        ("prediction: {protocol: oip_v2}", "prediction", PredictionConfig(protocol="oip_v2")),
        ("feedback: {horizon: 7d}", "feedback", FeedbackConfig(horizon=604_800.0)),
        (
            "retry: {attempts: 0, budget: 20%, pure: true}",
            "retry",
            RetryConfig(attempts=0, budget=0.2, pure=True),
        ),
        ("upgrades: []", "upgrades", ()),
        ("upgrades: WebSocket", "upgrades", ("websocket",)),
        (
            "limits: {inspect: 4MiB, beyond_inspect: absent, replay: 1MiB}",
            "limits",
            LimitsConfig(inspect=4 * 2**20, beyond_inspect="absent", replay=2**20),
        ),
        ("limits: {body: 10MiB, inspect: 0}", "limits", LimitsConfig(body=10 * 2**20, inspect=0)),
        (
            "limits: {rate: {key: client_ip, per_second: 0.5, burst: 2}}",
            "limits",
            LimitsConfig(rate=RateConfig(key=StickyConfig(kind="client_ip"), per_second=0.5, burst=2)),
        ),
        (
            "limits: {rate: {key: {header: X-Key}, per_second: 100, burst: 2}}",
            "limits",
            LimitsConfig(
                rate=RateConfig(key=StickyConfig(kind="header", name="x-key"), per_second=100, burst=2)
            ),
        ),
        (
            "notify: {webhook: https://h/x, on: [promote, abort]}",
            "notify",
            (NotifyConfig(webhook="https://h/x", on=("promote", "abort")),),
        ),
    ],
)
def test_a_key_of_a_route_is_read(written: str, key: str, value: object):
    assert getattr(route(written), key) == value


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (text(top="drain: 90s"), text(top="drain: 1m30s  # the same")),
        (text(top="drain: {delay: 5s, timeout: 30s}"), text(top="workers: auto")),
        (text(top="workers: 3"), text(top="workers: ${N}")),
        (text(split="{a: 50%, b: 50%}"), text(split="{b: 7, a: 7}")),
        (text(), text().replace("{endpoints: http://b:1}", "\n    endpoints: ['http://B:1/']")),
    ],
)
def test_the_hash_is_of_the_values_not_of_the_text(one: str, other: str):
    assert loaded(one, N="3").hash == loaded(other, N="3").hash
    assert re.fullmatch("[0-9a-f]{64}", loaded(one, N="3").hash)


@pytest.mark.parametrize(
    "other",
    [text(top="drain: 31s"), text(split="{a: 51%, b: 49%}"), text(backend="b: {endpoints: http://b:2}")],
)
def test_other_values_have_another_hash(other: str):
    assert loaded(other).hash != loaded(text()).hash


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_shares_are_read_exactly(parts: int):
    written = (
        f"{{a: {parts // 100}.{parts % 100:02}%, b: {(10_000 - parts) // 100}.{(10_000 - parts) % 100:02}%}}"
    )
    assert loaded(text(split=written)).config.routes[0].split == {"a": parts, "b": 10_000 - parts}


def test_a_short_secret_is_refused_and_not_shown():
    assert loaded(text(top="override: {secret: sixteen-or-more-chars}")).config.override is not None
    with pytest.raises(ConfigError) as refused:
        loaded(text(top="override: {secret: hunter2}"))
    (problem,) = refused.value.problems
    assert (problem.line, problem.path) == (2, "override.secret")
    assert "at least 16 characters" in problem.message
    assert "hunter2" not in str(problem)
