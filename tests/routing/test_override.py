"""Override tokens: only what was signed here, for this route, and for now."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.errors import RequestRefused
from crossfade.routing.override import make_token, read_token

SECRET = "correct horse battery staple"
TOKEN = make_token(SECRET, "churn", "v3", 1000).encode()

names = st.text(st.characters(codec="ascii", categories=("L", "N"), include_characters="-_."), min_size=1)


@given(names, names, st.integers(1, 2**40))
def test_what_was_signed_is_read(route: str, backend: str, expiry: int) -> None:
    token = make_token(SECRET, route, backend, expiry).encode()
    assert read_token(SECRET, token, route, expiry - 0.5) == backend


@given(st.binary(max_size=len(TOKEN)), st.integers(0, len(TOKEN)))
def test_nothing_else_is(noise: bytes, at: int) -> None:
    """Any other bytes are refused, and never anything worse."""
    for token in (noise, TOKEN[:at] + noise, TOKEN[:at] + noise + TOKEN[at + len(noise) :]):
        if token != TOKEN:
            with pytest.raises(RequestRefused, match="not one of this proxy's"):
                read_token(SECRET, token, "churn", 0)


@pytest.mark.parametrize(
    ("secret", "route", "now", "said"),
    [
        ("another secret altogether", "churn", 0, "not one of this proxy's"),
        (SECRET, "fraud", 0, "another route"),
        (SECRET, "churn", 1000, "expired"),
    ],
)
def test_it_is_good_for_one_proxy_one_route_and_a_while(
    secret: str, route: str, now: float, said: str
) -> None:
    with pytest.raises(RequestRefused, match=said) as refused:
        read_token(secret, TOKEN, route, now)
    assert refused.value.status == 403
