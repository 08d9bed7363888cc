"""The build of the package: without a compiler all modules are Python, and the tests never import stale libraries."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = ("proxy", "backends", "deploy", "setup.py", "pyproject.toml", "README.md", "LICENSE")


def copy_of_sources(to: Path) -> Path:
    """A copy of the sources, because a build writes files next to them."""
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, to / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, to / name)
    return to


@pytest.mark.timeout(300)
def test_without_a_compiler_the_wheel_has_only_python_modules(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    source = copy_of_sources(tmp_path / "source")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    no_compiler = {**os.environ, "CC": "/bin/false", "CROSSFADE_COMPILE": ""}
    done = subprocess.run(
        [*command, str(tmp_path), str(source)], env=no_compiler, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = ZipFile(wheel).namelist()
    assert {"crossfade/dataplane/exchange.py", "crossfade/admin/examples.json"} <= set(names)
    assert any(name.endswith(".data/data/share/man/man1/crossfade.1") for name in names)
    assert not [name for name in names if name.endswith(".so")]
    assert not (source / "build/mypy").exists(), "nothing is translated that cannot be compiled"
    pages = [path for path in (ROOT / "proxy/crossfade/admin/dashboard").rglob("*") if path.is_file()]
    assert {path.relative_to(ROOT / "proxy").as_posix() for path in pages} <= set(names)
    # Other distributions install a package `proxy` (proxy.py does), so this one must not.
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name and ".data/" not in name} == {
        "crossfade",
        "crossfade_backends",
    }


def test_no_compiled_library_is_next_to_the_sources() -> None:
    """The tests use an editable installation: Python would import a library there even if it is older."""
    assert not list(ROOT.glob("proxy/**/*.so"))
