"""Versions of a registry as backends: the configuration is the same as if they were written in the file."""

from __future__ import annotations

import pytest

from crossfade.config.load import Loaded, load
from crossfade.config.problem import ConfigError
from crossfade.config.registered import Registered, RegisteredBackend, RegisteredOfRoute
from crossfade.config.registry import RegisteredVersion, endpoint_for
from crossfade.config.schema import json_schema

FILE = """
listen: :80
{top}
backends:
  churn-v2: {{endpoints: http://v2:1, version: "2", health: {{path: /health}}, request: {{headers: {{set: {{x: "${{K}}"}}}}}}}}
  other: {{endpoints: http://o:1}}
routes:
  - name: churn
    split: {{churn-v2: 100%}}
    fallback: other
    rollout: {rollout}
"""
TOP = "registry: {kind: folder, uri: models}"
ROLLOUT = (
    "{strategy: canary, champion: churn-v2, challenger: {registry: churn@challenger}, steps: [{weight: 5%}]}"
)
V3 = RegisteredBackend("churn-3", "churn/3", "http://v3:8000")
V4 = RegisteredBackend("churn-4", "churn/4", "http://v4:8000")


def loaded(registered: Registered, top: str = TOP, rollout: str = ROLLOUT) -> Loaded:
    return load(FILE.format(top=top, rollout=rollout), "f.yaml", {"K": "k"}, registered=registered)


def errors(top: str, rollout: str) -> list[str]:
    with pytest.raises(ConfigError) as error:
        loaded({}, top, rollout)
    return [str(p).removeprefix("f.yaml:") for p in error.value.problems if p.severity == "error"]


def test_without_a_version_there_is_no_rollout():
    found = loaded({})
    assert found.challengers == {"churn": "churn@challenger"}
    assert (found.config.routes[0].rollout, list(found.config.backends)) == ((), ["churn-v2", "other"])


def test_a_version_is_a_backend_like_the_champion():
    config = loaded({"churn": RegisteredOfRoute(None, V3)}).config
    backend = config.backends["churn-3"]
    assert [e.url for e in backend.endpoints] == ["http://v3:8000"]
    assert (backend.registry, backend.version) == ("churn/3", None)
    assert backend.health == config.backends["churn-v2"].health
    assert backend.request == config.backends["churn-v2"].request
    (rollout,) = config.routes[0].rollout
    assert (rollout.champion, rollout.challenger) == ("churn-v2", "churn-3")


def test_a_promoted_version_is_the_champion():
    config = loaded({"churn": RegisteredOfRoute(V3, V4)}).config
    assert config.routes[0].split == {"churn-3": 10_000}
    assert config.routes[0].fallback == "other"
    (rollout,) = config.routes[0].rollout
    assert (rollout.champion, rollout.challenger) == ("churn-3", "churn-4")
    assert list(config.backends) == ["churn-v2", "other", "churn-3", "churn-4"]
    alone = loaded({"churn": RegisteredOfRoute(V3, None)}).config
    assert (alone.routes[0].split, alone.routes[0].rollout) == ({"churn-3": 10_000}, ())


def test_a_backend_of_the_file_stays_as_it_is():
    named = RegisteredBackend("other", "churn/9", "http://nowhere:1")
    config = loaded({"churn": RegisteredOfRoute(None, named)}).config
    assert [e.url for e in config.backends["other"].endpoints] == ["http://o:1"]
    assert config.routes[0].rollout[0].challenger == "other"


def test_another_route_changes_nothing():
    assert loaded({"else": RegisteredOfRoute(None, V3)}).config == loaded({}).config


def test_the_text_is_shown_as_it_was_written_and_secrets_stay_hidden():
    known = loaded({"churn": RegisteredOfRoute(V3, V4)})
    assert "churn@challenger" in known.shown and "churn-3" not in known.shown
    assert known.hash != loaded({}).hash


@pytest.mark.parametrize(
    ("top", "rollout", "said"),
    [
        ("", ROLLOUT, 'routes[0].rollout.challenger: needs the key "registry" of the file'),
        (
            TOP,
            ROLLOUT.replace("churn@challenger", "churn"),
            "routes[0].rollout.challenger: must be the name of a backend, or {registry: MODEL@ALIAS}",
        ),
        (
            TOP,
            f"[{ROLLOUT}, {{strategy: canary, champion: churn-v2, challenger: other, steps: [{{weight: 5%}}]}}]",
            "routes[0].rollout[0]: must be the only rollout of its route, since its challenger comes from the registry",
        ),
        (
            "registry: {kind: mlflow, uri: models}", ROLLOUT, "registry.uri: must be the URL of an MLflow server",
        ),
        (
            "registry: {kind: folder, uri: m, endpoint: 'http://{name}:1'}", ROLLOUT,
            "registry.endpoint: must hold no placeholder but {model} and {version}, not {name}",
        ),
    ],
)  # fmt: skip
def test_errors(top: str, rollout: str, said: str):
    assert said in [problem.partition(": ")[2] for problem in errors(top, rollout)]


def test_a_backend_names_its_version():
    text = FILE.format(top=TOP, rollout="[]").replace('version: "2"', "registry: churn/2")
    assert load(text, "f", {"K": "k"}).config.backends["churn-v2"].registry == "churn/2"
    with pytest.raises(ConfigError, match="must be MODEL/VERSION, as in churn/3"):
        load(text.replace("churn/2", "churn-2"), "f", {"K": "k"})
    with pytest.raises(ConfigError, match='needs the key "registry" of the file'):
        load(text.replace(TOP, ""), "f", {"K": "k"})


def test_endpoints_of_templates():
    assert (
        endpoint_for("http://{model}-{version}:8000/m", RegisteredVersion("churn", "7"))
        == "http://churn-7:8000/m"
    )


def test_the_schema_knows_both_forms():
    challenger = json_schema()["$defs"]["RolloutConfig"]["properties"]["challenger"]
    assert {"type": "string"} in challenger["anyOf"]
    assert any(form.get("required") == ["registry"] for form in challenger["anyOf"])
