"""`trusted_headers`: fields by which a proxy in front names the client or its TLS connection.

Rule: models believe such fields, so only trusted proxies may send them; they are removed from everybody else's requests.
X-Forwarded-For, -Proto, -Host and Forwarded are not in the list: the proxy reads and writes them itself.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator

from crossfade.config.match import FieldName
from crossfade.config.problem import BadValue, shown
from crossfade.config.request import refusal_of
from crossfade.config.section import field_name

TRUSTED_HEADERS = (
    # the client's address
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-original-forwarded-for",
    "x-envoy-external-address",
    "x-azure-clientip",
    "true-client-ip",
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "fastly-client-ip",
    "fly-client-ip",
    "do-connecting-ip",
    # its connection to the proxy in front
    "x-forwarded-port",
    "x-forwarded-scheme",
    "x-forwarded-ssl",
    "x-url-scheme",
    "front-end-https",
    # its certificate (RFC 9440, and what was there before)
    "client-cert",
    "client-cert-chain",
    "x-client-cert",
    "x-forwarded-client-cert",
    "x-forwarded-tls-client-cert",
    "x-forwarded-tls-client-cert-info",
    "x-ssl-client-cert",
    "x-ssl-client-dn",
    "x-ssl-client-s-dn",
    "x-ssl-client-verify",
    "ssl-client-cert",
    "ssl-client-subject-dn",
    "ssl-client-verify",
    "x-amzn-mtls-clientcert",
    "x-amzn-mtls-clientcert-leaf",
    "x-amzn-mtls-clientcert-subject",
)


def _trusted_header(value: object) -> str:
    name = field_name(value)
    why = refusal_of(name)
    if why is not None:
        raise BadValue(f"must not name {shown(name)}: it {why}")
    return name


TrustedHeader = Annotated[FieldName, BeforeValidator(_trusted_header)]
