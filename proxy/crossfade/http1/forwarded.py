"""The client's address: X-Forwarded-* and Forwarded (RFC 7239), read only from trusted proxies.

Rule: the client is the right-most address of the chain that is not a trusted proxy's. Each hop adds
the address to its left, so no trusted proxy added the addresses left of the client: they are ignored
and not forwarded. Reading stops at the first address that is not valid; the client is then the address
to its right. A peer that is not a trusted proxy is the client itself, whatever its fields say.

A proxy that knows only one of the two forms passes its client's fields of the other form unchanged.
So only one form is read: X-Forwarded-For if it is there, else Forwarded. Both forms are sent to the
backend, made from the chain that was read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from typing import NamedTuple

from crossfade.http1.headers import HOST, TOKEN

_FIELDS = re.compile(rb"\r\n((?i:forwarded|x-forwarded-(?:for|proto|host))):([^\r\n]*)")
_QUOTED = rb"\"(?:[^\"\\]|\\.)*+\""
_PAIR = rb"(?:" + TOKEN + rb"++=(?:" + TOKEN + rb"++|" + _QUOTED + rb"))"
_ELEMENT = re.compile(_PAIR + rb"?+(?:[ \t]*+;[ \t]*+" + _PAIR + rb"?+)*+")  # RFC 7239 section 4
_PARAMETER = re.compile(rb"(" + TOKEN + rb"++)=(?:(" + TOKEN + rb"++)|\"((?:[^\"\\]|\\.)*+)\")")
_NODE = re.compile(rb"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::(?:[0-9]{1,5}|_[\w.-]+))?|([0-9A-Fa-f:.]+)")
_ELEMENT_LIMIT = 1024  # bytes; a longer element ends the chain
_CACHE_SIZE = 4096  # entries of each cache below
_CACHED_HEAD_LIMIT = 2048  # bytes; the fields of longer heads are not cached
HTTPS = b"X-Forwarded-Proto: https\r\n"  # in `Forwarding.lines` of a client that came over TLS
_SCHEMES = frozenset({b"http", b"https"})


class Forwarding(NamedTuple):
    """What this proxy forwards about a request's origin.

    `client` is the client's address. `lines` are whole field lines up to the opening quote of
    Forwarded's last `host`. `host` is the host that the client asked for, if a trusted proxy names one.
    """

    client: bytes
    lines: bytes
    host: bytes | None = None


class _Hop(NamedTuple):
    """One address of the chain; `element` is its Forwarded element, empty if X-Forwarded-For was read."""

    address: bytes
    element: bytes = b""


class TrustedProxies:
    """Address ranges whose X-Forwarded-* and Forwarded fields are read."""

    def __init__(self, ranges: Iterable[str]) -> None:
        self.networks = tuple(map(ip_network, ranges))
        self.is_trusted = lru_cache(maxsize=_CACHE_SIZE)(self.is_within)
        self.cached_forwarding = lru_cache(maxsize=_CACHE_SIZE)(self.forwarding)

    def is_within(self, address: bytes) -> bool:
        """`address` is in canonical spelling; a text that is not an address is not trusted."""
        try:
            ip = ip_address(address.decode("ascii"))
        except ValueError:
            return False
        return any(ip in network for network in self.networks)

    def forwarding(self, fields: tuple[tuple[bytes, bytes], ...], peer: bytes, secure: bool) -> Forwarding:
        """For a request with these fields that the trusted proxy `peer` sent."""
        values_of: dict[bytes, list[bytes]] = {}
        for name, value in fields:
            values_of.setdefault(name.lower(), []).append(value.strip(b" \t"))
        if b"forwarded" in values_of and b"x-forwarded-for" not in values_of:
            hops = _hops_from_client(_forwarded_hops(values_of[b"forwarded"]), self)
            element = _parameters(hops[0].element) if hops else {}
            proto, host = element.get(b"proto", b""), element.get(b"host", b"")
        else:
            hops = _hops_from_client(_x_forwarded_hops(values_of.get(b"x-forwarded-for", [])), self)
            proto, host = (
                _last_member(values_of.get(b"x-forwarded-proto")),
                _last_member(values_of.get(b"x-forwarded-host")),
            )
        scheme = proto.lower() if proto.lower() in _SCHEMES else _scheme_of(secure)
        public = host if HOST.fullmatch(host) else None
        client = hops[0].address if hops else peer
        return Forwarding(client, _field_lines(hops, peer, secure, scheme, public), public)


@lru_cache(maxsize=_CACHE_SIZE)
def canonical(address: str) -> bytes:
    """The canonical spelling; an IPv4-mapped IPv6 address becomes IPv4. Raises ValueError."""
    ip = ip_address(address)
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return str(ip).encode("ascii")


def node_address(node: bytes) -> bytes | None:
    """The address of a node, with or without port and brackets; None for `unknown`, `_hidden` and the like."""
    found = _NODE.fullmatch(node)
    if found is None:
        return None
    try:
        return canonical((found[1] or found[2] or found[3]).decode("ascii"))
    except ValueError:
        return None


@lru_cache(maxsize=_CACHE_SIZE)
def forwarding_of_client(peer: bytes, secure: bool) -> Forwarding:
    """For a peer that is the client: its own fields are ignored."""
    return Forwarding(peer, _field_lines([], peer, secure, _scheme_of(secure)))


def forwarding_of_proxy(raw: bytes, peer: bytes, secure: bool, trusted: TrustedProxies) -> Forwarding:
    """For a request that the trusted proxy `peer` sent; `raw` is the whole head."""
    fields = tuple(_FIELDS.findall(raw))
    read = trusted.cached_forwarding if len(raw) <= _CACHED_HEAD_LIMIT else trusted.forwarding
    return read(fields, peer, secure)


def _scheme_of(secure: bool) -> bytes:
    return b"https" if secure else b"http"


def _last_member(values: list[bytes] | None) -> bytes:
    """The last member of the list: the one that the nearest proxy added."""
    return values[-1].rpartition(b",")[2].strip(b" \t") if values else b""


def _hops_from_client(places: Iterable[_Hop], trusted: TrustedProxies) -> list[_Hop]:
    """The hops from the client to the last one before the peer; `places` come right to left."""
    hops: list[_Hop] = []
    for hop in places:
        hops.append(hop)
        if not trusted.is_trusted(hop.address):
            break
    hops.reverse()
    return hops


def _x_forwarded_hops(values: list[bytes]) -> Iterator[_Hop]:
    """The addresses right to left, up to the first that is not valid."""
    for node in reversed(b",".join(values).split(b",")):
        address = node_address(node.strip(b" \t"))
        if address is None:
            return
        yield _Hop(address)


def _forwarded_hops(values: list[bytes]) -> Iterator[_Hop]:
    """The elements right to left, up to the first that is not valid.

    Read from the left, a quote that the client never closes would hide the elements that later proxies add.
    """
    for value in reversed(values):
        end = len(value)
        while end > 0:
            start = _element_start(value, end)
            if start < 0:
                return
            element = value[start:end].strip(b" \t")
            address = node_address(_parameters(element).get(b"for", b""))
            if address is None:
                return
            yield _Hop(address, element)
            end = start - 1


def _element_start(value: bytes, end: int) -> int:
    """The start of the element that ends at `end`, or -1. A quoted string may hold a comma."""
    start = end
    while start >= 0 and end - start <= _ELEMENT_LIMIT:
        start = value.rfind(b",", 0, start)
        if _ELEMENT.fullmatch(value[start + 1 : end].strip(b" \t")):
            return start + 1
        if start < 0:
            return -1
    return -1


def _parameters(element: bytes) -> dict[bytes, bytes]:
    """By lower-cased name; none if a name is there twice, which RFC 7239 section 4 forbids."""
    found: dict[bytes, bytes] = {}
    for name, plain, quoted in _PARAMETER.findall(element):
        if name.lower() in found:
            return {}
        found[name.lower()] = plain or re.sub(rb"\\(.)", rb"\1", quoted)
    return found


def _field_lines(
    hops: list[_Hop], peer: bytes, secure: bool, proto: bytes, public: bytes | None = None
) -> bytes:
    """The field lines; Forwarded comes last, and the caller appends the Host of this hop to it."""
    chain = b", ".join([*(hop.address for hop in hops), peer])
    elements = [hop.element or b"for=" + _node(hop.address) for hop in hops]
    if hops and not hops[0].element:  # from X-Forwarded-Proto and -Host, which describe the first hop
        elements[0] += b";proto=" + proto + (b';host="%b"' % public if public else b"")
    own = _scheme_of(secure) if hops else proto
    elements.append(b'for=%b;proto=%b;host="' % (_node(peer), own))
    return b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\nForwarded: %b" % (
        chain, proto, b", ".join(elements),
    )  # fmt: skip


def _node(address: bytes) -> bytes:
    """As a Forwarded parameter: IPv6 is in brackets and quotes (RFC 7239 section 6)."""
    return b'"[%b]"' % address if b":" in address else address
