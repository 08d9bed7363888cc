"""Connects to an endpoint: name look-up, connection, TLS. Both planes use it.

Rule: the endpoint's certificate is verified unless `tls.verify` is false. The addresses of one family are
used, IPv4 if the name has any; those of the other family are tried if none of them accepts a connection.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from hashlib import blake2b
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from crossfade.certificate import names_of
from crossfade.files import PEM_LIMIT, held_open, read_regular
from crossfade.routing.compiling import compile_tls
from crossfade.routing.snapshot import Endpoint, Tls
from crossfade.unread import WholeInput

if TYPE_CHECKING:  # the workers must not import the config models and pydantic with them
    from crossfade.config.model import BackendTlsConfig

P = TypeVar("P")
_INVALID_NAME = "the host name is not valid in DNS"


class Addresses(NamedTuple):
    """The addresses of a name. `spare` are those of the other family, for when `usual` cannot be reached."""

    usual: tuple[str, ...]
    spare: tuple[str, ...] = ()


def is_name(host: str) -> bool:
    """Whether the host must be looked up."""
    try:
        ip_address(host)
    except ValueError:
        return bool(host)
    return False


async def look_up(host: str) -> Addresses:
    """Raises OSError."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # such as a label of more than 63 characters
        raise OSError(_INVALID_NAME) from error
    v4 = sorted({str(at[0]) for family, _, _, _, at in found if family == socket.AF_INET})
    v6 = sorted({str(at[0]) for family, _, _, _, at in found if family == socket.AF_INET6})
    if not v4 and not v6:
        raise OSError("the host name has no address")
    return Addresses(tuple(v4), tuple(v6)) if v4 else Addresses(tuple(v6))


async def connect(
    make: Callable[[], P],
    endpoint: Endpoint,
    addresses: Sequence[str],
    tls: Tls,
    context: ssl.SSLContext | None,
) -> P:
    """A connection to the first address that accepts one. Raises OSError (ssl.SSLError is a subclass)."""
    loop = asyncio.get_running_loop()
    if endpoint.path:
        protocol: P
        _, protocol = await loop.create_unix_connection(as_protocol(make), endpoint.path)
        return protocol
    name = None if context is None else (tls.server_name or endpoint.host).removesuffix(".")
    for address in addresses[:-1]:
        try:
            return await _open_tcp(make, address, endpoint.port, context, name)
        except ssl.SSLError:
            raise
        except OSError:
            continue
    return await _open_tcp(make, addresses[-1], endpoint.port, context, name)


async def _open_tcp(
    make: Callable[[], P], host: str, port: int, context: ssl.SSLContext | None, name: str | None
) -> P:
    loop = asyncio.get_running_loop()
    protocol: Any
    try:
        transport, protocol = await loop.create_connection(as_protocol(make), host, port)
        if context is not None:
            await _start_tls(transport, protocol, context, name)
    except UnicodeError as error:  # such as a label of more than 63 characters
        raise OSError(_INVALID_NAME) from error
    result: P = protocol
    return result


async def _start_tls(
    transport: asyncio.Transport, protocol: Any, context: ssl.SSLContext, name: str | None
) -> None:
    """The handshake; then the protocol is told of its TLS transport."""
    loop = asyncio.get_running_loop()
    over_tls = await loop.start_tls(transport, protocol, context, server_hostname=name)
    if over_tls is None or transport.is_closing():  # the peer closed, or sent data, before any request
        transport.abort()
        raise ConnectionResetError("closed after the TLS handshake")
    transport.set_protocol(WholeInput(transport))
    protocol.connection_made(over_tls)


def as_protocol(make: Callable[[], object]) -> Callable[[], Any]:
    """For the type checker: event loops call a protocol's methods, but their types ask for a base class."""
    return make


def tls_context(tls: Tls) -> ssl.SSLContext:
    """Raises OSError (ssl.SSLError is a subclass) if a file cannot be read or used."""
    with held_open(tls.ca, PEM_LIMIT) if tls.ca is not None else nullcontext() as ca:
        context = ssl.create_default_context(cafile=ca)
    context.set_alpn_protocols(["http/1.1"])
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.cert is not None:
        load_certificate(context, tls.cert, tls.key)
    return context


class Resumption(ssl.SSLContext):
    """The context of a backend for one of its endpoints: a new connection resumes the TLS session of an earlier one.

    Event loops ask a context for the object that makes the handshake. Replicas may not know each other's sessions, so
    each endpoint has its own. Files that change make another context, so nothing is resumed that they would not allow.
    """

    shared: ssl.SSLContext
    session: ssl.SSLSession | None = None

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        return self.shared.wrap_bio(incoming, outgoing, server_side, server_hostname, self.session)

    def keep(self, used: ssl.SSLObject) -> None:
        """The session of a connection that has received bytes: with TLS 1.3 its ticket comes behind the handshake.

        One that was resumed stays in use until the endpoint makes a full handshake: Python copies a session with its
        certificates, which takes a third of a handshake's time.
        """
        if used.context is self.shared and not used.session_reused:
            self.session = used.session


def resuming(shared: ssl.SSLContext) -> Resumption:
    made = Resumption(ssl.PROTOCOL_TLS_CLIENT)
    made.shared = shared
    return made


def load_certificate(context: ssl.SSLContext, cert: str, key: str | None) -> None:
    """Raises OSError (ssl.SSLError is a subclass) if a file cannot be read or used."""
    with held_open(cert, PEM_LIMIT) as chain, held_open(key or cert, PEM_LIMIT) as private:
        context.load_cert_chain(chain, private, password="")  # an encrypted key must not ask the terminal


# ── checks of the files of a configuration ───────────────────────────────────────────────────────────────


def stamp_of(written: BackendTlsConfig) -> tuple[str, dict[str, str]]:
    """A hash of the files' contents, and by key why a file cannot be read."""
    faults: dict[str, str] = {}
    stamp = blake2b(digest_size=16)
    for key in ("ca", "cert", "key"):
        path = getattr(written, key)
        try:
            stamp.update(b"%b\0" % (read_regular(path, PEM_LIMIT) if path else b""))
        except OSError as error:
            faults[key] = f"cannot be read: {error.strerror}"
            stamp.update(faults[key].encode())
    return stamp.hexdigest(), faults


def examine(written: BackendTlsConfig, must_name_host: bool) -> tuple[str, dict[str, str]]:
    """A hash of the files' contents, and by key what is wrong with a file."""
    stamp, faults = stamp_of(written)
    faults = faults or _unusable_files(compile_tls(written))
    if not faults and must_name_host and written.cert and not names_of(read_regular(written.cert, PEM_LIMIT)):
        faults = {"cert": "no client would get it: it names no host (subjectAltName)"}
    return stamp, faults


def _unusable_files(tls: Tls) -> dict[str, str]:
    """By key, what is wrong with files that can be read."""
    try:
        tls_context(Tls(ca=tls.ca))
    except OSError as error:
        return {"ca": f"holds no certificate in PEM form: {_openssl_reason(error)}"}
    try:
        tls_context(tls)
    except OSError as error:
        return {"key" if tls.key else "cert": f"certificate and key cannot be used: {_openssl_reason(error)}"}
    return {}


def _openssl_reason(error: OSError) -> str:
    """OpenSSL's reason, without the place in its source."""
    text = error.reason if isinstance(error, ssl.SSLError) and error.reason else str(error)
    return text.lower().replace("_", " ")
