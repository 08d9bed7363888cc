"""A small configuration with slots for a test's own YAML; their lines and columns are fixed."""

from __future__ import annotations

from crossfade.config.load import Loaded, load
from crossfade.config.model import RouteConfig
from crossfade.config.problem import ConfigError

TEXT = """\
listen: :80
{top}
backends:
  a: {{endpoints: http://a:1}}
  {backend}
routes:
  - name: r
    split: {split}
    {route}
"""


def text(
    top: str = "drain: 30s",
    backend: str = "b: {endpoints: http://b:1}",
    split: str = "{a: 1, b: 1}",
    route: str = "fallback: a",
) -> str:
    """Slots: `top` at line 2, column 1; `backend` at 5:3; `split` at 8:12; `route` at 9:5."""
    return TEXT.format(top=top, backend=backend, split=split, route=route)


def rollout(**keys: str) -> str:
    """A rollout in one line, for the slot `route`, and that its requests may be mirrored."""
    given = {"strategy": "canary", "champion": "a", "challenger": "b"} | keys
    return (
        "rollout: {"
        + ", ".join(f"{key}: {value}" for key, value in given.items())
        + "}\n    retry: {pure: true}"
    )


def loaded(written: str, **env: str) -> Loaded:
    return load(written, "f.yaml", env)


def route(written: str) -> RouteConfig:
    return loaded(text(top="prometheus: {url: http://p}", route=written)).config.routes[0]


def errors(written: str, **env: str) -> list[str]:
    """The errors without the file name; none if the text loads."""
    try:
        load(written, "f.yaml", env)
    except ConfigError as error:
        return [str(p).removeprefix("f.yaml:") for p in error.problems if p.severity == "error"]
    return []


def warnings(written: str) -> list[str]:
    return [str(p).removeprefix("f.yaml:") for p in loaded(written).warnings]


def unmarked(written: str) -> tuple[str, list[str]]:
    """The text without the marks », and their places as line:column."""
    before, *rest = written.split("»")
    places = []
    for piece in rest:
        lines = before.split("\n")
        places.append(f"{len(lines)}:{len(lines[-1]) + 1}")
        before += piece
    return before, places


def assert_errors(written: str, *expected: str) -> None:
    """Asserts these errors and no others, each at a mark » of the text."""
    bare, places = unmarked(written)
    assert errors(bare) == [f"{place}: {message}" for place, message in zip(places, expected, strict=True)]
