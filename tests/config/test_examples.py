from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from crossfade.config.address import ListenConfig
from crossfade.config.backend import WeightedEndpointConfig
from crossfade.config.load import Loaded, load
from crossfade.config.rollout import Strategy
from crossfade.config.section import Section

CONFIG = Path(__file__).parents[2] / "config"
EXAMPLES = sorted((CONFIG / "examples").glob("*.yaml"))


def loaded(file: Path, **env: str) -> Loaded:
    return load(file.read_text("utf-8"), file.name, env)


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_each_example_gives_only_warnings_of_unsupported_keys(file: Path):
    messages = [w.message for w in loaded(file).warnings]
    assert [message for message in messages if "not supported yet" not in message] == []


@pytest.mark.parametrize("strategy", get_args(Strategy))
def test_each_strategy_has_an_example(strategy: str):
    routes = loaded(CONFIG / "examples" / f"{strategy}.yaml").config.routes
    assert [rollout.strategy for r in routes for rollout in r.rollout] == [strategy]


def sections(value: object) -> Iterator[BaseModel]:
    """A section and all sections below it."""
    if isinstance(value, BaseModel):
        yield value
        value = [getattr(value, name) for name in type(value).model_fields]
    elif isinstance(value, dict):
        value = list(value.values())
    for below in value if isinstance(value, list | tuple) else ():
        yield from sections(below)


def test_the_full_example_has_every_key():
    written: dict[type[BaseModel], set[str]] = {}
    for section in sections(loaded(CONFIG / "examples" / "full.yaml").config):
        written.setdefault(type(section), set()).update(section.model_fields_set)
    assert set(written) == set(Section.__subclasses__()) - {WeightedEndpointConfig}, (
        "it becomes an EndpointConfig"
    )
    written[ListenConfig].add("path")  # of a unix socket, in the place of host and port
    for kind, keys in written.items():
        assert keys == set(kind.model_fields), kind.__name__


def test_the_configuration_of_docker_compose():
    env = {"CROSSFADE_ADMIN_TOKEN": "s3cret", "CHURN_V3": "127.0.0.1:9", "CROSSFADE_LISTEN": "127.0.0.1:0"}
    found = loaded(CONFIG / "routing.yaml", **env)
    config = found.config
    assert found.warnings == ()
    assert [at.authority for at, _ in config.listeners] == ["127.0.0.1:0"]
    assert (config.admin.listen.authority, config.admin.token) == ("0.0.0.0:9901", "s3cret")
    assert config.state == "sqlite:/var/lib/crossfade/crossfade.db"
    assert [b.endpoints[0].authority for b in config.backends.values()] == [
        "churn-v2:8000",
        "127.0.0.1:9",
        "churn-v4:8000",
    ]
    assert all(b.health and b.health.path == "/health" for b in config.backends.values())
    assert [r.name for r in config.routes] == ["churn", "batch", "oip"]
