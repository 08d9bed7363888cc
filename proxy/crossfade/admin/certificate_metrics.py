"""Metrics of certificates: when they end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client.core import Metric

from crossfade.admin.families import gauge
from crossfade.config.model import Config
from crossfade.workers.certificate_ends import CertificateEnd


def of_certificates(
    files: Iterable[CertificateEnd], config: Config, endpoints: Mapping[tuple[str, str], float]
) -> Iterator[Metric]:
    """`endpoints`: by the names of backend and endpoint, when the certificate ends that it showed."""
    yield gauge(
        "crossfade_certificate_expires_timestamp_seconds",
        "When the certificates of a file end: the first of a chain, the last of the authorities.",
        ["of", "name", "file"],
        [((each.of, each.name, each.file), each.at) for each in files],
    )
    yield gauge(
        "crossfade_endpoint_certificate_expires_timestamp_seconds",
        "When the certificate ends that the endpoint showed to its last probe.",
        ["backend", "endpoint"],
        [
            ((name, e.url), endpoints[name, e.name])
            for name, backend in config.backends.items()
            for e in backend.endpoints
            if (name, e.name) in endpoints
        ],
    )
