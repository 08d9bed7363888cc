"""Certificates made for one test, in a folder of its own."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme


class Authority:
    """A CA, and what it vouches for."""

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
        """For one who answers to these names, and demands a certificate of `clients` if given."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.files(*names, expired=expired))
        if clients is not None:
            context.load_verify_locations(clients.file)
            context.verify_mode = ssl.CERT_REQUIRED
        return context
