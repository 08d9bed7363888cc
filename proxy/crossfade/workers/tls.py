"""TLS towards clients: the certificates of a listener, renewable while it listens.

TLS 1.2 or later, with the ciphers that Python's ssl chooses for servers. After a renewal new connections
get the new certificate, and their client certificates are checked against the new CAs. Open connections
stay as they are.
"""

from __future__ import annotations

import ssl
from typing import Any

from crossfade.dial import load_certificate
from crossfade.files import PEM_LIMIT, held_open
from crossfade.workers.messages import Certificate


class Credentials:
    """The listener keeps `context`; handshakes use `current`. Raises OSError, as `context_of` does."""

    def __init__(self, files: Certificate) -> None:
        self.files = files
        self.context = self.current = context_of(files)
        # Called in every handshake, also without SNI.
        self.context.sni_callback = self._use_current

    def _use_current(self, sock: Any, name: str | None, context: ssl.SSLContext) -> None:
        if self.current is not context:
            sock.context = self.current

    def renew(self) -> None:
        """Read the files again. Raises OSError if they cannot be used; then the old certificate stays."""
        self.current = context_of(self.files)


def context_of(files: Certificate) -> ssl.SSLContext:
    """Raises OSError (SSLError is one), whose message names the files."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
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
