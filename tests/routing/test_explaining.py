"""Explanations: the same answer as the router gives, each source of the key, and the weight at which a key moves."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from crossfade.routing.explaining import Steps, explain, moves_of
from crossfade.routing.explanation import AskedRequest, Explanation
from crossfade.routing.ledger import BUCKETS, new_ledger, reweigh, salt_of
from crossfade.routing.override import make_token
from crossfade.routing.router import Router
from crossfade.routing.snapshot import (
    Backend,
    Endpoint,
    Match,
    Mirror,
    OwnAnswer,
    Rewrite,
    Route,
    Snapshot,
    Sticky,
)
from tests.routing.requests import route, snapshot

NOW = 1_700_000_000.0
SECRET = "s" * 32
TWO = new_ledger({"v2": 8000, "v3": 2000}, salt_of("churn"))
JSON = (Sticky("header", "x-customer"), Sticky("json", "customer.id"))


def backend(name: str, *endpoints: Endpoint) -> Backend:
    return Backend(name, endpoints or (Endpoint("h", 1, f"{name}:1"),), 1.0, 1.0, 1.0, None, 10)


def served(*routes: Route, **fields: Any) -> Snapshot:
    backends = {name: backend(name) for name in ("v2", "v3", "v4")}
    return replace(snapshot(*routes), **{"backends": backends, **fields})


def churn(**fields: Any) -> Route:
    return replace(route("churn", Match(path="/predict"), JSON, TWO), **fields)


def explained(held: Snapshot, target: str = "/predict", **fields: Any) -> Explanation:
    router = Router(held, lambda: NOW, bytes)
    return explain(router, AskedRequest(target, **{"method": "POST", **fields}), {}, NOW)


def test_the_first_source_that_is_there_gives_the_key() -> None:
    found = explained(served(churn()), body='{"customer": {"id": 42.0}}')
    assert [(key.source, key.found) for key in found.keys] == [
        ("header:x-customer", None),
        ("json:customer.id", "42"),
    ]
    assert (found.how, found.key, found.ledger_version) == ("key", "42", TWO.version)
    by_header = explained(served(churn()), headers={"X-Customer": "7"}, body='{"customer": {"id": 42}}')
    assert (by_header.key, [key.found for key in by_header.keys]) == ("7", ["7", "42"])


@given(key=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1))
def test_the_backend_is_the_one_that_the_ledger_gives_to_the_bucket(key: str) -> None:
    found = explained(served(churn()), headers={"X-Customer": key})
    assert found.bucket is not None and found.hash is not None
    assert int(found.hash, 16) % BUCKETS == found.bucket
    assert found.backend == TWO.backends[TWO.slots[found.bucket]]
    assert found.chances == {found.backend: 1.0}


@given(
    shares=st.lists(st.integers(0, 50), min_size=3, max_size=3).filter(any),
    bucket=st.integers(0, BUCKETS - 1),
)
def test_a_key_moves_at_the_least_weight_that_is_said(shares: list[int], bucket: int) -> None:
    salt, names = salt_of("r"), ("a", "b", "c")
    weights = {name: BUCKETS * share // sum(shares) for name, share in zip(names, shares, strict=True)}
    weights["a"] += BUCKETS - sum(weights.values())
    ledger = new_ledger(weights, salt)
    holder = ledger.backends[ledger.slots[bucket]]
    for move in moves_of(ledger, bucket, salt, [Steps(holder, "new", (1, BUCKETS))]):
        after = {name: round(share * BUCKETS) for name, share in move.weights.items()}
        at = reweigh(ledger, after, salt)
        assert at.backends[at.slots[bucket]] == move.to
        less = {**after, holder: after.get(holder, 0) + 1, move.to: after[move.to] - 1}
        before = reweigh(ledger, less, salt)
        assert before.backends[before.slots[bucket]] == holder
        if move.to == "new":
            assert move.step == (0 if after["new"] <= 1 else 1)


def test_a_step_is_said_where_one_has_the_weight() -> None:
    whole = new_ledger({"v2": BUCKETS}, salt_of("churn"))
    (late,) = moves_of(whole, 5, salt_of("churn"), [Steps("v2", "v3", (1,))])
    assert (late.to, late.step) == ("v3", None)
    (soon,) = moves_of(whole, 5, salt_of("churn"), [Steps("v2", "v3", (1, BUCKETS // 2, BUCKETS))])
    assert soon.step in (1, 2)


def test_without_a_key_the_chances_are_the_split() -> None:
    found = explained(served(churn()))
    assert (found.how, found.backend, found.key, found.moves) == ("draw", None, None, [])
    assert found.chances == {"v2": 0.8, "v3": 0.2}
    assert len(found.endpoints) == 2
    alone = explained(
        served(churn(sticky=(), ledger=new_ledger({"v2": BUCKETS}, b"s" * 16), roles=("member",)))
    )
    assert (alone.backend, alone.because[-1]) == ("v2", "v2 has the whole route.")


@pytest.mark.parametrize(
    ("match", "why"),
    [
        (Match(path="/other"), "the path must be /other"),
        (Match(prefix="/v1"), "the path must begin with /v1"),
        (Match(methods=("GET", "PUT")), "the method must be GET or PUT"),
        (Match(headers=(("x-a", "b"),)), 'header x-a must be "b"'),
        (Match(headers=(("x-a", "*"),)), "header x-a must be there"),
        (Match(query=(("q", "1"),)), 'query parameter q must be "1"'),
        (Match(json=(("model", "m"),)), 'JSON field model of the body must be "m"'),
        (Match(json=(("on", True),)), "JSON field on of the body must be true"),
    ],
)
def test_each_route_before_says_why_not(match: Match, why: str) -> None:
    found = explained(served(route("first", match), churn()))
    assert [(test.route, test.why) for test in found.tested] == [("first", why), ("churn", "")]


def test_no_route_is_a_refusal_with_all_reasons() -> None:
    found = explained(served(churn()), "/nowhere")
    assert found.refused is not None
    assert (found.refused.status, found.route) == (404, None)
    assert [test.why for test in found.tested] == ["the path must be /predict"]


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"method": "TRACE"}, 501),
        ({"method": "a b"}, 400),
        ({"headers": {"Host": ["a", "b"]}}, 400),
        ({"headers": {"X-Long": "x" * 40_000}}, 431),
        ({"headers": {"X-Crossfade-Override": "forged"}}, 403),
        ({"body": "x" * 101}, 413),
    ],
)
def test_what_the_proxy_refuses_is_said(fields: dict[str, Any], status: int) -> None:
    found = explained(served(churn(body_limit=100), override_secret=SECRET), **fields)
    assert found.refused is not None
    assert found.refused.status == status
    assert found.because[-1].startswith(f"The proxy answers {status}: ")


@pytest.mark.parametrize("fields", [{"headers": {"X": "a\r\nY: b"}}, {"client": "nobody"}, {"target": "/\n"}])
def test_what_no_client_can_send_is_an_error(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        explained(served(churn()), **{"target": "/predict", **fields})


def test_an_override_token_selects_its_backend() -> None:
    token = make_token(SECRET, "churn", "v4", int(NOW) + 60)
    held = served(churn(), override_secret=SECRET)
    found = explained(held, headers={"X-Crossfade-Override": token, "X-Customer": "7"})
    assert (found.how, found.backend, found.role, found.key) == ("override", "v4", "tester", None)


def test_a_backend_without_an_endpoint_that_is_up_is_said() -> None:
    down = backend("v2", Endpoint("h", 1, "h:1", up=False), Endpoint("h", 2, "h:2", weight=0))
    held = served(churn(ledger=new_ledger({"v2": BUCKETS}, b"s" * 16), roles=("champion",), fallback="v3"))
    held = replace(held, backends={**held.backends, "v2": down})
    found = explained(held, headers={"X-Customer": "7"})
    assert [(choice.url, choice.state) for choice in found.endpoints] == [("h:1", "down"), ("h:2", "drained")]
    assert found.because[-1] == "No endpoint of v2 is up now: v3 answers, as the fallback."
    assert (found.role, found.fallback) == ("champion", "v3")


def test_mirrors_are_said() -> None:
    found = explained(served(churn(mirrors=(Mirror("v4", 2500),))))
    assert [(copy.to, copy.share, copy.target) for copy in found.mirrors] == [("v4", 0.25, "/predict")]


def test_what_the_model_is_asked_is_said() -> None:
    held = served(
        churn(match=Match(prefix="/models"), mirrors=(Mirror("v4", 1, request=Rewrite(replace="/copy")),))
    )
    v2 = replace(
        backend("v2", Endpoint("h", 1, "h:1", base="/base"), Endpoint("h", 2, "h:2")),
        request=Rewrite(prefix="/v2"),
    )
    found = explained(replace(held, backends={**held.backends, "v2": v2}), target="/models/a?b=c")
    assert [choice.target for choice in found.endpoints] == ["/base/v2/a?b=c", "/v2/a?b=c", "/models/a?b=c"]
    assert [copy.target for copy in found.mirrors] == ["/copy?b=c"]


UP, DOWN, DRAINED = (
    Endpoint("h", 1, "h:1"),
    Endpoint("h", 1, "h:1", up=False),
    Endpoint("h", 1, "h:1", weight=0),
)


@pytest.mark.parametrize(
    ("of_v2", "of_v3", "said"),
    [
        (UP, DOWN, "has the whole route"),
        (DOWN, None, "No endpoint of v2 is up now: they get requests as if they were, which is a panic."),
        (DOWN, UP, "No endpoint of v2 is up now: v3 answers, as the fallback."),
        (DOWN, DOWN, "No endpoint of v2 is up now: they get requests as if they were, which is a panic."),
        (DOWN, DRAINED, "No endpoint of v2 is up now: they get requests as if they were, which is a panic."),
        (DRAINED, UP, "No endpoint of v2 is up now: v3 answers, as the fallback."),
        (DRAINED, DOWN, "No endpoint of v2 is up now: v3 answers, as the fallback."),
        (DRAINED, DRAINED, "All endpoints of v2 are drained: the client gets a 503."),
        (DRAINED, None, "All endpoints of v2 are drained: the client gets a 503."),
    ],
)
def test_who_answers_while_no_endpoint_is_up_is_said(
    of_v2: Endpoint, of_v3: Endpoint | None, said: str
) -> None:
    whole = new_ledger({"v2": BUCKETS}, b"s" * 16)
    held = served(churn(ledger=whole, roles=("champion",), fallback=None if of_v3 is None else "v3"))
    backends = {**held.backends, "v2": backend("v2", of_v2), "v3": backend("v3", of_v3 or UP)}
    assert said in explained(replace(held, backends=backends)).because[-1]


def test_a_route_that_answers_itself_says_its_status() -> None:
    own = replace(route("old", Match(path="/predict")), own_answer=OwnAnswer(301, path="/new"))
    found = explained(served(own), target="/predict?a=b")
    assert (found.how, found.backend) == ("own_answer", None)
    assert found.because[-1] == "The route redirects to /new?a=b, with status 301."
    page = replace(own, own_answer=OwnAnswer(503, b"later"))
    assert explained(served(page)).because[-1] == "The route answers itself, with status 503."


def test_the_client_behind_a_trusted_proxy_is_the_one_that_it_names() -> None:
    held = served(churn(sticky=(Sticky("client_ip"),)), trusted_proxies=("10.0.0.0/8",))
    named = {"X-Forwarded-For": "192.0.2.7"}
    assert explained(held, headers=named, client="10.1.1.1").key == "192.0.2.7"
    assert explained(held, headers=named, client="198.51.100.1").key == "198.51.100.1"


def test_a_key_behind_the_part_of_the_body_that_is_read_is_refused_or_absent() -> None:
    body = '{"filler": "' + "x" * 200 + '", "customer": {"id": 42}}'
    found = explained(served(churn(inspect_limit=100)), body=body)
    assert found.refused is not None and "first 100 bytes" in found.refused.detail
    assert explained(served(churn(inspect_limit=100, absent_beyond=True)), body=body).how == "draw"
    assert explained(served(churn(inspect_limit=1000)), body=body).key == "42"
    long = '{"filler": "' + "x" * 70_000 + '", "customer": {"id": 42}}'
    assert explained(served(churn(inspect_limit=100_000)), body=long).key == "42"
    twice = long[:-1] + ', "customer": {"id": 43}}'
    repeated = explained(served(churn(inspect_limit=100_000)), body=twice)
    assert repeated.refused is not None and "twice" in repeated.refused.detail


def test_a_redirect_that_leads_nowhere_else_says_so() -> None:
    to_https = replace(route("https"), own_answer=OwnAnswer(308, scheme="https"))
    held = served(to_https, churn())
    assert explained(held).route == "https"
    over_tls = explained(held, tls=True)
    assert (over_tls.tested[0].why, over_tls.route) == (
        "the request is where it would be redirected to",
        "churn",
    )
    behind = replace(held, trusted_proxies=("10.0.0.0/8",))
    headers = {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https"}
    assert explained(behind, client="10.0.0.1", headers=headers).route == "churn"
