"""The host names in a certificate (RFC 5280 section 4.2.1.6). Python's ssl reads them from a peer's certificate only.

Rule: what is not a certificate has no names; nothing here raises.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator

_OID, _OCTETS, _EXTENSIONS, _DNS_NAME = 0x06, 0x04, 0xA3, 0x82
_SUBJECT_ALT_NAME = bytes((0x55, 0x1D, 0x11))
_BEGIN, _END = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"


def names_of(pem: bytes) -> tuple[str, ...]:
    """The DNS names of the first certificate, in lower case; one may begin with `*.`."""
    begin, end = pem.find(_BEGIN), pem.find(_END)
    if not 0 <= begin < end:
        return ()
    try:
        der = ssl.PEM_cert_to_DER_cert(pem[begin : end + len(_END)].decode("ascii"))
        return tuple(_dns_names(der))
    except (
        ValueError,
        IndexError,
        StopIteration,
        RuntimeError,
    ):  # a generator turns StopIteration into RuntimeError
        return ()


def _dns_names(der: bytes) -> Iterator[str]:
    ((_, certificate),) = _elements(der)
    _, signed = next(_elements(certificate))
    for tag, content in _elements(signed):
        if tag == _EXTENSIONS:
            for _, extension in _elements(next(_elements(content))[1]):
                parts = list(_elements(extension))
                if parts[0] == (_OID, _SUBJECT_ALT_NAME) and parts[-1][0] == _OCTETS:
                    for kind, name in _elements(next(_elements(parts[-1][1]))[1]):
                        if kind == _DNS_NAME:
                            yield name.decode("ascii").lower()


def _elements(der: bytes) -> Iterator[tuple[int, bytes]]:
    """(tag, content) of each element. Raises ValueError or IndexError where the encoding is broken."""
    at = 0
    while at < len(der):
        tag, size, at = der[at], der[at + 1], at + 2
        if size & 0x80:
            octets = size & 0x7F
            size, at = int.from_bytes(der[at : at + octets], "big"), at + octets
        if at + size > len(der):
            raise ValueError("an element is longer than what holds it")
        yield tag, der[at : at + size]
        at += size
