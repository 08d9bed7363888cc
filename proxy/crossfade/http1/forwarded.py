"""Who is at the far end: X-Forwarded-* and Forwarded (RFC 7239), believed from trusted proxies alone.

Rule: the client is the right-most address of the chain that is not a trusted proxy's. Each address
was added by the hop to its right, so what stands left of the client was said by nobody we trust: it
is neither believed nor sent on. A chain ends where it cannot be read; the client is then the last
address before. A peer that is no trusted proxy is the client itself, whatever its fields say.

A proxy that knows one of the two forms lets its client's own fields of the other form through, so
only one is read: X-Forwarded-For where there is one, else Forwarded. What goes on is made from that
one chain, in both forms.
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
_ELEMENT_LIMIT = 1024  # bytes; what is longer cannot be read
_CACHE_SIZE = 4096  # addresses, and what was made of fields: the same clients come by the same proxies
_CACHED_HEAD_LIMIT = 2048  # bytes; the fields of longer heads are not kept
_SCHEMES = frozenset({b"http", b"https"})


class Vouched(NamedTuple):
    """What this proxy says of a request's origin: the client's address, whole field lines up to the
    opening quote of Forwarded's last `host`, and the host that the client asked, where it is another
    than the Host field's."""

    client: bytes
    lines: bytes
    host: bytes | None = None


class _Hop(NamedTuple):
    """One place of a chain; `element` is as Forwarded spelled it, empty if X-Forwarded-For named the address."""

    address: bytes
    element: bytes = b""


class TrustedProxies:
    """Address ranges whose word is taken for who their client is."""

    def __init__(self, ranges: Iterable[str]) -> None:
        self.networks = tuple(map(ip_network, ranges))
        self.holds = lru_cache(maxsize=_CACHE_SIZE)(self.is_within)
        self.remembered = lru_cache(maxsize=_CACHE_SIZE)(self.vouched)

    def is_within(self, address: bytes) -> bool:
        """`address` in canonical spelling; what is no address is not trusted."""
        try:
            ip = ip_address(address.decode("ascii"))
        except ValueError:
            return False
        return any(ip in network for network in self.networks)

    def vouched(self, fields: tuple[tuple[bytes, bytes], ...], peer: bytes, secure: bool) -> Vouched:
        """For a request with these fields that came by the trusted proxy `peer`."""
        said: dict[bytes, list[bytes]] = {}
        for name, value in fields:
            said.setdefault(name.lower(), []).append(value.strip(b" \t"))
        if b"forwarded" in said and b"x-forwarded-for" not in said:
            hops = _hops_from_client(_forwarded_hops(said[b"forwarded"]), self)
            element = _parameters(hops[0].element) if hops else {}
            proto, host = element.get(b"proto", b""), element.get(b"host", b"")
        else:
            hops = _hops_from_client(_x_forwarded_hops(said.get(b"x-forwarded-for", [])), self)
            proto, host = (
                _last_member(said.get(b"x-forwarded-proto")),
                _last_member(said.get(b"x-forwarded-host")),
            )
        scheme = proto.lower() if proto.lower() in _SCHEMES else _scheme_of(secure)
        public = host if HOST.fullmatch(host) else None
        client = hops[0].address if hops else peer
        return Vouched(client, _field_lines(hops, peer, secure, scheme, public), public)


@lru_cache(maxsize=_CACHE_SIZE)
def canonical(address: str) -> bytes:
    """One spelling for each address; IPv4 in an IPv6 socket is IPv4. Raises ValueError."""
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


def vouched_alone(peer: bytes, secure: bool) -> Vouched:
    """For a peer that is the client: nothing of what it says of itself is believed."""
    return Vouched(peer, _field_lines([], peer, secure, _scheme_of(secure)))


def vouched_after(raw: bytes, peer: bytes, secure: bool, trusted: TrustedProxies) -> Vouched:
    """For a request that came by the trusted proxy `peer`; `raw` is its whole head."""
    fields = tuple(_FIELDS.findall(raw))
    read = trusted.remembered if len(raw) <= _CACHED_HEAD_LIMIT else trusted.vouched
    return read(fields, peer, secure)


def _scheme_of(secure: bool) -> bytes:
    return b"https" if secure else b"http"


def _last_member(values: list[bytes] | None) -> bytes:
    """Of a list, what the proxy next to us said itself."""
    return values[-1].rpartition(b",")[2].strip(b" \t") if values else b""


def _hops_from_client(places: Iterable[_Hop], trusted: TrustedProxies) -> list[_Hop]:
    """From the client to the last hop before the peer; `places` come from the right."""
    hops: list[_Hop] = []
    for hop in places:
        hops.append(hop)
        if not trusted.holds(hop.address):
            break
    hops.reverse()
    return hops


def _x_forwarded_hops(values: list[bytes]) -> Iterator[_Hop]:
    """From the right, up to the first that is none."""
    for node in reversed(b",".join(values).split(b",")):
        address = node_address(node.strip(b" \t"))
        if address is None:
            return
        yield _Hop(address)


def _forwarded_hops(values: list[bytes]) -> Iterator[_Hop]:
    """From the right, up to the first that cannot be read: a client that opens a quote and never
    closes it must not swallow what the proxy after it adds."""
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
    """Where the element that ends at `end` begins; -1 if there is none. A comma may be inside of quotes."""
    start = end
    while start >= 0 and end - start <= _ELEMENT_LIMIT:
        start = value.rfind(b",", 0, start)
        if _ELEMENT.fullmatch(value[start + 1 : end].strip(b" \t")):
            return start + 1
        if start < 0:
            return -1
    return -1


def _parameters(element: bytes) -> dict[bytes, bytes]:
    """By lower-cased name; an element that names one twice (RFC 7239 section 4) says nothing."""
    found: dict[bytes, bytes] = {}
    for name, plain, quoted in _PARAMETER.findall(element):
        if name.lower() in found:
            return {}
        found[name.lower()] = plain or re.sub(rb"\\(.)", rb"\1", quoted)
    return found


def _field_lines(
    hops: list[_Hop], peer: bytes, secure: bool, proto: bytes, public: bytes | None = None
) -> bytes:
    """The field lines; Forwarded comes last and waits for the host that our own hop was asked for."""
    chain = b", ".join([*(hop.address for hop in hops), peer])
    elements = [hop.element or b"for=" + _node(hop.address) for hop in hops]
    if hops and not hops[0].element:  # what X-Forwarded-* say of the first hop
        elements[0] += b";proto=" + proto + (b';host="%b"' % public if public else b"")
    own = _scheme_of(secure) if hops else proto
    elements.append(b'for=%b;proto=%b;host="' % (_node(peer), own))
    return b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\nForwarded: %b" % (
        chain, proto, b", ".join(elements),
    )  # fmt: skip


def _node(address: bytes) -> bytes:
    """IPv6 goes into brackets and quotes (RFC 7239 section 6)."""
    return b'"[%b]"' % address if b":" in address else address
