"""An edit is in the file only where the proxy runs by it: whatever goes wrong, the file is as it was."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path
from typing import Any

import pytest

from crossfade_backends import routing_edits
from crossfade_backends.admin_client import AdminClient, ProxyError
from crossfade_backends.deployments import Routing
from crossfade_backends.registry import write_durably as write
from crossfade_backends.routing_edits import change, with_backend
from crossfade_backends.routing_file import EditError, cut
from crossfade_backends.serving import Serving

TEXT = "backends:\n  old: {endpoints: [http://127.0.0.1:8001]}  # ours\n"


class Running(AdminClient):
    """A proxy that runs by a file, as far as edits ask it. The hash of a configuration is that of its text."""

    def __init__(self, file: Path) -> None:
        super().__init__("http://127.0.0.1:1")
        self.file = file
        self.text = file.read_bytes().decode()

    def get(self, *path: str) -> Any:
        return {"config": self.config()}

    def post(self, *path: str, body: str = "{}", media: str = "application/json") -> Any:
        if path[-1] == "config":
            return {"hash": hash_of(body), "refused": ""}
        self.text = self.file.read_bytes().decode()
        return self.config()

    def config(self) -> dict[str, Any]:
        return {"hash": hash_of(self.text), "source": self.file.name, "differs": False}


def hash_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def added(text: str) -> str:
    return with_backend(text, "new", ["http://127.0.0.1:8002"], "churn/v3")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "routing.yaml"
    path.write_text(TEXT)
    return path


def test_an_edit_that_the_proxy_has_loaded_is_in_its_file(file: Path, tmp_path: Path):
    proxy = Running(file)
    assert change(proxy, file, added, tmp_path / "lock")
    assert proxy.text == file.read_text() == added(TEXT)
    assert not change(proxy, file, lambda text: text, tmp_path / "lock")


def test_a_file_that_says_the_same_as_that_of_the_proxy_is_not_its_file(file: Path, tmp_path: Path):
    """`crossfade run routing.yaml` in one folder, `deploy` in another one with a copy: the name is the same, and so is the text."""
    (tmp_path / "elsewhere").mkdir()
    copy = tmp_path / "elsewhere" / "routing.yaml"
    copy.write_text(TEXT)
    with pytest.raises(ProxyError, match=r"has not loaded .*elsewhere.*name that file with --config"):
        change(Running(file), copy, added, tmp_path / "lock")
    assert (copy.read_text(), file.read_text()) == (TEXT, TEXT)


def test_ends_of_lines_stay_as_they_are(file: Path, tmp_path: Path):
    file.write_bytes(TEXT.replace("\n", "\r\n").encode() + b"# the end\r\n")
    change(Running(file), file, added, tmp_path / "lock")
    data = file.read_bytes()
    assert b"# ours\r\n" in data and data.endswith(b"# the end\r\n") and b"new: " in data


def test_nobody_reads_the_new_file_before_it_has_the_mode_of_the_old_one(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    file.chmod(0o640)
    file.with_name(".routing.yaml.models").write_text("left by one that was killed")
    modes = []

    def write_durably(path: Path, data: bytes) -> None:
        write(path, data)
        modes.append(stat.S_IMODE(path.stat().st_mode))

    monkeypatch.setattr(routing_edits, "write_durably", write_durably)
    change(Running(file), file, added, tmp_path / "lock")
    assert modes == [0o600]
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lock", "routing.yaml"]


@pytest.mark.parametrize("known", ["version: c", "registry: a-b/c"])
def test_versions_whose_backends_would_have_one_name_are_not_mixed(known: str):
    text = f"registry: {{}}\nbackends:\n  a-b-c: {{endpoints: [http://x:1], {known}}}\n"
    assert "http://y:2" in with_backend(text, "a-b-c", ["http://y:2"], "a-b/c")
    with pytest.raises(EditError, match="backend a-b-c is there already"):
        with_backend(text, "a-b-c", ["http://y:2"], "a/b-c")
    assert "http://y:2" in with_backend(
        cut(text, ["backends", "a-b-c", known.split(":")[0]]), "a-b-c", ["http://y:2"], "a/b-c"
    )


def test_a_supervisor_asks_the_proxy_that_is_wanted_now(file: Path, tmp_path: Path):
    (tmp_path / ".deployments").mkdir()
    serving = Serving(tmp_path / ".deployments" / "churn-v3", "")
    for admin in ("http://127.0.0.1:1", "http://127.0.0.1:2/"):
        serving.look(Routing(admin=admin, file=file, backend="old"), [], 0.0)
        assert serving.client is not None and serving.client.url == admin.rstrip("/")
