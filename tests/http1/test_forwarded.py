"""Who is at the far end of a chain of proxies (RFC 7239): the right-most address that is not trusted."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crossfade.http1.forwarded import TrustedProxies, canonical, node_address, vouched_after, vouched_alone

TRUSTED = TrustedProxies(["10.0.0.0/8", "fd00::/8"])
EDGE = b"10.0.0.1"
OWN = b'for=10.0.0.1;proto=http;host="'

clients = st.one_of(
    st.ip_addresses(v=4, network="203.0.113.0/24"), st.ip_addresses(v=6, network="2001:db8::/32")
)
proxies = st.one_of(st.ip_addresses(v=4, network="10.0.0.0/8"), st.ip_addresses(v=6, network="fd00::/8"))
claims = st.text(st.characters(codec="latin-1", exclude_characters="\r\n\x00"), max_size=60)


def heard(*fields: str, peer: bytes = EDGE):
    raw = "".join(line + "\r\n" for line in ("GET / HTTP/1.1", "Host: inner", *fields, ""))
    return vouched_after(raw.encode("latin-1"), peer, False, TRUSTED)


def lines(said) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in said.lines.decode("latin-1").split("\r\n"))


@pytest.mark.parametrize(
    ("fields", "client", "chain"),
    [
        ([], "10.0.0.1", "10.0.0.1"),
        (["X-Forwarded-For: 203.0.113.7"], "203.0.113.7", "203.0.113.7, 10.0.0.1"),
        (["x-forwarded-for:203.0.113.7 "], "203.0.113.7", "203.0.113.7, 10.0.0.1"),
        (["X-Forwarded-For: 6.6.6.6, 203.0.113.7, 10.1.1.1"], "203.0.113.7", "203.0.113.7, 10.1.1.1, 10.0.0.1"),
        (["X-Forwarded-For: 6.6.6.6", "X-Forwarded-For: 203.0.113.7"], "203.0.113.7", "203.0.113.7, 10.0.0.1"),
        (["X-Forwarded-For: 10.3.3.3, 10.2.2.2"], "10.3.3.3", "10.3.3.3, 10.2.2.2, 10.0.0.1"),
        (["X-Forwarded-For: 203.0.113.7:4711"], "203.0.113.7", "203.0.113.7, 10.0.0.1"),
        (["X-Forwarded-For: [2001:DB8::1]:4711"], "2001:db8::1", "2001:db8::1, 10.0.0.1"),
        (["X-Forwarded-For: 2001:db8:0::1"], "2001:db8::1", "2001:db8::1, 10.0.0.1"),
        (["X-Forwarded-For: ::ffff:203.0.113.7"], "203.0.113.7", "203.0.113.7, 10.0.0.1"),
        (["X-Forwarded-For: ::ffff:10.9.9.9"], "10.9.9.9", "10.9.9.9, 10.0.0.1"),
        (["X-Forwarded-For: 203.0.113.7, nonsense"], "10.0.0.1", "10.0.0.1"),
        (["X-Forwarded-For: 203.0.113.7, , 10.1.1.1"], "10.1.1.1", "10.1.1.1, 10.0.0.1"),
        (["X-Forwarded-For: 203.0.113.7, 10.1.1.1,"], "10.0.0.1", "10.0.0.1"),
        (["X-Forwarded-For: 1.2.3, 10.1.1.1"], "10.1.1.1", "10.1.1.1, 10.0.0.1"),
        (["X-Forwarded-For: 01.2.3.4"], "10.0.0.1", "10.0.0.1"),
        (["X-Forwarded-For:"], "10.0.0.1", "10.0.0.1"),
        (["Forwarded: for=203.0.113.7"], "203.0.113.7", "203.0.113.7, 10.0.0.1"),
        (['Forwarded: FOR="203.0.113.7:80";proto=https'], "203.0.113.7", "203.0.113.7, 10.0.0.1"),
        (['Forwarded: for="[2001:db8::1]:_p"; by=_x'], "2001:db8::1", "2001:db8::1, 10.0.0.1"),
        (["Forwarded: for=6.6.6.6, for=203.0.113.7;by=10.1.1.1 , for=10.1.1.1"], "203.0.113.7",
         "203.0.113.7, 10.1.1.1, 10.0.0.1"),
        (["Forwarded: for=6.6.6.6", "Forwarded: for=203.0.113.7"], "203.0.113.7", "203.0.113.7, 10.0.0.1"),
        (['Forwarded: for="6.6.6.6, for=203.0.113.7'], "203.0.113.7", "203.0.113.7, 10.0.0.1"),
        (['Forwarded: for=203.0.113.7;host="a, for=6.6.6.6"'], "203.0.113.7", "203.0.113.7, 10.0.0.1"),
        (['Forwarded: for=203.0.113.7;host="a, for=\\"6.6.6.6"'], "203.0.113.7", "203.0.113.7, 10.0.0.1"),
        (["Forwarded: for=unknown"], "10.0.0.1", "10.0.0.1"),
        (["Forwarded: for=203.0.113.7, for=_hidden, for=10.1.1.1"], "10.1.1.1", "10.1.1.1, 10.0.0.1"),
        (["Forwarded: for=203.0.113.7;for=6.6.6.6"], "10.0.0.1", "10.0.0.1"),
        (["Forwarded: by=203.0.113.7"], "10.0.0.1", "10.0.0.1"),
        (["Forwarded: for=203.0.113.7 for=6.6.6.6"], "10.0.0.1", "10.0.0.1"),
        (["Forwarded: for=6.6.6.6", "X-Forwarded-For: 203.0.113.7"], "203.0.113.7", "203.0.113.7, 10.0.0.1"),
        (["Forwarded: for=6.6.6.6", "X-Forwarded-For: nonsense"], "10.0.0.1", "10.0.0.1"),
    ],
)  # fmt: skip
def test_the_client_is_the_right_most_address_not_trusted(fields: list[str], client: str, chain: str):
    said = heard(*fields)
    assert said.client == client.encode()
    assert lines(said)["X-Forwarded-For"] == chain


@pytest.mark.parametrize(
    ("fields", "proto", "host", "forwarded"),
    [
        ([], "http", None, ""),
        (
            ["X-Forwarded-For: 203.0.113.7", "X-Forwarded-Proto: HTTPS", "X-Forwarded-Host: shop.test:443"],
            "https", "shop.test:443", 'for=203.0.113.7;proto=https;host="shop.test:443", ',
        ),
        (["X-Forwarded-For: 203.0.113.7, 10.1.1.1"], "http", None,
         "for=203.0.113.7;proto=http, for=10.1.1.1, "),
        (["X-Forwarded-For: 2001:db8::1"], "http", None, 'for="[2001:db8::1]";proto=http, '),
        (["X-Forwarded-For: 203.0.113.7", "X-Forwarded-Proto: javascript", 'X-Forwarded-Host: a"b'], "http", None,
         "for=203.0.113.7;proto=http, "),
        (["X-Forwarded-For: 203.0.113.7", "X-Forwarded-Proto: http, https"], "https", None,
         "for=203.0.113.7;proto=https, "),
        (['Forwarded: for=203.0.113.7;proto=https;host="shop.test:443";by=_b, for=10.1.1.1;proto=http'],
         "https", "shop.test:443",
         'for=203.0.113.7;proto=https;host="shop.test:443";by=_b, for=10.1.1.1;proto=http, '),
        (["Forwarded: for=203.0.113.7", "X-Forwarded-Proto: https", "X-Forwarded-Host: forged"], "http", None,
         "for=203.0.113.7, "),
        (["X-Forwarded-For: 203.0.113.7", "Forwarded: for=6.6.6.6;proto=https;host=forged"], "http", None,
         "for=203.0.113.7;proto=http, "),
    ],
)  # fmt: skip
def test_scheme_and_host_come_from_the_same_form_as_the_chain(
    fields: list[str], proto: str, host: str | None, forwarded: str
):
    said = heard(*fields)
    assert lines(said)["X-Forwarded-Proto"] == proto
    assert said.host == (None if host is None else host.encode())
    assert lines(said)["Forwarded"] == forwarded + OWN.decode()


def test_a_proxy_that_ends_tls_and_names_nobody_is_believed_about_that():
    said = heard("X-Forwarded-Proto: https")
    assert said.client == EDGE
    assert lines(said)["X-Forwarded-Proto"] == "https"
    assert lines(said)["Forwarded"] == 'for=10.0.0.1;proto=https;host="'


@pytest.mark.parametrize(
    ("peer", "secure", "forwarded"),
    [
        ("203.0.113.7", False, 'for=203.0.113.7;proto=http;host="'),
        ("2001:db8::1", True, 'for="[2001:db8::1]";proto=https;host="'),
        ("unknown", False, 'for=unknown;proto=http;host="'),
    ],
)
def test_who_is_no_proxy_speaks_for_itself(peer: str, secure: bool, forwarded: str):
    said = vouched_alone(peer.encode(), secure)
    assert (said.client, said.host) == (peer.encode(), None)
    assert lines(said) == {
        "X-Forwarded-For": peer,
        "X-Forwarded-Proto": "https" if secure else "http",
        "Forwarded": forwarded,
    }


@pytest.mark.parametrize(
    "node", ["", "unknown", "_a", "1.2.3.4:", "1.2.3.4:123456", "[1.2.3.4", "fe80::1%eth0", "::g"]
)
def test_what_is_no_address(node: str):
    assert node_address(node.encode()) is None


def test_addresses_have_one_spelling():
    assert canonical("::FFFF:10.0.0.1") == b"10.0.0.1"
    assert canonical("2001:DB8:0:0::1") == b"2001:db8::1"
    assert TRUSTED.holds(b"fd00::1")
    assert not TRUSTED.holds(b"unknown")


@given(claims, clients, st.lists(proxies, max_size=4), st.booleans(), st.booleans())
@example('for="', "203.0.113.7", [], True, False)
@example("\\", "203.0.113.7", ["10.1.1.1"], True, True)
def test_no_claim_changes_whom_the_proxies_name(claim, client, chain, in_forwarded, own_line):
    """Whatever a client sends: each trusted proxy adds its peer on the right, and the client is found."""
    hops = [str(address) for address in (client, *chain)]
    if in_forwarded:
        added = ", ".join(f'for="[{hop}]"' if ":" in hop else f"for={hop}" for hop in hops)
        name = "Forwarded: "
    else:
        added = ", ".join(hops)
        name = "X-Forwarded-For: "
    fields = [name + claim, name + added] if own_line else [f"{name}{claim}, {added}"]
    said = heard(*fields)
    assert said.client == canonical(str(client))
    expected = [canonical(hop).decode() for hop in hops]
    assert lines(said)["X-Forwarded-For"] == ", ".join([*expected, "10.0.0.1"])


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["X-Forwarded-For", "Forwarded", "X-Forwarded-Proto", "X-Forwarded-Host"]), claims
        )
    )
)
def test_what_goes_on_is_well_formed_whatever_came(fields):
    said = heard(*(f"{name}: {value}" for name, value in fields))
    assert canonical(said.client.decode()) == said.client
    sent = lines(said)
    assert list(sent) == ["X-Forwarded-For", "X-Forwarded-Proto", "Forwarded"]
    assert [canonical(address) for address in sent["X-Forwarded-For"].split(", ")]
    assert sent["X-Forwarded-Proto"] in ("http", "https")
    assert sent["Forwarded"].endswith(OWN.decode())


@pytest.mark.parametrize("unit", ["for=10.0.0.2, ", ";", " ", ",", '"', "\\", 'for="10.0.0.2,', "a=b;", "; "])
def test_hostile_chains_take_no_more_than_linear_time(unit: str):
    for name in ("Forwarded", "X-Forwarded-For"):
        heard(f"{name}: {unit * (32_000 // len(unit))}")
        heard(f"{name}: {unit * (32_000 // len(unit))}x")
