"""The snapshot: compiled from the configuration, and unchanged when it is sent to a worker."""

from __future__ import annotations

import msgspec
import pytest

from crossfade.config.load import Loaded, load
from crossfade.quality.prediction import Prediction, SegmentSource
from crossfade.routing.compiling import compile_snapshot
from crossfade.routing.ledger import Ledger, new_ledger, reweigh, salt_of
from crossfade.routing.router import Router
from crossfade.routing.snapshot import (
    Backend,
    Eject,
    Endpoint,
    Match,
    Mirror,
    Rate,
    Role,
    Snapshot,
    Sticky,
    Tls,
    endpoint_of,
    instance_name,
)
from tests.routing.requests import request

FILE = """
listen: 127.0.0.1:0
limits: {head_bytes: 16KiB, head_count: 50, connections: 200, head_timeout: 5s, keep_alive: 30s, min_rate: 1KiB, min_rate_grace: 20s, held_bytes: 1MiB}
backends:
  churn-v2:
    endpoints: [https://churn-v2:8000, "http://[::1]:8001", unix:///run/churn.sock]
    tls: {ca: /ca.pem, server_name: churn}
    eject: {after: 3, time: 20s, statuses: 503}
    slow_start: 5s
    resolve: 30s
    timeout: {connect: 250ms, first_byte: 2s, idle: 30s, total: 60s}
    max_in_flight: 512
  churn-v3: {endpoints: http://churn-v3:8000, eject: false}
  churn-v4: {endpoints: http://churn-v4:8000}
routes:
  - name: churn
    match:
      path: /predict
      methods: [POST]
      headers: {X-Tier: gold}
      query: {a: "1"}
      json: {model: churn, deep.flag: true, n: 7}
    sticky: [{json: customer.id}, {header: X-Customer-Id}, {cookie: sid}, {query: user}, {client_ip: true}]
    split: {churn-v2: 90%, churn-v3: 10%}
    fallback: churn-v2
    mirror: {to: churn-v4, sample: 12.5%, noise: 5%}
    retry: {attempts: 2, budget: 10%, pure: true}
    prediction: {protocol: oip_v2, label: risk, decision: 0.25, segment: [country, {json: a.plan}, {header: X-Tenant}, {query: tier}], ignore: [id, a.b], redact: name, sample: 12.5%}
    limits: {body: 10MiB, inspect: 4KiB, beyond_inspect: absent, replay: 2KiB, rate: {key: {header: X-Key}, per_second: 0.5, burst: 3}}
  - name: rest
    match: {prefix: /v2}
    split: {churn-v2: 1}
  - name: pattern
    match: {regex: "/x/.*"}
    split: {churn-v2: 1}
"""


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    return load(FILE, "crossfade.yaml", {}, lambda tls, _: ("as it is", {}))


@pytest.fixture(scope="module")
def ledgers(loaded: Loaded) -> dict[str, Ledger]:
    return {r.name: new_ledger(r.split, salt_of(r.name)) for r in loaded.config.routes}


@pytest.fixture(scope="module")
def compiled(loaded: Loaded, ledgers: dict[str, Ledger]) -> Snapshot:
    roles: dict[str, dict[str, Role]] = {"churn": {"churn-v2": "champion", "churn-v3": "challenger"}}
    return compile_snapshot(loaded, ledgers, roles, {("churn-v2", "[::1]:8001")}, 7)


def test_limits_are_compiled(compiled):
    assert compiled.generation == 7
    assert (compiled.head_bytes, compiled.head_count, compiled.connections) == (16_384, 50, 200)
    assert (compiled.head_timeout, compiled.keep_alive) == (5.0, 30.0)
    assert compiled.held_bytes == 1024**2
    assert (compiled.min_rate, compiled.min_rate_grace) == (1024, 20.0)


def test_backends_are_compiled(compiled):
    assert compiled.backends["churn-v2"] == Backend(
        name="churn-v2",
        endpoints=(
            Endpoint("churn-v2", 8000, "churn-v2:8000", True, "https://churn-v2:8000", tls=True),
            Endpoint("::1", 8001, "[::1]:8001", False, "http://[::1]:8001"),
            Endpoint("", 0, "localhost", True, "unix:///run/churn.sock", path="/run/churn.sock"),
        ),
        connect_timeout=0.25,
        first_byte_timeout=2.0,
        idle_timeout=30.0,
        total_timeout=60.0,
        max_in_flight=512,
        tls=Tls(ca="/ca.pem", server_name="churn", stamp="as it is"),
        eject=Eject(after=3, time=20.0, max_share=0.5, statuses=(503,)),
        slow_start=5.0,
        resolve=30.0,
    )
    assert list(compiled.backends) == ["churn-v2", "churn-v3", "churn-v4"]
    assert compiled.backends["churn-v3"].total_timeout is None


def test_a_prediction_is_compiled(compiled):
    assert compiled.routes[0].prediction == Prediction(
        label=("risk",),
        decision=0.25,
        segment=(
            SegmentSource("answer", "country"),
            SegmentSource("json", "a.plan"),
            SegmentSource("header", "x-tenant"),
            SegmentSource("query", "tier"),
        ),
        protocol="oip_v2",
        ignore=(("id",), ("a", "b")),
        redact=(("name",),),
        sample=1250,
    )
    assert compiled.routes[1].prediction is None


def test_an_endpoint_is_down_for_its_own_backend_only(loaded, ledgers):
    compiled = compile_snapshot(loaded, ledgers, {}, {("churn-v3", "churn-v2:8000")}, 1)
    assert all(e.up for backend in compiled.backends.values() for e in backend.endpoints)
    assert compiled.backends["churn-v2"].max_in_flight == 512


def test_one_address_of_an_endpoint_can_be_out(loaded, ledgers):
    out = instance_name("churn-v2:8000", "10.0.0.3")
    backends = compile_snapshot(loaded, ledgers, {}, {("churn-v2", out)}, 1).backends
    assert backends["churn-v2"].out == (out,) and backends["churn-v3"].out == ()
    assert all(e.up for e in backends["churn-v2"].endpoints)


@pytest.mark.parametrize(
    ("instance", "endpoint"),
    [
        ("m:80 (10.0.0.3)", "m:80"),
        ("m:80", "m:80"),
        ("[::1]:80", "[::1]:80"),
        ("unix:///run/m (1).sock", "unix:///run/m (1).sock"),
        ("https://m:443 (fe80::1)", "https://m:443"),
    ],
)
def test_an_instance_has_the_name_of_its_endpoint(instance, endpoint):
    assert endpoint_of(instance) == endpoint


def test_routes_are_compiled(compiled, ledgers):
    churn, rest, pattern = compiled.routes
    assert churn.match == Match(
        path="/predict",
        methods=("POST",),
        headers=(("x-tier", "gold"),),
        query=(("a", "1"),),
        json=(("model", "churn"), ("deep.flag", True), ("n", 7)),
    )
    assert churn.sticky == (
        Sticky("json", "customer.id"),
        Sticky("header", "x-customer-id"),
        Sticky("cookie", "sid"),
        Sticky("query", "user"),
        Sticky("client_ip"),
    )
    assert churn.mirrors == (Mirror("churn-v4", 1250, 500),)
    assert (churn.fallback, churn.retry_attempts, churn.retry_budget, churn.pure) == (
        "churn-v2",
        2,
        0.1,
        True,
    )
    assert (churn.body_limit, churn.inspect_limit) == (10 * 1024**2, 4096)
    assert (churn.absent_beyond, churn.replay_limit) == (True, 2048)
    assert churn.rate == Rate(Sticky("header", "x-key"), 0.5, 3)
    assert churn.ledger == ledgers["churn"]
    assert churn.salt == salt_of("churn")
    assert rest.match == Match(prefix="/v2")
    assert (rest.body_limit, rest.fallback, rest.mirrors, rest.sticky, rest.rate) == (
        None,
        None,
        (),
        (),
        None,
    )
    assert pattern.match == Match(regex="/x/.*")


def test_roles_have_the_order_of_the_ledgers_backends(loaded, compiled, ledgers):
    churn, rest, _ = compiled.routes
    assert dict(zip(churn.ledger.backends, churn.roles, strict=True)) == {
        "churn-v2": "champion",
        "churn-v3": "challenger",
    }
    assert rest.roles == ("member",)
    changed = reweigh(ledgers["churn"], {"churn-v3": 9000, "churn-v4": 1000}, salt_of("churn"))
    roles: dict[str, dict[str, Role]] = {"churn": {"churn-v3": "champion", "churn-v4": "challenger"}}
    churn = compile_snapshot(loaded, {**ledgers, "churn": changed}, roles, (), 2).routes[0]
    assert dict(zip(churn.ledger.backends, churn.roles, strict=True)) == {
        "churn-v2": "member",
        "churn-v3": "champion",
        "churn-v4": "challenger",
    }


def test_a_snapshot_is_unchanged_by_encoding(compiled):
    sent = msgspec.msgpack.encode(compiled)
    received = msgspec.msgpack.decode(sent, type=Snapshot)
    assert received == compiled
    assert [type(value) for _, value in received.routes[0].match.json] == [str, bool, int]
    assert msgspec.msgpack.encode(received) == sent


def test_a_router_of_the_received_snapshot_decides_the_same(compiled):
    received = msgspec.msgpack.decode(msgspec.msgpack.encode(compiled), type=Snapshot)
    own_router, other_router = Router(compiled), Router(received)
    head = request("/predict?a=1", "X-Tier: gold")
    own_route, other_route = own_router.candidates(head)[0], other_router.candidates(head)[0]
    content = {"model": "churn", "deep": {"flag": True}, "n": 7, "customer": {"id": 4711}}
    for found in (own_route, other_route):
        assert found.spec.name == "churn"
        assert found.body_test is not None
        assert found.body_test(content)
        assert not found.body_test({**content, "deep": {"flag": 1}})
    for customer in range(200):
        key = own_route.key(head, {"customer": {"id": customer}}, b"10.0.0.1")
        assert key == b"%d" % customer
        body = {"customer": {"id": customer}}
        one, other = (route.assign(head, body, b"10.0.0.1", float) for route in (own_route, other_route))
        assert (one.assigned.cell, one.key) == (other.assigned.cell, other.key)


def test_a_snapshot_is_immutable(compiled):
    with pytest.raises(AttributeError):
        compiled.generation = 8
    with pytest.raises(AttributeError):
        compiled.routes[0].ledger.slots = b""
