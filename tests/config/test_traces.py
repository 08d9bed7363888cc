"""`traces`: where spans go, and how many there are."""

from __future__ import annotations

import pytest

from crossfade.config import traces
from crossfade.config.load import load
from crossfade.config.traces import TracesConfig
from tests.config.sample import assert_errors, errors, text, unmarked


def written(value: str) -> TracesConfig:
    found = load(text(top=f"traces: {value}"), "routing.yaml", {}).config.traces
    assert found is not None
    return found


def test_the_defaults() -> None:
    found = written("{endpoint: 'http://collector:4318'}")
    assert (found.url, found.sample, found.service, found.headers) == (
        "http://collector:4318/v1/traces",
        0.01,
        "crossfade",
        {},
    )


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("https://c/", "https://c/v1/traces"),
        ("https://c/otlp/v1/traces", "https://c/otlp/v1/traces"),
        ("https://c:1?k=v", "https://c:1/v1/traces?k=v"),
    ],
)
def test_the_path_of_the_collector(endpoint: str, url: str) -> None:
    assert written(f"{{endpoint: '{endpoint}'}}").url == url


def test_headers_are_secret() -> None:
    shown = load(
        text(top="traces: {endpoint: 'http://c:1', headers: {x-key: 0123456789-secret}}"), "routing.yaml", {}
    ).shown
    assert "0123456789-secret" not in shown
    assert 'x-key: "***"' in shown


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("»traces: {sample: 1%}", 'traces: the key "endpoint" is missing'),
        ("traces: {endpoint: »collector}", "traces.endpoint: "),
        ("traces: {endpoint: 'http://c', sample: »2}", "traces.sample: "),
    ],
)
def test_what_is_not_valid(bad: str, message: str) -> None:
    marked, (place,) = unmarked(text(top=bad))
    (found,) = errors(marked)
    assert found.startswith(f"{place}: {message}"), found


def test_without_the_packages_it_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "has_opentelemetry", lambda: False)
    assert_errors(
        text(top="traces: »{endpoint: 'http://c:4318'}"),
        "traces: needs packages that are not installed: pip install 'crossfade[traces]'",
    )
