"""A start reads the versions that the registry has named from a file, so it needs no registry; a takeover reads them again."""

from __future__ import annotations

from pathlib import Path

from crossfade.app import App
from crossfade.config.registered import RegisteredBackend, RegisteredOfRoute
from crossfade.control.registered_versions import RegisteredVersions
from tests.control.test_registry_follower import FILE


def challengers(app: App) -> list[str]:
    return [rollout.challenger for route in app.loaded.config.routes for rollout in route.rollout]


def test_versions_that_were_named_before_are_known(tmp_path: Path) -> None:
    state = tmp_path / "state.db"
    file = tmp_path / "routing.yaml"
    file.write_text(FILE.replace("sqlite::memory:", f"sqlite:{state}"))
    assert challengers(App(file, False)) == []
    written = RegisteredVersions()
    written.open(str(state))
    three = RegisteredBackend("churn-3", "churn/3", "http://127.0.0.1:1")
    written.save({"churn": RegisteredOfRoute(None, three)})
    app = App(file, False)
    assert challengers(app) == ["churn-3"]
    written.save({"churn": RegisteredOfRoute(None, RegisteredBackend("churn-4", "churn/4", "http://h:1"))})
    app.read_versions()
    assert challengers(app) == ["churn-4"]
    assert [rollout.challenger for rollout in app.check(app.text()).config.routes[0].rollout] == ["churn-4"]
