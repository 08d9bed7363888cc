"""The files of `tls`: what is read of them, and how often."""

from __future__ import annotations

import asyncio
import textwrap
from contextlib import suppress

import pytest

from crossfade.config.load import Loaded, load
from crossfade.config.problem import ConfigError
from crossfade.dial import examine
from crossfade.workers import tls_files
from crossfade.workers.tls_files import Renewal, TlsFiles
from tests.certificates import Authority

YAML = """
listen: 127.0.0.1:0
state: "sqlite::memory:"
{tls}
backends: {{v2: {{endpoints: [http://127.0.0.1:9002]}}}}
routes: [{{name: churn, match: {{prefix: /}}, split: {{v2: 100%}}}}]
"""


async def looks(monkeypatch, loaded: Loaded) -> list[Renewal]:
    """What was read in a few looks."""
    found: list[Renewal] = []
    read = tls_files.read

    def noted(*asked):
        found.append(read(*asked))
        return found[-1]

    monkeypatch.setattr(tls_files, "read", noted)
    monkeypatch.setattr(tls_files, "WATCH", 0.001)
    looked = 0

    def config() -> Loaded:
        nonlocal looked
        looked += 1
        if looked > 5:
            raise asyncio.CancelledError
        return loaded

    with suppress(asyncio.CancelledError):
        await TlsFiles(config, found.append, found.append).follow()
    return found


def test_files_are_read_again_and_again(tmp_path, monkeypatch):
    cert, key = Authority(tmp_path).files("127.0.0.1")
    loaded = load(
        textwrap.dedent(YAML.format(tls=f"tls: {{cert: {cert}, key: {key}}}")), "routing.yaml", {}, examine
    )
    found = asyncio.run(looks(monkeypatch, loaded))
    assert len(found) == 4
    assert all(renewal.stamps == loaded.stamps for renewal in found)


def test_a_certificate_that_no_client_would_get_is_refused_with_its_place(tmp_path):
    """The first is for clients that ask for no host."""
    files = [Authority(tmp_path, f"ca{n}").files("127.0.0.1") for n in range(2)]
    pairs = ", ".join(f"{{cert: {cert}, key: {key}}}" for cert, key in files)
    with pytest.raises(ConfigError) as raised:
        load(textwrap.dedent(YAML.format(tls=f"tls: {{certificates: [{pairs}]}}")), "f.yaml", {}, examine)
    (problem,) = raised.value.problems
    said = "no client would get it: it names no host (subjectAltName)"
    assert (problem.line, problem.path, problem.message) == (4, "tls.certificates[1].cert", said)


def test_nothing_is_read_and_no_thread_is_asked_where_no_tls_is_configured(monkeypatch):
    loaded = load(textwrap.dedent(YAML.format(tls="")), "routing.yaml", {}, examine)
    assert asyncio.run(looks(monkeypatch, loaded)) == []
