"""When the certificates end that a configuration names."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import trustme

from crossfade.config.load import load
from crossfade.workers.certificate_ends import CertificateEnd, certificate_ends

EARLY, LATE = datetime(2030, 1, 1, tzinfo=UTC), datetime(2040, 1, 1, tzinfo=UTC)


def issued(folder: Path, name: str, *ends: datetime) -> str:
    """A file with a certificate for each of these ends; its key is beside it."""
    file = folder / f"{name}.pem"
    ca = trustme.CA()
    certs = [ca.issue_cert("models.internal", not_after=end) for end in ends]
    file.write_bytes(b"".join(cert.cert_chain_pems[0].bytes() for cert in certs))
    certs[0].private_key_pem.write_to_path(str(file.with_suffix(".key")))
    return str(file)


def test_a_chain_ends_with_its_first_certificate_and_authorities_with_their_last(tmp_path: Path) -> None:
    chain = issued(tmp_path, "chain", EARLY, LATE)
    other = issued(tmp_path, "other", LATE)
    own = issued(tmp_path, "own", EARLY)
    authorities = issued(tmp_path, "authorities", EARLY, LATE)
    gone = str(tmp_path / "gone.pem")
    text = f"""
listen: ["127.0.0.1:0", {{address: "127.0.0.1:1", tls: {{cert: {other}, key: {other}.key}}}}]
tls: {{cert: {chain}, key: {chain}.key, client_ca: {authorities}}}
admin: {{listen: "127.0.0.1:2", tls: {{cert: {own}, key: {own}.key}}}}
backends:
  v2: {{endpoints: ["https://127.0.0.1:9002"], tls: {{ca: {authorities}, cert: {other}, key: {other}.key}}}}
  v3: {{endpoints: ["https://127.0.0.1:9003"], tls: {{ca: {gone}}}}}
routes:
  - {{name: churn, match: {{path: /predict}}, split: {{v2: 50%, v3: 50%}}}}
"""
    assert certificate_ends(load(text, "routing.yaml", {}).config) == [
        CertificateEnd("listener", "", chain, EARLY.timestamp()),
        CertificateEnd("listener", "", authorities, LATE.timestamp()),
        CertificateEnd("listener", "", other, LATE.timestamp()),
        CertificateEnd("admin", "", own, EARLY.timestamp()),
        CertificateEnd("backend", "v2", other, LATE.timestamp()),
        CertificateEnd("backend", "v2", authorities, LATE.timestamp()),
    ]
