"""How a command reaches the admin API: a port, with or without TLS, or a unix socket.

Rule: with TLS the certificate must be of the host that is asked, signed by whom this machine or `--cacert` trusts; or it must be
the very one that `--cacert` holds, whatever names are in it. A certificate is never taken on trust.
"""

from __future__ import annotations

import os
import socket
import ssl
from argparse import Namespace
from http.client import HTTPConnection
from typing import NamedTuple
from urllib.parse import urlsplit

from crossfade.cli.exits import USAGE, CommandFailed

_OTHER_NAME = (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
_EXAMPLES = "http://127.0.0.1:9901, https://proxy.example.com:9901 or unix:/run/crossfade.sock"


class Trust(NamedTuple):
    """Files, each "" where not given. `cacert`: whom to trust; `cert` and `key`: what to show who asks for a certificate."""

    cacert: str = ""
    cert: str = ""
    key: str = ""

    @classmethod
    def of(cls, arguments: Namespace) -> Trust:
        return cls(arguments.cacert, arguments.cert, arguments.key)

    def context(self) -> ssl.SSLContext:
        """Raises CommandFailed."""
        try:
            context = ssl.create_default_context(cafile=self.cacert or None)
        except OSError as error:
            raise CommandFailed(USAGE, f"--cacert {self.cacert}: {error}") from None
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the file may hold the certificate itself
        if self.cert:
            try:
                context.load_cert_chain(self.cert, self.key or None)
            except OSError as error:
                raise CommandFailed(USAGE, f"--cert {self.cert} with --key {self.key}: {error}") from None
        return context

    def holds(self, certificate: bytes | None) -> bool:
        """Whether the file has this very certificate (DER)."""
        with open(self.cacert, encoding="ascii", errors="replace") as file:
            parts = file.read().split("-----BEGIN CERTIFICATE-----")[1:]
        return certificate in [
            ssl.PEM_cert_to_DER_cert(
                f"-----BEGIN CERTIFICATE-----{part.partition('-----END')[0]}-----END CERTIFICATE-----"
            )
            for part in parts
        ]


class Place(NamedTuple):
    """Where the admin API is. `path`: of a unix socket; `prefix`: of the URL."""

    host: str
    port: int
    secure: bool
    path: str
    prefix: str

    @classmethod
    def of(cls, url: str) -> Place:
        """Raises CommandFailed."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
        except ValueError as error:
            raise CommandFailed(USAGE, f"--admin {url}: {error}") from None
        if parts.scheme == "unix" and not host and parts.path.startswith("/"):
            return cls("localhost", 0, False, parts.path, "")
        if parts.scheme not in ("http", "https") or not host:
            raise CommandFailed(USAGE, f"--admin {url}: it must look like {_EXAMPLES}")
        secure = parts.scheme == "https"
        return cls(host, port or (443 if secure else 80), secure, "", parts.path.rstrip("/"))

    def connection(self, trust: Trust, timeout: float) -> HTTPConnection:
        if self.path:
            return _OverSocket(self.path, timeout)
        if self.secure:
            return _OverTls(self, trust, timeout)
        return HTTPConnection(self.host, self.port, timeout=timeout)


class _OverSocket(HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class _OverTls(HTTPConnection):
    default_port = 443

    def __init__(self, place: Place, trust: Trust, timeout: float) -> None:
        super().__init__(place.host, place.port, timeout=timeout)
        self.trust = trust

    def connect(self) -> None:
        context = self.trust.context()
        try:
            self._shake_hands(context)
        except ssl.SSLCertVerificationError as error:
            if error.verify_code not in _OTHER_NAME or not self.trust.cacert:
                raise
            context.check_hostname = False
            self._shake_hands(context)
            assert isinstance(self.sock, ssl.SSLSocket)
            if not self.trust.holds(self.sock.getpeercert(binary_form=True)):
                self.close()
                raise

    def _shake_hands(self, context: ssl.SSLContext) -> None:
        super().connect()
        plain = self.sock
        try:
            self.sock = context.wrap_socket(plain, server_hostname=self.host)
        except BaseException:
            plain.close()
            raise


def advice_for(error: Exception, place: Place) -> str:
    """What to do where a call failed with this error."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return "Give the certificate of the admin API, or of its authority, with --cacert or CROSSFADE_ADMIN_CACERT."
    if isinstance(error, ssl.SSLError):
        return "Has `admin.tls` in the file? Without it, --admin begins with http://. Does it ask for a certificate? Give --cert and --key."
    if isinstance(error, PermissionError) and place.path:
        return f"Only the owner and the group of {place.path} may use it; `ls -l {os.path.dirname(place.path) or '/'}` shows them."
    return (
        "Check that `crossfade run` is running and that --admin or CROSSFADE_ADMIN_URL is its `admin.listen`."
    )
