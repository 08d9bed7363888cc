"""What a text that comes through the admin API may not name anew: each key that names a file, a folder or a program."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from crossfade.config.load import Loaded, load
from crossfade.config.schema import json_schema
from crossfade.config.touched import newly_touched

HEAD = """
listen: 127.0.0.1:0
backends:
  a: {{endpoints: ["https://a:1"]{backend}}}
  b: {{endpoints: ["http://b:1"]}}
routes:
  - name: churn
    split: {{a: 100%}}
    prediction: {{score: p, label: l}}
{route}
{top}
"""
PLAIN = "sqlite:crossfade.db"
# By key: where it stands, what is written there, and what is said of it.
TOUCHING: dict[tuple[str, str], tuple[str, str, str]] = {
    ("", "state"): ("top", "state: sqlite:/other.db", "sqlite:/other.db"),
    ("AccessLogConfig", "to"): ("top", "access_log: {to: /var/a.log}", "the file /var/a.log"),
    ("BackendTlsConfig", "ca"): ("backend", ", tls: {ca: /ca.pem}", "the file /ca.pem"),
    ("BackendTlsConfig", "cert"): ("backend", ", tls: {cert: /c.pem, key: /k.pem}", "the file /c.pem"),
    ("BackendTlsConfig", "key"): ("backend", ", tls: {cert: /c.pem, key: /k.pem}", "the file /k.pem"),
    ("CertificateConfig", "cert"): (
        "top",
        "tls: {certificates: [{cert: /c.pem, key: /k.pem}]}",
        "the file /c.pem",
    ),
    ("CertificateConfig", "key"): (
        "top",
        "tls: {certificates: [{cert: /c.pem, key: /k.pem}]}",
        "the file /k.pem",
    ),
    ("DriftConfig", "baseline"): ("route", "    drift: {baseline: /p.json}", "the file /p.json"),
    ("KeepConfig", "dir"): ("route", "    keep: {dir: /pairs}", "the folder /pairs"),
    ("RegistryConfig", "uri"): ("top", "registry: {kind: folder, uri: /models}", "the folder /models"),
    ("ReportConfig", "dir"): ("route", "    report: {every: 1d, dir: /reports}", "the folder /reports"),
    ("RetrainConfig", "command"): (
        "route",
        "    retrain: {on: [{schedule: 7d}], command: [/bin/sh, -c]}",
        "the program /bin/sh -c",
    ),
    ("TlsConfig", "cert"): ("top", "tls: {cert: /c.pem, key: /k.pem}", "the file /c.pem"),
    ("TlsConfig", "key"): ("top", "tls: {cert: /c.pem, key: /k.pem}", "the file /k.pem"),
    ("TlsConfig", "client_ca"): (
        "top",
        "tls: {cert: /c.pem, key: /k.pem, client_ca: /ca.pem}",
        "the file /ca.pem",
    ),
}
# Keys that take any text and name nothing on this machine: names, URLs, fields, patterns, secrets, what is sent.
HARMLESS = {
    "": "trusted_proxies trusted_headers cookie_secrets",
    "AdminConfig": "token external_url",
    "AdminTokenConfig": "name token",
    "BackendConfig": "version registry",
    "BackendTlsConfig": "server_name",
    "CheckConfig": "name query",
    "CorsConfig": "origins methods headers expose",
    "DriftConfig": "fields",
    "GateConfig": "webhook secret",
    "MatchConfig": "regex methods headers query json",
    "MirrorConfig": "to json",
    "NotifyConfig": "webhook name secret key",
    "OverrideConfig": "secret",
    "PredictionConfig": "score label segment ignore redact",
    "PrometheusConfig": "url",
    "RedirectConfig": "host",
    "RegistryConfig": "token endpoint",
    "RequestConfig": "host json",
    "RequestHeadersConfig": "set add remove",
    "RequestPathRegexConfig": "pattern substitution",
    "RespondConfig": "body content_type headers",
    "ResponseHeadersConfig": "set remove",
    "RetrainConfig": "webhook secret api",
    "RolloutConfig": "champion challenger primary",
    "RouteConfig": "name renamed_from fallback upgrades",
    "TracesConfig": "endpoint headers service",
}


def takes_any_text(schema: dict[str, Any]) -> bool:
    kinds = schema.get("type", ())
    if "string" in ([kinds] if isinstance(kinds, str) else kinds):
        return not schema.keys() & {"enum", "const", "pattern"}
    below = [*schema.get("anyOf", ()), schema.get("items"), schema.get("additionalProperties")]
    return any(takes_any_text(each) for each in below if isinstance(each, dict))


def free_keys() -> Iterator[tuple[str, str]]:
    schema = json_schema()
    for name, section in [("", schema), *schema["$defs"].items()]:
        for key, value in section.get("properties", {}).items():
            if takes_any_text(value):
                yield name, key


def written(place: str = "", text: str = "") -> Loaded:
    parts = dict.fromkeys(("backend", "route", "top"), "") | ({place: text} if place else {})
    return load(HEAD.format(**parts), "routing.yaml", {})


def test_of_each_key_that_takes_any_text_it_is_said_whether_it_names_a_file_or_a_program() -> None:
    """A new key fails here: it belongs into `config/touched` and TOUCHING, or it is HARMLESS."""
    harmless = {(section, key) for section, keys in HARMLESS.items() for key in keys.split()}
    assert not harmless & TOUCHING.keys()
    assert set(free_keys()) == harmless | TOUCHING.keys()


@pytest.mark.parametrize("key", TOUCHING, ids=".".join)
def test_what_a_key_names_is_touched_where_the_file_does_not_name_it(key: tuple[str, str]) -> None:
    place, text, named = TOUCHING[key]
    assert named in newly_touched(written(place, text), written())
    assert newly_touched(written(place, text), written(place, text)) == []


def test_a_socket_of_this_machine_is_touched() -> None:
    """Docker's, for one: an endpoint there would answer whoever sends a request."""
    with_socket = load(
        HEAD.format(backend="", route="", top="").replace("http://b:1", "unix:///run/b.sock"), "f.yaml", {}
    )
    assert newly_touched(with_socket, written()) == ["the socket /run/b.sock"]
    assert newly_touched(with_socket, with_socket) == []


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("top", "access_log: {to: stdout}"),
        ("top", "access_log: {}"),
        ("top", "registry: {kind: mlflow, uri: http://mlflow:5000}"),
        ("route", "    drift: {baseline: live}"),
        ("top", f"state: {PLAIN}"),
    ],
)
def test_what_is_no_file_touches_nothing(place: str, text: str) -> None:
    assert newly_touched(written(place, text), written()) == []
