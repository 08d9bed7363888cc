"""The client behind a chain of proxies (RFC 7239): the right-most address that is not trusted."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crossfade.http1.forwarded import (
    TrustedProxies,
    canonical,
    forwarding_of_client,
    forwarding_of_proxy,
    node_address,
)

TRUSTED = TrustedProxies(["10.0.0.0/8", "fd00::/8"])
PEER = b"10.0.0.1"
OWN_ELEMENT = b'for=10.0.0.1;proto=http;host="'

clients = st.one_of(
    st.ip_addresses(v=4, network="203.0.113.0/24"), st.ip_addresses(v=6, network="2001:db8::/32")
)
proxies = st.one_of(st.ip_addresses(v=4, network="10.0.0.0/8"), st.ip_addresses(v=6, network="fd00::/8"))
client_values = st.text(st.characters(codec="latin-1", exclude_characters="\r\n\x00"), max_size=60)


def forwarding(*fields: str, peer: bytes = PEER):
    raw = "".join(line + "\r\n" for line in ("GET / HTTP/1.1", "Host: inner", *fields, ""))
    return forwarding_of_proxy(raw.encode("latin-1"), peer, False, TRUSTED)


def lines(found) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in found.lines.decode("latin-1").split("\r\n"))


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
def test_the_client_is_the_right_most_address_that_is_not_trusted(fields: list[str], client: str, chain: str):
    found = forwarding(*fields)
    assert found.client == client.encode()
    assert lines(found)["X-Forwarded-For"] == chain


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
    found = forwarding(*fields)
    assert lines(found)["X-Forwarded-Proto"] == proto
    assert found.host == (None if host is None else host.encode())
    assert lines(found)["Forwarded"] == forwarded + OWN_ELEMENT.decode()


def test_the_scheme_of_a_trusted_proxy_is_read_without_an_address():
    found = forwarding("X-Forwarded-Proto: https")
    assert found.client == PEER
    assert lines(found)["X-Forwarded-Proto"] == "https"
    assert lines(found)["Forwarded"] == 'for=10.0.0.1;proto=https;host="'


@pytest.mark.parametrize(
    ("peer", "secure", "forwarded"),
    [
        ("203.0.113.7", False, 'for=203.0.113.7;proto=http;host="'),
        ("2001:db8::1", True, 'for="[2001:db8::1]";proto=https;host="'),
        ("unknown", False, 'for=unknown;proto=http;host="'),
    ],
)
def test_a_peer_that_is_not_trusted_is_the_client(peer: str, secure: bool, forwarded: str):
    found = forwarding_of_client(peer.encode(), secure)
    assert (found.client, found.host) == (peer.encode(), None)
    assert lines(found) == {
        "X-Forwarded-For": peer,
        "X-Forwarded-Proto": "https" if secure else "http",
        "Forwarded": forwarded,
    }


@pytest.mark.parametrize(
    "node", ["", "unknown", "_a", "1.2.3.4:", "1.2.3.4:123456", "[1.2.3.4", "fe80::1%eth0", "::g"]
)
def test_a_node_that_is_not_an_address(node: str):
    assert node_address(node.encode()) is None


def test_addresses_have_one_canonical_spelling():
    assert canonical("::FFFF:10.0.0.1") == b"10.0.0.1"
    assert canonical("2001:DB8:0:0::1") == b"2001:db8::1"
    assert TRUSTED.is_trusted(b"fd00::1")
    assert not TRUSTED.is_trusted(b"unknown")


@given(client_values, clients, st.lists(proxies, max_size=4), st.booleans(), st.booleans())
@example('for="', "203.0.113.7", [], True, False)
@example("\\", "203.0.113.7", ["10.1.1.1"], True, True)
def test_no_value_of_the_client_changes_the_address_that_proxies_add(
    client_value, client, chain, in_forwarded, own_line
):
    """Each trusted proxy adds its peer on the right; the client is found whatever it sent itself."""
    hops = [str(address) for address in (client, *chain)]
    if in_forwarded:
        added = ", ".join(f'for="[{hop}]"' if ":" in hop else f"for={hop}" for hop in hops)
        name = "Forwarded: "
    else:
        added = ", ".join(hops)
        name = "X-Forwarded-For: "
    fields = [name + client_value, name + added] if own_line else [f"{name}{client_value}, {added}"]
    found = forwarding(*fields)
    assert found.client == canonical(str(client))
    expected = [canonical(hop).decode() for hop in hops]
    assert lines(found)["X-Forwarded-For"] == ", ".join([*expected, "10.0.0.1"])


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["X-Forwarded-For", "Forwarded", "X-Forwarded-Proto", "X-Forwarded-Host"]),
            client_values,
        )
    )
)
def test_forwarded_fields_are_well_formed_for_any_input(fields):
    found = forwarding(*(f"{name}: {value}" for name, value in fields))
    assert canonical(found.client.decode()) == found.client
    sent = lines(found)
    assert list(sent) == ["X-Forwarded-For", "X-Forwarded-Proto", "Forwarded"]
    assert [canonical(address) for address in sent["X-Forwarded-For"].split(", ")]
    assert sent["X-Forwarded-Proto"] in ("http", "https")
    assert sent["Forwarded"].endswith(OWN_ELEMENT.decode())


@pytest.mark.parametrize("unit", ["for=10.0.0.2, ", ";", " ", ",", '"', "\\", 'for="10.0.0.2,', "a=b;", "; "])
def test_hostile_chains_take_linear_time(unit: str):
    for name in ("Forwarded", "X-Forwarded-For"):
        forwarding(f"{name}: {unit * (32_000 // len(unit))}")
        forwarding(f"{name}: {unit * (32_000 // len(unit))}x")
