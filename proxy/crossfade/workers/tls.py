"""TLS towards clients: the certificates of a listener, renewable while it listens.

TLS 1.2 or later, with the ciphers that Python's ssl chooses for servers. After a renewal new connections
get the new certificate, and their client certificates are checked against the new CAs. Open connections
stay as they are.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from crossfade.certificate import names_of
from crossfade.dial import load_certificate
from crossfade.files import PEM_LIMIT, held_open, read_regular
from crossfade.workers.messages import Certificate
from crossfade.workers.plain_http import HandshakeContext

if TYPE_CHECKING:  # a worker loads no pydantic
    from crossfade.config.listener import TlsConfig


class Contexts:
    """A context for each certificate; the first is for clients that name no host, or an unknown one."""

    def __init__(self, files: Certificate) -> None:
        self.default = context_of(files)
        self.by_name: dict[str, ssl.SSLContext] = {}
        if not files.others:
            return
        pairs = [(self.default, files.cert)]
        pairs += [(context_of(replace(files, cert=cert, key=key)), cert) for cert, key in files.others]
        for context, cert in pairs:
            names = names_of(read_regular(cert, PEM_LIMIT))
            if not names and context is not self.default:
                raise OSError(f"no client would get {cert}: it names no host (subjectAltName)")
            for name in names:
                self.by_name.setdefault(name, context)  # the first in the file wins

    def of(self, name: str | None) -> ssl.SSLContext:
        """A wildcard stands for one label (RFC 6125 section 6.4.3)."""
        if name is None or not self.by_name:
            return self.default
        host = name.lower().removesuffix(".")
        found = self.by_name.get(host) or self.by_name.get(f"*.{host.partition('.')[2]}")
        return found or self.default


class Credentials:
    """The listener keeps `context`; handshakes use `current`. Raises OSError, as `context_of` does."""

    def __init__(self, files: Certificate) -> None:
        self.files = files
        self.current = Contexts(files)
        self.context = self.current.default
        # Called in every handshake, also without SNI.
        self.context.sni_callback = self._choose

    def _choose(self, sock: Any, name: str | None, context: ssl.SSLContext) -> None:
        chosen = self.current.of(name)
        if chosen is not context:
            sock.context = chosen

    def renew(self) -> None:
        """Read the files again. Raises OSError if they cannot be used; then the old certificates stay."""
        self.current = Contexts(self.files)


def files_of(tls: TlsConfig) -> Certificate:
    (cert, key), *others = tls.pairs
    return Certificate(cert, key, tls.client_ca, tls.client_auth == "required", tuple(others))


def context_of(files: Certificate) -> ssl.SSLContext:
    """Raises OSError (SSLError is one), whose message names the files."""
    context = HandshakeContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.num_tickets = (
        1  # OpenSSL makes 2, each a seventh of a handshake; the next connection uses one, and gets one
    )
    try:
        load_certificate(context, files.cert, files.key)
    except OSError as error:
        raise OSError(f"cannot use {files.cert} with {files.key}: {error}") from error
    if files.client_ca is None:
        return context
    try:
        with held_open(files.client_ca, PEM_LIMIT) as authorities:
            context.load_verify_locations(authorities)
    except OSError as error:
        raise OSError(f"cannot use {files.client_ca}: {error}") from error
    context.verify_mode = ssl.CERT_REQUIRED if files.client_required else ssl.CERT_OPTIONAL
    # A resumed session would skip the check against the current CAs.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    return context
