"""Certificates that a test makes in its own folder."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

from crossfade.certificate import ends_in


class Authority:
    """A certificate authority and the certificates that it issues."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self.folder = folder
        self.ca = trustme.CA()
        self.file = str(folder / f"{name}.pem")
        self.ca.cert_pem.write_to_path(self.file)

    def files(self, *names: str, expired: bool = False) -> tuple[str, str]:
        """(certificate, key) for these host names and addresses."""
        end = datetime.now(UTC) - timedelta(days=1) if expired else None
        begin = datetime.now(UTC) - timedelta(days=9) if expired else None
        issued = self.ca.issue_cert(*names, not_before=begin, not_after=end)
        cert, key = self.folder / f"{names[0]}-{id(issued)}.pem", self.folder / f"{names[0]}-{id(issued)}.key"
        issued.private_key_pem.write_to_path(str(key))
        issued.cert_chain_pems[0].write_to_path(str(cert))
        return str(cert), str(key)

    def server(self, *names: str, clients: Authority | None = None, expired: bool = False) -> ssl.SSLContext:
        """The context of a server with these names; it requires a client certificate of `clients` if given."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.files(*names, expired=expired))
        if clients is not None:
            context.load_verify_locations(clients.file)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def end_in(file: str) -> float:
    """When the one certificate of a file ends, in seconds since 1970."""
    (end,) = ends_in(Path(file).read_bytes())
    return end
