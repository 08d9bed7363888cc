"""The host names in a certificate, and when it ends (RFC 5280 sections 4.2.1.6 and 4.1.2.5).

Python's ssl reads both from a peer's certificate only. Rule: what is not a certificate has no names and no end; nothing
here raises.
"""

from __future__ import annotations

import ssl
from calendar import timegm
from collections.abc import Iterator
from contextlib import suppress

_OID, _OCTETS, _SEQUENCE, _EXTENSIONS, _DNS_NAME = 0x06, 0x04, 0x30, 0xA3, 0x82
_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18
_SUBJECT_ALT_NAME = bytes((0x55, 0x1D, 0x11))
_BEGIN, _END = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"
# A generator turns StopIteration into RuntimeError.
_BROKEN = (ValueError, IndexError, StopIteration, RuntimeError)


def names_of(pem: bytes) -> tuple[str, ...]:
    """The DNS names of the first certificate, in lower case; one may begin with `*.`."""
    try:
        return tuple(_dns_names(next(_certificates(pem))))
    except _BROKEN:
        return ()


def ends_in(pem: bytes) -> list[float]:
    """When each certificate of a file ends, in seconds since 1970; up to the first that is none."""
    ends: list[float] = []
    with suppress(*_BROKEN):
        ends.extend(map(_not_after, _certificates(pem)))
    return ends


def end_of(der: bytes) -> float | None:
    """When a certificate in DER form ends, in seconds since 1970."""
    try:
        return _not_after(der)
    except _BROKEN:
        return None


def _certificates(pem: bytes) -> Iterator[bytes]:
    """In DER form."""
    at = 0
    while (begin := pem.find(_BEGIN, at)) >= 0:
        end = pem.find(_END, begin)
        if end < 0:
            raise ValueError("a certificate has no end")
        at = end + len(_END)
        yield ssl.PEM_cert_to_DER_cert(pem[begin:at].decode("ascii"))


def _signed(der: bytes) -> Iterator[tuple[int, bytes]]:
    """The elements of the part that the issuer has signed."""
    ((_, certificate),) = _elements(der)
    _, signed = next(_elements(certificate))
    return _elements(signed)


def _not_after(der: bytes) -> float:
    """The second time of the validity: of the sequences of a certificate, it alone begins with a time."""
    for tag, content in _signed(der):
        if tag == _SEQUENCE and content[:1] and content[0] in (_UTC_TIME, _GENERALIZED_TIME):
            _, (kind, time) = _elements(content)
            return _seconds(kind, time.decode("ascii"))
    raise ValueError("a certificate has no validity")


def _seconds(kind: int, time: str) -> float:
    """Years of two digits are those from 1950 to 2049."""
    if kind == _UTC_TIME:
        time = ("19" if time[:2] >= "50" else "20") + time
    if len(time) != 15 or not time[:14].isdecimal() or time[14] != "Z":
        raise ValueError("not a time")
    year, rest = int(time[:4]), time[4:14]
    month, day, hour, minute, second = (int(rest[n : n + 2]) for n in range(0, 10, 2))
    return float(timegm((year, month, day, hour, minute, second)))


def _dns_names(der: bytes) -> Iterator[str]:
    for tag, content in _signed(der):
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
