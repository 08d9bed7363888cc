"""Override tokens: valid with this secret, for one route, until they expire."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from crossfade.errors import RequestRefused
from crossfade.routing.override import make_token, read_token
from crossfade.routing.router import Router
from crossfade.routing.snapshot import Backend
from tests.routing.requests import request, route, snapshot

SECRET = "correct horse battery staple"
TOKEN = make_token(SECRET, "churn", "v3", 1000).encode()

names = st.text(st.characters(codec="ascii", categories=("L", "N"), include_characters="-_."), min_size=1)


@given(names, names, st.integers(1, 2**40))
def test_a_signed_token_is_read(route: str, backend: str, expiry: int) -> None:
    token = make_token(SECRET, route, backend, expiry).encode()
    assert read_token(SECRET, token, route, expiry - 0.5) == backend


@given(st.binary(max_size=len(TOKEN)), st.integers(0, len(TOKEN)))
def test_any_other_bytes_are_refused(noise: bytes, at: int) -> None:
    """Any other bytes are refused, and cause no other error."""
    for token in (noise, TOKEN[:at] + noise, TOKEN[:at] + noise + TOKEN[at + len(noise) :]):
        if token != TOKEN:
            with pytest.raises(RequestRefused, match="signature"):
                read_token(SECRET, token, "churn", 0)


@pytest.mark.parametrize(
    ("secret", "route", "now", "message"),
    [
        ("another secret altogether", "churn", 0, "signature"),
        (SECRET, "fraud", 0, "another route"),
        (SECRET, "churn", 1000, "expired"),
    ],
)
def test_a_token_is_valid_for_one_secret_one_route_and_a_time(
    secret: str, route: str, now: float, message: str
) -> None:
    with pytest.raises(RequestRefused, match=message) as refused:
        read_token(secret, TOKEN, route, now)
    assert refused.value.status == 403


def routed(token: str | None, *, now: float | None = 0.0, secret: str = SECRET) -> str:
    """The backend of a request with this token, by a proxy that knows the backends churn-v2 and v3."""
    backends = {name: Backend(name, (), 1.0, 1.0, 1.0, None, 1) for name in ("churn-v2", "v3")}
    router = Router(
        replace(snapshot(route("churn")), backends=backends, override_secret=secret),
        None if now is None else lambda: now,
    )
    head = request("/predict", *([f"X-Crossfade-Override: {token}"] if token else []))
    (found,) = router.candidates(head)
    return found.assign(head, None, b"10.0.0.9", float).assigned.backend


def test_a_token_chooses_the_backend_and_no_token_leaves_it_to_the_split() -> None:
    assert routed(TOKEN.decode()) == "v3"
    assert routed(None) == "churn-v2"


def test_a_token_is_ignored_where_the_proxy_has_no_secret() -> None:
    assert routed(TOKEN.decode(), secret="") == routed(TOKEN.decode(), now=None) == "churn-v2"


def test_a_token_of_an_unknown_backend_or_of_yesterday_is_refused() -> None:
    with pytest.raises(RequestRefused, match="unknown backend"):
        routed(make_token(SECRET, "churn", "v9", 1000))
    with pytest.raises(RequestRefused, match="expired"):
        routed(TOKEN.decode(), now=1000)
