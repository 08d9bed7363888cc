"""A listener as written: its address, and TLS of the clients that connect to it.

Rule: a listener without `tls` of its own has that of the file. The first certificate is for clients that name no host, or an
unknown one; the others are for the hosts that they name themselves.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from crossfade.config import address
from crossfade.config.address import ListenConfig
from crossfade.config.section import NOT_EMPTY, OneOrMany, OrFalse, OrPlain, Section, Text, Written

_HOST_PORT = {"type": "string", "pattern": r":[0-9]+$|\$\{"}

_OR_SOCKET = {"type": "string", "pattern": r":[0-9]+$|^unix:/|\$\{"}

Listen = Annotated[ListenConfig, BeforeValidator(address.listen), Written(_HOST_PORT)]
ListenHere = Annotated[ListenConfig, BeforeValidator(address.listen_here), Written(_OR_SOCKET)]


class CertificateConfig(Section):
    """A certificate for the hosts that it names; the files are PEM."""

    cert: Text = Field(description="the file with the certificate and its chain")
    key: Text = Field(description="the file with its private key")


class TlsConfig(Section):
    """TLS of clients' connections; the files are PEM."""

    cert: Text | None = Field(default=None, description="the file with the certificate and its chain")
    key: Text | None = Field(default=None, description="the file with its private key")
    certificates: Annotated[tuple[CertificateConfig, ...], OneOrMany()] = Field(
        default=(),
        description="several certificates in the place of cert and key; the name that a client asks for chooses, else the first",
    )
    client_ca: Text | None = Field(
        default=None,
        description="the file with the CAs of client certificates; if given, clients are asked for one",
    )
    client_auth: Literal["required", "optional"] = Field(
        default="required", description="required: clients without a certificate are refused"
    )

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """(certificate, key); the first is the default."""
        if self.cert is not None and self.key is not None:
            return ((self.cert, self.key),)
        return tuple((each.cert, each.key) for each in self.certificates)


class ListenerConfig(Section):
    """An address for clients with TLS of its own."""

    address: Listen = Field(description="host:port")
    tls: Annotated[TlsConfig | None, OrFalse()] = Field(
        default=None, description="TLS of this listener; that of the file if not given, false: none"
    )

    @property
    def has_own_tls(self) -> bool:
        return "tls" in self.model_fields_set


Listener = Annotated[
    ListenerConfig | ListenConfig, OrPlain(ListenerConfig, address.listen, _HOST_PORT), NOT_EMPTY
]
