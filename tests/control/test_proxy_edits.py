"""Edits of the file that no route's record has are said too: an operator reads "it would change nothing" as a promise."""

from __future__ import annotations

import pytest

from crossfade.config.load import load
from crossfade.config.model import Config
from crossfade.control.planning import plan_load
from crossfade.control.proxy_edits import proxy_edits

FILE = """\
listen: :80
drain: 30s
backends: {a: {endpoints: "http://a:1"}}
routes:
  - {name: own, match: {path: /own}, respond: {status: 503, body: one}}
  - {name: moved, match: {path: /moved}, redirect: {path: /two}}
  - {name: model, match: {path: /model}, split: {a: 1}}
"""
MODEL = "{name: model, match: {path: /model}, split: {a: 1}}"
SECRET = "0123456789abcdef"


def config(text: str) -> Config:
    return load(text, "f.yaml", {"SECRET": SECRET, "RANGE": "10.0.0.0/8"}).config


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("body: one", "body: two", ["route own: respond.body: one → two"]),
        ("body: one", "body: " + "x" * 1000, ["route own: respond.body: changed"]),
        ("body: one", "body: one, headers: {x-a: b}", ["route own: respond.headers: changed"]),
        ("path: /own", "prefix: /own", ["route own: match.path: /own → none", "route own: match.prefix: none → /own"]),
        ("path: /two", "path: /three", ["route moved: redirect.path: /two → /three"]),
        ("name: own", "name: mine", ["route own, which answered itself, is gone", "route mine answers itself now, by respond with 503"]),
        ("name: moved, match: {path: /moved}, redirect: {path: /two}", "name: moved, match: {path: /moved}, split: {a: 1}", []),  # the route's decision says it
        (MODEL, "{name: model, redirect: {host: other}}", ["route model answers itself now, by redirect"]),
        (f"routes:\n  - {FILE.splitlines()[4][4:]}", "routes:", ["route own, which answered itself, is gone"]),
        (f"  - {MODEL}", f"  - {MODEL}\n  - {{name: more, respond: {{status: 404}}}}", ["route more answers itself now, by respond with 404"]),
        ("drain: 30s", "drain: 30s\ncookie_secrets: ['${SECRET}']", ["cookie_secrets: changed"]),
        ("drain: 30s", "drain: 30s\noverride: {secret: 0123456789abcdef}", ["override: changed"]),
        ("drain: 30s", "drain: 30s\nadmin: {token: 0123456789abcdef}", ["admin: changed"]),
        ("drain: 30s", "drain: 30s\nadmin: {listen: '127.0.0.1:9999'}", []),
        ("drain: 30s", "drain: 40s", ["drain.timeout: 30.0 → 40.0"]),
        ("drain: 30s", "drain: 30s\ntrusted_proxies: 192.0.2.0/24", ["trusted_proxies: none → 192.0.2.0/24"]),
        ("drain: 30s", "drain: 30s\ntrusted_proxies: '${RANGE}'", ["trusted_proxies: changed"]),
        ("drain: 30s", "drain: 30s\nlimits: {connections: 5}", ["limits.connections: 10000 → 5"]),
        ("drain: 30s", "drain: 30s\naccess_log: {to: stdout}", ["access_log: changed"]),
        (":80", ":81", []),  # acts at the next start
        ("drain: 30s", "drain: 30s", []),
    ],
)  # fmt: skip
def test_an_edit_is_said(old: str, new: str, said: list[str]) -> None:
    assert FILE.replace(old, new) != FILE or old == new
    found = proxy_edits(config(FILE), config(FILE.replace(old, new)))
    assert found == said
    assert SECRET not in "".join(found)


def test_another_answer_for_all_is_no_file_that_means_the_same() -> None:
    old, new = (load(text, "f.yaml", {}) for text in (FILE, FILE.replace("status: 503", "status: 200")))
    assert plan_load(old, new).general == ["route own: respond.status: 503 → 200"]
